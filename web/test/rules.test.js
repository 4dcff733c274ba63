import assert from "node:assert/strict";
import test from "node:test";

import { DivergedError, Inversion, defaultRate } from "../src/rules.js";

const ADAM = { lr: 0.1, updates: "Adam", constants: { betas: [0.7, 0.8], epsilon: 1e-8 } };
const FACTS = {
  methods: {
    gradient: ADAM,
    gradient_free: { lr: null, remaining: 0.01, updates: "Sgd", constants: { momentum: 0 } },
    hybrid: { ...ADAM, lr: 0.06 },
  },
  hybrid: { short: 20, walked: 0.35, half: 0.5, ramp: 4, worthwhile: 0.04 },
  largest_rms: 100,
};
const picture = (values) => ({ values: Float32Array.from(values), height: 1, width: 2 });
const latent = (values) => ({ values: Float32Array.from(values), rows: 1, columns: 2 });

/** A model whose picture is half its latent, and whose encoder only finds four fifths of the way back. */
const model = {
  counts: { decode: 0, encode: 0, step: 0 },
  async decode(from) {
    model.counts.decode++;
    return picture(from.values.map((value) => value / 2));
  },
  async encode(from) {
    model.counts.encode++;
    return latent(from.values.map((value) => value * 1.6));
  },
  async step(from, target, weights) {
    model.counts.step++;
    const image = picture(from.values.map((value) => value / 2));
    const errors = image.values.map((value, index) => value - target.values[index]);
    const mse = errors.reduce((sum, error) => sum + error * error, 0) / errors.length;
    return { gradient: errors.map((error) => (weights[0] * error) / errors.length), loss: weights[0] * mse, losses: Float32Array.of(mse), image };
  },
};
const settings = { target: picture([0.2, 0.8]), weights: Float32Array.of(2), lr: 0.1, steps: 10, method: "gradient" };

async function all(inversion) {
  const steps = [];
  while (!inversion.isFinished) steps.push(await inversion.next());
  return steps;
}

test("Adam moves as the library's", async () => {
  const directions = [[1, -1], [0.5, 2], [0.2, -0.1]];
  const scripted = { ...model, step: async () => ({ gradient: Float32Array.from(directions.shift()), loss: 1, losses: null, image: picture([0, 0]) }) };
  const inversion = new Inversion(scripted, latent([1, -2]), { ...settings, steps: 9 }, FACTS);
  for (let index = 0; index < 3; index++) await inversion.next();
  // latentflow.inversion.updates.Adam with these directions; the RMS of the first is 1
  [0.728503, -1.976273].forEach((value, index) => assert.ok(Math.abs(inversion.rule.latent.values[index] - value) < 1e-6));
});

test("a run has one record more than updates, each with figures of its own latent", async () => {
  const steps = await all(new Inversion(model, latent([0, 0]), settings, FACTS));
  assert.deepEqual(steps.map((step) => step.index), [...Array(11).keys()]);
  for (const { latent, loss, losses } of steps) {
    const mse = ((latent.values[0] / 2 - 0.2) ** 2 + (latent.values[1] / 2 - 0.8) ** 2) / 2;
    assert.ok(Math.abs(losses[0] - mse) < 1e-6 && Math.abs(loss - 2 * mse) < 1e-6);
  }
  assert.ok(steps[10].loss < steps[0].loss / 3);
});

test("a run that has ended goes on from its last record", async () => {
  const inversion = new Inversion(model, latent([0, 0]), settings, FACTS);
  await all(inversion);
  inversion.extend(20);
  const more = await all(inversion);
  const straight = await all(new Inversion(model, latent([0, 0]), { ...settings, steps: 20 }, FACTS));
  assert.deepEqual(more.map((step) => step.loss), straight.slice(10).map((step) => step.loss));
});

test("gradient_free takes no gradient and covers 99 % of its way", async () => {
  model.counts.step = 0;
  const own = { ...settings, method: "gradient_free", lr: defaultRate(FACTS.methods.gradient_free, 10) };
  const steps = await all(new Inversion(model, latent([0, 0]), own, FACTS));
  assert.equal(model.counts.step, 0);
  const left = Math.sqrt(steps[10].loss / steps[0].loss);
  const wanted = (1 - 0.8 * own.lr) ** 10; // its encoder goes four fifths of the way
  assert.ok(Math.abs(left - wanted) < 1e-4, `${left} is not ${wanted}`);
});

test("hybrid jumps in a short run, walks in a long one, and turns to the gradient", async () => {
  const short = new Inversion(model, latent([3, -3]), { ...settings, method: "hybrid", lr: 0.06, steps: 20 }, FACTS);
  assert.equal(short.rule.walk, 0);
  const jumped = await all(short);
  assert.ok(jumped[1].psnr > jumped[0].psnr + 6 && short.rule.gradient !== null);
  const long = new Inversion(model, latent([3, -3]), { ...settings, method: "hybrid", lr: 0.06, steps: 60 }, FACTS);
  assert.equal(long.rule.walk, 14);
  const walked = await all(long);
  const changes = walked.slice(1, 14).map((step, index) => Math.abs(step.latent.values[0] - walked[index].latent.values[0]));
  assert.ok(Math.max(...changes) < 3 * Math.min(...changes));
});

test("a run that grows without bounds is stopped and says when", async () => {
  const inversion = new Inversion(model, latent([0, 0]), { ...settings, lr: 1000 }, FACTS);
  await assert.rejects(all(inversion), (error) => error instanceof DivergedError && /at step 1/.test(error.message));
});

test("steps that are asked for at once are taken one after the other", async () => {
  const inversion = new Inversion(model, latent([0, 0]), settings, FACTS);
  const together = await Promise.all([inversion.next(), inversion.next(), inversion.next()]);
  const straight = await all(new Inversion(model, latent([0, 0]), settings, FACTS));
  assert.deepEqual(together.map((step) => [step.index, step.loss]), straight.slice(0, 3).map((step) => [step.index, step.loss]));
});
