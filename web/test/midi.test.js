import assert from "node:assert/strict";
import test from "node:test";

import { directed, rms } from "../src/latents.js";
import { LiveMidi } from "../../latentflow/widgets/midi.js";

globalThis.requestAnimationFrame ??= () => 1; // the clock is moved by hand
globalThis.cancelAnimationFrame ??= () => {};

function played() {
  const told = { faders: [], levels: new Map(), said: [] };
  const live = new LiveMidi({
    fader: (fader, value) => told.faders.push([fader, value]),
    keys: (levels) => (told.levels = levels),
    say: (text) => told.said.push(text),
  });
  return { live, told };
}

test("faders are counted as they are first moved", () => {
  const { live, told } = played();
  live.take([0xb0, 74, 127]);
  live.take([0xb3, 10, 64]);
  live.take([0xb0, 74, 1]);
  live.take([0xb0, 74, 0]);
  live.take([0xe0, 0, 64]);
  live.take([0xe0, 56, 87]); // 14 bits: 87 · 128 + 56 of 16384
  assert.deepEqual(told.faders, [[0, 1], [1, 0], [0, -1], [0, -1], [2, 0], [2, 3000 / 8192]]);
});

test("a key rises, is held, and fades; velocity 0 releases it", () => {
  const { live, told } = played();
  live.take([0x90, 60, 127]);
  live.advance(0.01);
  assert.equal(told.levels.get(60), 0.5);
  live.advance(5);
  assert.equal(told.levels.get(60), 1);
  live.take([0x90, 60, 0]);
  live.advance(0.2);
  assert.ok(Math.abs(told.levels.get(60) - 0.5) < 1e-9);
  assert.equal(live.advance(1), false);
  assert.equal(told.levels.size, 0);
});

test("the pedal holds keys, and all notes off ends them", () => {
  const { live, told } = played();
  live.take([0xb0, 64, 127]);
  live.take([0x90, 60, 64]);
  live.take([0x80, 60, 0]);
  live.advance(1);
  assert.equal(told.levels.get(60), 64 / 127);
  live.take([0xb0, 64, 0]);
  live.advance(1);
  assert.equal(told.levels.size, 0);
  live.take([0x90, 62, 100]);
  live.advance(1);
  live.take([0xb0, 123, 0]);
  live.advance(1);
  assert.equal(told.levels.size, 0);
  assert.deepEqual(told.faders, []);
});

test("the pedal is down at 64 and up at 63", () => {
  const { live, told } = played();
  for (const [value, keys] of [[64, 1], [63, 0]]) {
    live.take([0xb0, 64, value]);
    live.take([0x90, 60, 127]);
    live.advance(1);
    live.take([0x80, 60, 0]);
    live.advance(1);
    assert.equal(told.levels.size, keys, `${value}`);
  }
});

test("a key that is let go while it rises fades from where it is, as in files", () => {
  const { live, told } = played();
  live.take([0x90, 60, 127]);
  live.advance(0.005); // a quarter of the way up
  live.take([0x80, 60, 0]);
  live.advance(0.1); // a quarter of the way down
  assert.ok(Math.abs(told.levels.get(60) - 0.25 * 0.75) < 1e-9);
  live.advance(0.31);
  assert.equal(told.levels.size, 0);
});

test("all sound off and a reset end what the pedal holds, all notes off doesn't", () => {
  const { live, told } = played();
  for (const [command, keys] of [[120, 0], [121, 0], [122, 1], [123, 1], [127, 1]]) {
    live.take([0xb0, 64, 0]);
    live.advance(1);
    live.take([0xb0, 64, 127]);
    live.take([0x90, 60, 127]);
    live.advance(1);
    live.take([0x80, 60, 0]);
    live.take([0xb0, command, 0]);
    live.advance(1);
    assert.equal(told.levels.size, keys, `${command}`);
  }
  assert.deepEqual(told.faders, []);
  live.take([0xe0, 0, 0]);
  live.take([0xb0, 121, 0]);
  assert.deepEqual(told.faders, [[0, -1], [0, 0]]);
});

test("local control leaves keys that are down alone", () => {
  const { live, told } = played();
  live.take([0x90, 60, 127]);
  live.take([0xb0, 122, 0]);
  live.advance(1);
  assert.equal(told.levels.get(60), 1);
});

test("a latent is moved along the directions of keys and keeps its norm", () => {
  const values = Float32Array.from({ length: 4 * 64 }, (_, index) => Math.sin(index));
  const latent = { values, rows: 8, columns: 8 };
  assert.equal(directed(latent, new Map()), latent);
  const one = directed(latent, new Map([[60, 1]]));
  assert.ok(Math.abs(rms(one.values) - rms(values)) < 1e-5);
  const moved = Math.sqrt(one.values.reduce((sum, value, index) => sum + (value - values[index]) ** 2, 0) / values.length);
  assert.ok(moved > 0.2 && moved < 0.6, `${moved}`);
  assert.deepEqual(directed(latent, new Map([[60, 1]])).values, one.values);
  assert.notDeepEqual(directed(latent, new Map([[61, 1]])).values, one.values);
});
