import assert from "node:assert/strict";
import test from "node:test";

import FACTS from "../../latentflow/base/rules.json" with { type: "json" };
import { roundedToEven } from "../src/numbers.js";
import { DivergedError, Inversion, METHODS, defaultRate } from "../src/rules.js";
import { latent, model, picture } from "./toys.js";

const settings = { target: picture([0.2, 0.8]), weights: Float32Array.of(2), lr: 0.1, steps: 10, method: "gradient" };

async function all(inversion) {
  const steps = [];
  while (!inversion.isFinished) steps.push(await inversion.next());
  return steps;
}

test("Adam moves as the library's", async () => {
  const directions = [[1, -1], [0.5, 2], [0.2, -0.1]];
  const scripted = { ...model, step: async () => ({ gradient: Float32Array.from(directions.shift()), loss: 1, losses: null, image: picture([0, 0]) }) };
  const inversion = new Inversion(scripted, latent([1, -2]), { ...settings, steps: 9 });
  for (let index = 0; index < 3; index++) await inversion.next();
  // latentflow.inversion.updates.Adam with these directions; the RMS of the first is 1
  [0.728503, -1.976273].forEach((value, index) => assert.ok(Math.abs(inversion.rule.latent.values[index] - value) < 1e-6));
});

test("a run has one record more than updates, each with figures of its own latent", async () => {
  const steps = await all(new Inversion(model, latent([0, 0]), settings));
  assert.deepEqual(steps.map((step) => step.index), [...Array(11).keys()]);
  for (const { latent, loss, losses } of steps) {
    const mse = ((latent.values[0] / 2 - 0.2) ** 2 + (latent.values[1] / 2 - 0.8) ** 2) / 2;
    assert.ok(Math.abs(losses[0] - mse) < 1e-6 && Math.abs(loss - 2 * mse) < 1e-6);
  }
  assert.ok(steps[10].loss < steps[0].loss / 3);
});

test("a run that has ended goes on from its last record", async () => {
  const inversion = new Inversion(model, latent([0, 0]), settings);
  await all(inversion);
  inversion.extend(20);
  const more = await all(inversion);
  const straight = await all(new Inversion(model, latent([0, 0]), { ...settings, steps: 20 }));
  assert.deepEqual(more.map((step) => step.loss), straight.slice(10).map((step) => step.loss));
});

test("gradient_free takes no gradient and covers 99 % of its way", async () => {
  model.counts.step = 0;
  const own = { ...settings, method: "gradient_free", lr: defaultRate(FACTS.methods.gradient_free, 10) };
  const steps = await all(new Inversion(model, latent([0, 0]), own));
  assert.equal(model.counts.step, 0);
  const left = Math.sqrt(steps[10].loss / steps[0].loss);
  const wanted = (1 - 0.8 * own.lr) ** 10; // its encoder goes four fifths of the way
  assert.ok(Math.abs(left - wanted) < 1e-4, `${left} is not ${wanted}`);
});

test("the rate of gradient_free leaves a hundredth of the way after all steps", () => {
  const rate = (steps) => defaultRate(FACTS.methods.gradient_free, steps);
  [1, 2, 10].forEach((steps) => assert.ok(Math.abs((1 - rate(steps)) ** steps - 0.01) < 1e-12));
  assert.equal(defaultRate(FACTS.methods.hybrid, 10), 0.06);
});

/** The fractions of the way, or the rates, by which a run moves, one an update. */
async function moves(steps) {
  const found = { free: [], gradient: [] };
  const inversion = new Inversion(model, latent([3, -3]), { ...settings, method: "hybrid", lr: 0.06, steps });
  const spy = (updates, list) => {
    const move = updates.move.bind(updates);
    updates.move = (values, direction, lr) => (list.push(lr), move(values, direction, lr));
  };
  spy(inversion.rule.free.updates, found.free);
  const turn = inversion.rule.turn.bind(inversion.rule);
  inversion.rule.turn = () => (turn(), spy(inversion.rule.gradient.updates, found.gradient));
  await all(inversion);
  return found;
}
const rounded = (values) => values.map((value) => Number(value.toFixed(6)));

test("hybrid jumps all the way in a short run, and turns to the gradient at its full rate", async () => {
  for (const steps of [5, 20, 21]) {
    const { free, gradient } = await moves(steps);
    assert.ok(free.length > 1 && free.every((fraction) => fraction === 1));
    assert.equal(free.length + gradient.length, steps);
    assert.ok(gradient.every((rate) => rate === 0.06));
  }
});

test("hybrid walks evenly in a long run, jumps half the way, and its rate rises in four updates", async () => {
  const { free, gradient } = await moves(60);
  const walk = 14; // 0.35 · (60 − 20)
  assert.deepEqual(rounded(free.slice(0, walk)), rounded(Array.from({ length: walk }, (_, index) => 1 / (walk - index))));
  assert.ok(free.length > walk && free.slice(walk).every((fraction) => fraction === 0.5));
  assert.deepEqual(rounded(gradient.slice(0, 6)), [0.015, 0.03, 0.045, 0.06, 0.06, 0.06]);
  assert.equal(free.length + gradient.length, 60);
});

test("hybrid walks as many steps as the library does", () => {
  // latentflow.inversion.hybrid.walk_length: halves go to the even neighbor
  const wanted = { 1: 0, 20: 0, 21: 0, 22: 1, 30: 4, 50: 10, 60: 14, 100: 28, 2000: 693 };
  for (const [steps, walk] of Object.entries(wanted)) {
    const inversion = new Inversion(model, latent([3, -3]), { ...settings, method: "hybrid", steps: Number(steps) });
    assert.equal(inversion.rule.walk, walk, steps);
  }
  assert.deepEqual([0.5, 1.5, 2.5, 3.4, 3.6].map(roundedToEven), [0, 2, 2, 3, 4]);
});

test("hybrid jumps as long as a pass brings four hundredths of a dB", async () => {
  // pictures whose error is given, and an encoder that changes nothing
  const errors = [0.1, 0.099, 0.0981, 0.097, 0.09];
  let asked = 0;
  const scripted = { ...model, step: async () => ({ image: picture([0.2 + errors[asked], 0.8 + errors[asked++]]), loss: 1, losses: null, gradient: Float32Array.of(1, 1) }) };
  const inversion = new Inversion(scripted, latent([0, 0]), { ...settings, method: "hybrid", steps: 20 });
  const turned = [];
  for (let step = 0; step < 4; step++) {
    await inversion.next();
    turned.push(inversion.rule.gradient !== null);
  }
  // gains in dB, each of two passes: 0.0873, 0.0793
  assert.deepEqual(turned, [false, false, true, true]);
});

test("figures of the encoder's own latent are those of its picture", async () => {
  const inversion = new Inversion(model, latent([0, 0]), settings);
  const { loss, psnr } = await inversion.encoded(Float32Array.of(3));
  const mse = ((0.2 * 0.2) ** 2 + (0.2 * 0.8) ** 2) / 2; // its picture is 1.6 / 2 of the target
  assert.ok(Math.abs(loss - 3 * mse) < 1e-6 && Math.abs(psnr + 10 * Math.log10(mse)) < 1e-4);
});

test("a run that grows without bounds is stopped and says when", async () => {
  const inversion = new Inversion(model, latent([0, 0]), { ...settings, lr: 1000 });
  await assert.rejects(all(inversion), (error) => error instanceof DivergedError && /at step 1/.test(error.message));
});

test("steps that are asked for at once are taken one after the other", async () => {
  const inversion = new Inversion(model, latent([0, 0]), settings);
  const together = await Promise.all([inversion.next(), inversion.next(), inversion.next()]);
  const straight = await all(new Inversion(model, latent([0, 0]), settings));
  assert.deepEqual(together.map((step) => [step.index, step.loss]), straight.slice(0, 3).map((step) => [step.index, step.loss]));
});

test("every method that has constants has a rule, and takes its first step", async () => {
  for (const method of METHODS) {
    const { index } = await new Inversion(model, latent([0, 0]), { ...settings, method }, FACTS).next();
    assert.equal(index, 0, method);
  }
});

test("a constant that is missing is an error", () => {
  const without = (change) => {
    const facts = structuredClone(FACTS);
    change(facts);
    return facts;
  };
  const make = (facts, method) => () => new Inversion(model, latent([0, 0]), { ...settings, method }, facts);
  for (const [method, change, words] of [
    ["gradient", (facts) => delete facts.methods.gradient.constants.betas, /lack betas/],
    ["gradient", (facts) => delete facts.methods.gradient.constants.epsilon, /lack epsilon/],
    ["gradient", (facts) => facts.methods.gradient.constants.betas.pop(), /lack the second beta/],
    ["gradient_free", (facts) => delete facts.methods.gradient_free.constants.momentum, /lack momentum/],
    ["hybrid", (facts) => delete facts.hybrid.ramp, /lack ramp/],
    ["gradient", (facts) => delete facts.largest_rms, /lack largest_rms/],
  ]) {
    assert.throws(make(without(change), method), words);
  }
  assert.throws(() => defaultRate({ lr: null, updates: "Sgd", constants: {} }, 10), /lack remaining/);
});
