import assert from "node:assert/strict";
import test from "node:test";

import { keepRun, pack, recallRun, unpack } from "../src/memory.js";
import { complaint } from "../src/numbers.js";
import RULES from "../../latentflow/base/rules.json" with { type: "json" };
import { Inversion } from "../src/rules.js";
import { latent, model, picture } from "./toys.js";

test("arrays and numbers that JSON lacks come back", () => {
  const given = { values: Float32Array.of(1.5, -0.1, 1e-30), psnr: Infinity, low: -Infinity, plain: [1, "a", null] };
  assert.deepEqual(unpack(pack(given)), given);
});

test("numbers are refused with their limits", () => {
  const rate = { name: "The learning rate", above: 0 };
  const steps = { name: "The number of steps", min: 1, max: 2000, whole: true };
  const weight = { name: "The weight of mse", min: 0 };
  assert.deepEqual(["0.1", "1e-9", "1000"].map((text) => complaint(text, rate)), ["", "", ""]);
  assert.equal(complaint("-1", rate), "The learning rate is a number above 0, not -1.");
  assert.equal(complaint("0", rate), "The learning rate is a number above 0, not 0.");
  assert.equal(complaint(" ", rate), "The learning rate is a number above 0.");
  assert.deepEqual(["1", "2000"].map((text) => complaint(text, steps)), ["", ""]);
  for (const text of ["1.5", "0", "2001", "1e999", "x"]) assert.equal(complaint(text, steps), `The number of steps is a whole number from 1 to 2000, not ${text}.`);
  assert.equal(complaint("0", weight), "");
  assert.equal(complaint("-1", weight), "The weight of mse is a number of 0 or more, not -1.");
});

const settings = (method, steps) => ({ target: picture([0.2, 0.8]), weights: Float32Array.of(2), lr: 0.06, steps, method });

/** All losses of a run that is packed and restored after some steps. */
async function losses(method, after, steps = 40) {
  let inversion = new Inversion(model, latent([3, -3]), settings(method, steps));
  const found = [];
  while (!inversion.isFinished) {
    if (found.length === after) {
      const state = unpack(pack(inversion.state()));
      inversion = new Inversion(model, latent([9, 9]), settings(method, steps));
      inversion.restore(state);
    }
    found.push((await inversion.next()).loss);
  }
  return found;
}

test("a run that was kept goes on exactly, with every method and at every stage", async () => {
  for (const method of Object.keys(RULES.methods)) {
    const straight = await losses(method, -1);
    for (const after of [0, 1, 5, 7, 8, 9, 10, 20]) assert.deepEqual(await losses(method, after), straight, `${method} ${after}`);
  }
});

/** Storage of this many letters. */
function storage(room) {
  const kept = new Map();
  return {
    kept,
    getItem: (key) => kept.get(key) ?? null,
    removeItem: (key) => kept.delete(key),
    setItem(key, text) {
      if (text.length > room) throw new Error("QuotaExceededError");
      kept.set(key, text);
    },
  };
}

/** A flow after three steps, whose page is at an address. */
function flow(sha256 = "abc") {
  const target = picture([0.2, 0.8]);
  const shown = [];
  const studio = { target, origin: { name: "cat.png", note: "9 × 9", file: null }, facts: { metadata: { sha256 } }, model, aim: (...given) => shown.push(given) };
  const inversion = new Inversion(model, latent([3, -3]), settings("gradient", 10));
  const frames = [0, 1, 2].map((index) => ({ index, latent: latent([index, index]), loss: 1 / (index + 1), losses: null, psnr: Infinity }));
  return { studio, shown, inversion, frames, first: latent([3, -3]), ran: "seed=7", restored: [], restore(run) { this.restored.push(run); } };
}

test("target and run come back to the page that has their settings, and to no other", () => {
  globalThis.location = { pathname: "/flow.html" };
  let room = 1e6;
  for (const latents of [3, 1]) {
    globalThis.sessionStorage = storage(room);
    sessionStorage.setItem("latentflow file abc /flow.html", pack("data:image/png;base64,QUJD"));
    keepRun(flow(), "#seed=7");
    room = sessionStorage.getItem("latentflow run abc /flow.html").length - 1; // the next time there is less
    const back = flow();
    assert.deepEqual(recallRun(back, "#seed=7"), { hasRun: true });
    const [run] = back.restored;
    assert.deepEqual(run.frames.map(({ loss }) => loss), [1, 1 / 2, 1 / 3]);
    assert.equal(run.frames.filter((frame) => frame.latent).length, latents); // where there is no room, the last alone
    assert.deepEqual([run.inversion.settings.method, run.inversion.settings.steps, run.fields], ["gradient", 10, "seed=7"]);
    assert.deepEqual(back.shown[0][0].values, picture([0.2, 0.8]).values);
    assert.equal(back.shown[0][1].name, "cat.png");
    assert.equal(recallRun(flow(), "#seed=8"), null);
    assert.equal(recallRun(flow("other"), "#seed=7"), null);
  }
  globalThis.sessionStorage = storage(1e6);
  assert.equal(recallRun(flow(), "#seed=7"), null);
});
