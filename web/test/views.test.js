import assert from "node:assert/strict";
import test from "node:test";

import { Paint } from "../src/paint.js";
import { Channels, Drift, Walk, changeable } from "../src/views.js";

const latent = (values, rows = 2, columns = 2) => ({ values: Float32Array.from(values), rows, columns });

/** The controls of painting, as the page has them. */
function controls(values) {
  for (const name of ["HTMLElement", "HTMLInputElement", "HTMLSelectElement", "HTMLButtonElement"]) globalThis[name] = class {};
  const made = (kind, own) => Object.assign(new globalThis[kind](), own);
  const elements = {
    "paint-channel": made("HTMLSelectElement", { value: values.channel }),
    "paint-amount": made("HTMLInputElement", { value: values.amount }),
    "paint-radius": made("HTMLInputElement", { value: "0.5" }),
    "paint-undo": made("HTMLButtonElement", { disabled: true }),
    brush: made("HTMLElement", { hidden: false }),
  };
  globalThis.document = { getElementById: (id) => elements[id] };
  return elements;
}

/** Painting on a latent with two channels of four by four cells, without its page. */
function painting(own = {}) {
  const paint = Object.create(Paint.prototype);
  const studio = { cells: { rows: 4, columns: 4 }, show: async () => {} };
  return Object.assign(paint, { studio, isOpen: true, past: [], at: { row: 1.5, column: 1.5 }, latent: latent(new Array(32).fill(0), 4, 4), showBrush() {} }, own);
}
const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

test("a walk goes to its end, and back", () => {
  const walk = Object.assign(Object.create(Walk.prototype), { first: latent([1, 0, 0, 0]), last: latent([0, 3, 0, 0]) });
  const frames = walk.moving().map((frame) => [...frame.values]);
  assert.equal(frames.length, 94);
  assert.deepEqual(frames[0], [1, 0, 0, 0]);
  frames[47].forEach((value, index) => assert.ok(Math.abs(value - [0, 3, 0, 0][index]) < 1e-6));
  for (let index = 1; index < 47; index++) assert.deepEqual(frames[47 - index], frames[47 + index]);
  assert.notDeepEqual(frames[93], frames[0]); // a loop doesn't show it twice
});

test("a stroke raises its channel where it is, and with Shift lowers it", async () => {
  controls({ channel: "1", amount: "2" });
  for (const [falling, sign] of [[false, 1], [true, -1]]) {
    const paint = painting();
    await paint.stroke(falling);
    const [other, own] = [paint.latent.values.slice(0, 16), paint.latent.values.slice(16)];
    assert.ok(other.every((value) => value === 0));
    assert.ok(Math.abs(own[5] - sign * 0.5) < 1e-6); // a quarter of the amount, at the middle of the brush
    assert.ok(sign * mean(own) > 0);
  }
});

test("Shift counts by keyboard and by pointer", () => {
  controls({ channel: "0", amount: "2" });
  const strokes = [];
  const paint = painting({ locate() {}, stroke: (falling) => strokes.push(falling) });
  const event = (own) => ({ preventDefault() {}, ...own });
  paint.press(event({ key: " ", shiftKey: false }));
  paint.press(event({ key: " ", shiftKey: true }));
  paint.touch(event({ shiftKey: false }));
  paint.touch(event({ shiftKey: true }));
  assert.deepEqual(strokes, [false, true, false, true]);
  assert.equal(paint.past.length, 2); // each of the keyboard's can be undone
});

test("arrow keys move the brush as they point, within the picture", () => {
  let prevented = 0;
  const press = (paint, key) => paint.press({ key, preventDefault: () => prevented++ });
  const moved = (key) => {
    const paint = painting();
    press(paint, key);
    return [paint.at.row, paint.at.column];
  };
  assert.deepEqual(["ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight"].map(moved), [[0.5, 1.5], [2.5, 1.5], [1.5, 0.5], [1.5, 2.5]]);
  const paint = painting();
  for (let count = 0; count < 9; count++) for (const key of ["ArrowUp", "ArrowRight"]) press(paint, key);
  assert.deepEqual(paint.at, { row: 0.5, column: 3.5 });
  const before = prevented;
  press(paint, "Tab"); // leads on
  assert.equal(prevented, before);
});

test("what was painted can be undone after a change of tab, and after the target's latent", async () => {
  const elements = controls({ channel: "0", amount: "2" });
  const paint = painting();
  const blank = [...paint.latent.values];
  paint.remember();
  await paint.stroke(false);
  const painted = [...paint.latent.values];
  paint.studio.canvas = { classList: { remove() {}, add() {} } };
  paint.leave();
  assert.ok(elements.brush.hidden);
  await paint.begin(latent(painted, 4, 4)); // the same is shown when one comes back
  assert.ok(!elements["paint-undo"].disabled);
  await paint.begin(latent(new Array(32).fill(7), 4, 4));
  await paint.undo();
  assert.deepEqual([...paint.latent.values], painted);
  await paint.undo();
  assert.deepEqual([...paint.latent.values], blank);
  assert.ok(elements["paint-undo"].disabled);
  await paint.begin(latent(new Array(8).fill(1), 2, 2)); // another shape has nothing to go back to
  assert.ok(elements["paint-undo"].disabled);
});

test("a finger or a pointer paints where it is", () => {
  const canvas = { width: 400, height: 200, getBoundingClientRect: () => ({ left: 100, top: 50, width: 800, height: 200 }) };
  const paint = painting({ studio: { canvas, cells: { rows: 4, columns: 8 } } });
  paint.locate({ clientX: 100 + 200 + 100, clientY: 50 + 150 }); // 200 pixels are free on each side of the picture
  assert.deepEqual(paint.at, { row: 3, column: 2 });
});

test("the file of channels swings each about where its slider is", () => {
  const channels = Object.assign(Object.create(Channels.prototype), { base: latent([0, 0, 0, 0], 1, 2), offsets: [0.5, -1] });
  const frames = channels.moving().map((frame) => [...frame.values]);
  assert.equal(frames.length, 48);
  assert.deepEqual(frames[0], [0.5, 0.5, -1, -1]);
  assert.deepEqual(frames[6], [3.5, 3.5, -1, -1]); // a quarter of the first channel's swing of three
  assert.deepEqual(frames[24 + 18], [0.5, 0.5, -4, -4]); // three quarters of the second's
});

test("a drift comes from each picture to the next, slowly at both", () => {
  const unit = (place) => latent(Array.from({ length: 16 }, (_, index) => Number(index === place)), 4, 4);
  const drift = Object.assign(Object.create(Drift.prototype), { pictures: [unit(0), unit(1)], first: 0 });
  for (const name of ["HTMLElement", "HTMLInputElement"]) globalThis[name] = class {};
  const noise = Object.assign(new globalThis.HTMLInputElement(), { value: "0" });
  globalThis.document = { getElementById: () => noise };
  const near = (place, wanted) => {
    const found = drift.at(place).values;
    found.forEach((value, index) => assert.ok(Math.abs(value - (wanted[index] ?? 0)) < 1e-6, `${found}`));
  };
  near(0, [1, 0]);
  near(1, [0, 1]);
  near(2, [1, 0]); // the first again
  const eased = (Math.PI / 2) * (3 * 0.25 ** 2 - 2 * 0.25 ** 3);
  near(0.25, [Math.cos(eased), Math.sin(eased)]);
  assert.equal(drift.moving().length, 48);
});

test("what is shown is changed, unless it is noise or of another shape", async () => {
  const target = latent([9, 9, 9, 9]);
  const studio = { noise: null, cells: { rows: 2, columns: 2 }, engine: { encode: async () => target }, target: {} };
  const shown = latent([1, 2, 3, 4]);
  assert.deepEqual([...(await changeable({ ...studio, shown })).values], [1, 2, 3, 4]);
  assert.notEqual((await changeable({ ...studio, shown })).values, shown.values); // a copy, which may be painted on
  assert.equal(await changeable({ ...studio, shown, noise: shown }), target);
  assert.equal(await changeable({ ...studio, shown: null }), target);
  for (const [rows, columns] of [[2, 1], [1, 2], [4, 4]]) {
    assert.equal(await changeable({ ...studio, shown: latent(new Array(rows * columns).fill(0), rows, columns) }), target);
  }
});
