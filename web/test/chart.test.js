import assert from "node:assert/strict";
import test from "node:test";

import { layout, logTicks, ticks } from "../src/chart.js";

const SIZE = { width: 500, height: 128 }; // of which 420 × 100 are for the curves
const points = [[1, 10], [0.1, 15], [0.01, 20]].map(([loss, psnr], index) => ({ index, loss, psnr }));
const named = (found, name) => found.lines.find((line) => line.name === name)?.at;

test("the marker stands at the step that is shown, of all steps", () => {
  const at = (now) => layout({ points, steps: 10, now }, SIZE).now;
  assert.deepEqual([0, 1, 2, 10].map(at), [46, 88, 130, 466]);
});

test("curves go from their highest to their lowest value, the loss by its logarithm", () => {
  const found = layout({ points, steps: 2, now: 2 }, SIZE);
  assert.ok(found.isLog);
  assert.deepEqual(named(found, "loss"), [[46, 8], [256, 58], [466, 108]]);
  assert.deepEqual(named(found, "psnr"), [[46, 108], [256, 58], [466, 8]]);
});

test("a loss below zero has no logarithm, and an infinite PSNR is drawn at 100 dB", () => {
  const found = layout({ points: [{ index: 0, loss: -1, psnr: 20 }, { index: 1, loss: -3, psnr: Infinity }], steps: 1, now: 1 }, SIZE);
  assert.ok(!found.isLog);
  assert.deepEqual(named(found, "loss"), [[46, 8], [466, 108]]);
  assert.deepEqual(named(found, "psnr"), [[46, 108], [466, 8]]);
});

test("axes have round numbers, at their places", () => {
  const found = layout({ points, steps: 10, now: 0 }, SIZE);
  assert.deepEqual(found.steps.map(({ words, at }) => [words, at]), [["0", 46], ["2", 130], ["4", 214], ["6", 298], ["8", 382], ["10", 466]]);
  assert.deepEqual(found.loss.map(({ words, at }) => [words, at]), [["0.01", 108], ["0.1", 58], ["1", 8]]);
  assert.deepEqual(found.psnr.map(({ words }) => words), ["10", "15", "20"]);
  assert.deepEqual(ticks(3, 3, 4), [3]);
  assert.deepEqual(ticks(-0.3, 0.3, 3), [-0.2, 0, 0.2]);
  assert.deepEqual(logTicks(0.011, 0.09), [0.02, 0.05]);
  assert.deepEqual(logTicks(2e-5, 3e-2), [1e-4, 1e-3, 1e-2]);
});

test("the place of a step under the pointer is found again", () => {
  const found = layout({ points, steps: 100, now: 0 }, SIZE);
  for (const step of [0, 1, 50, 100]) assert.equal(found.stepAt(found.across(step) + 1), step);
});

test("the run before and the encoder's own share the axes", () => {
  const before = [[1, 10], [1e-4, 40]].map(([loss, psnr], index) => ({ index, loss, psnr }));
  const found = layout({ points, steps: 2, now: 2, before, own: { loss: 0.01, psnr: 25 } }, SIZE);
  assert.deepEqual(named(found, "psnr before"), [[46, 108], [256, 8]]);
  assert.deepEqual(named(found, "loss before"), [[46, 8], [256, 108]]);
  assert.deepEqual(named(found, "loss own"), [[46, 58], [466, 58]]);
  assert.deepEqual(named(found, "psnr own"), [[46, 58], [466, 58]]);
  const other = layout({ points, steps: 2, now: 2, before, isComparable: false, own: { loss: null, psnr: 25 } }, SIZE);
  assert.deepEqual([named(other, "loss before"), named(other, "loss own")], [undefined, undefined]);
  assert.equal(named(other, "loss")[2][1], 108); // the axis of the loss is this run's own
});

test("a run before that was longer makes room for itself", () => {
  const before = Array.from({ length: 21 }, (_, index) => ({ index, loss: 1, psnr: 10 }));
  const found = layout({ points, steps: 10, now: 10, before }, SIZE);
  assert.equal(found.now, 256);
  assert.equal(found.stepAt(466), 20);
});
