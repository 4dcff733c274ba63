import assert from "node:assert/strict";
import test from "node:test";

import { push, rms, shifted, slerp } from "../src/latents.js";
import { fromPixels, psnr, toPixels } from "../src/pictures.js";
import { readLatent, writeLatent } from "../src/safetensors.js";

const latent = (values, rows = 2, columns = 2) => ({ values: Float32Array.from(values), rows, columns });
const near = (found, wanted, by = 1e-5) => {
  assert.equal(found.length, wanted.length);
  wanted.forEach((value, index) => assert.ok(Math.abs(found[index] - value) < by, `${found[index]} is not ${value}`));
};

test("slerp is the library's", () => {
  // latentflow.slerp of the same latents
  near(slerp(latent([3, 0, 4, 1]), latent([0, 5, 12, -2]), 0.3).values, [3.281275, 0.950301, 6.655755, 0.713638]);
  near(slerp(latent([1, 0, 0, 0]), latent([2, 0, 0, 0]), 0.5).values, [1.5, 0, 0, 0]);
  near(slerp(latent([0, 0, 0, 0]), latent([2, 0, 0, 4]), 0.5).values, [1, 0, 0, 2]);
});

test("channels are shifted apart", () => {
  near(shifted(latent([1, 2, 3, 4], 1, 2), [1, -1]).values, [2, 3, 2, 3]);
});

test("a push is strongest where it is made, and in its channel alone", () => {
  const painted = latent(new Array(32).fill(0), 4, 4);
  push(painted, 1, 1.5, 2.5, 2, 1);
  assert.ok(painted.values.slice(0, 16).every((value) => value === 0));
  assert.equal(painted.values.indexOf(Math.max(...painted.values)), 16 + 1 * 4 + 2);
  near([painted.values[22], painted.values[23]], [2, 2 * Math.exp(-0.5)]);
  assert.equal(rms(Float32Array.of(3, 4, 0, 0)), 2.5);
});

test("pictures keep their pixels, and PSNR clamps", () => {
  const pixels = Uint8ClampedArray.from([255, 0, 51, 255, 1, 2, 3, 255]);
  const picture = fromPixels(pixels, 1, 2);
  near(picture.values, [1, 1 / 255, 0, 2 / 255, 0.2, 3 / 255]);
  assert.deepEqual(toPixels(picture), pixels);
  const bright = { ...picture, values: picture.values.map((value, index) => (index === 0 ? 1.7 : value + 0.1)) };
  near([psnr(bright, picture)], [-10 * Math.log10((5 * 0.01) / 6)]);
});

test("a latent is saved and read", () => {
  const metadata = { format: "latentflow", sha256: "abc", autoencoder: "x" };
  const saved = writeLatent(latent([1, 2, 3, 4.5, -1, 0, 1e-3, 7], 2, 2), 2, metadata, 8);
  assert.deepEqual(readLatent(saved.buffer, 2, metadata), latent([1, 2, 3, 4.5, -1, 0, 1e-3, 7], 2, 2));
  const header = JSON.parse(new TextDecoder().decode(saved.slice(8, 8 + Number(new DataView(saved.buffer).getBigUint64(0, true)))));
  assert.deepEqual(header.__metadata__, { autoencoder: "x", format: "latentflow", height: "16", sha256: "abc", width: "16" });
  assert.throws(() => readLatent(saved.buffer, 2, { ...metadata, sha256: "other", autoencoder: "y" }), /belongs to x, not to y/);
  assert.throws(() => readLatent(saved.buffer.slice(0, -4), 2, metadata), /cut off/);
  assert.throws(() => readLatent(saved.buffer, 4, metadata), /shape/);
  for (const broken of [[], [1, 2, 3], new Array(200).fill(255)]) {
    assert.throws(() => readLatent(Uint8Array.from(broken).buffer, 2, metadata), /not a .safetensors file/);
  }
});
