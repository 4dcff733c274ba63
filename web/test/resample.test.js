import assert from "node:assert/strict";
import test from "node:test";

import { becomes, centered, fitted } from "../src/pictures.js";
import { resampled } from "../src/resample.js";

/** A picture that both sides of the comparison can draw: latentflow's with NumPy, this one by the same formula. */
function made(width, height) {
  const pixels = new Uint8ClampedArray(4 * width * height).fill(255);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      for (let c = 0; c < 3; c++) pixels[4 * (y * width + x) + c] = (x * 37 + y * 91 + c * 53 + x * y * 7 + (Math.floor(x / 5) % 2) * 90) % 256;
    }
  }
  return (top, rows) => pixels.slice(4 * top * width, 4 * (top + rows) * width);
}

/** The gray levels of all pixels of a picture that is scaled, without alpha. */
function scaled(original, wanted) {
  const rgba = resampled(made(original.width, original.height), original, centered(original, wanted), wanted);
  return [...rgba].filter((_, index) => index % 4 < 3);
}

const sum = (values) => values.reduce((total, value) => total + value, 0);

test("a picture is scaled as Pillow's Lanczos does", () => {
  // Image.resize((8, 5), LANCZOS) of Pillow
  const small = scaled({ width: 37, height: 23 }, { width: 8, height: 5 });
  assert.deepEqual(small.slice(0, 24), [116, 137, 140, 115, 129, 145, 122, 139, 120, 129, 129, 123, 145, 106, 100, 82, 125, 171, 137, 136, 123, 121, 131, 133]);
  assert.deepEqual(small.slice(96), [127, 116, 130, 138, 120, 124, 106, 143, 128, 121, 131, 131, 138, 135, 109, 137, 155, 107, 126, 124, 135, 120, 138, 117]);
});

test("a picture with another aspect loses its edges, as by latentflow.pictures.files.cover", () => {
  const square = scaled({ width: 37, height: 23 }, { width: 6, height: 6 });
  assert.deepEqual(square.slice(0, 18), [117, 132, 128, 120, 146, 120, 128, 126, 125, 168, 94, 79, 68, 112, 172, 127, 144, 141]);
  assert.deepEqual(square.slice(90), [126, 129, 126, 103, 144, 127, 123, 128, 124, 140, 136, 107, 144, 163, 103, 131, 124, 131]);
});

test("a small picture becomes larger, and one of the right size stays as it is", () => {
  const large = scaled({ width: 5, height: 4 }, { width: 10, height: 8 });
  assert.deepEqual(large.slice(0, 12), [0, 43, 87, 0, 48, 90, 17, 63, 108, 37, 78, 144]);
  assert.equal(sum(large), 31368);
  const same = scaled({ width: 9, height: 7 }, { width: 9, height: 7 });
  assert.deepEqual(same, [...made(9, 7)(0, 7)].filter((_, index) => index % 4 < 3));
});

test("rows are read in bands, and no more of them than the part takes", () => {
  const asked = [];
  const original = { width: 4, height: 900 };
  const read = (top, rows) => {
    asked.push([top, rows]);
    return new Uint8ClampedArray(16 * rows).fill(120);
  };
  const result = resampled(read, original, { left: 0, top: 300, width: 4, height: 300 }, { width: 4, height: 300 });
  assert.ok(asked.every(([, rows]) => rows <= 256) && asked.length >= 2);
  assert.ok(asked[0][0] >= 290 && asked.at(-1)[0] + asked.at(-1)[1] <= 610);
  assert.ok(result.every((value, index) => value === (index % 4 === 3 ? 255 : 120)));
});

test("sides are those of the command line where the autoencoder can have them", () => {
  assert.deepEqual(fitted({ height: 300, width: 400 }, 128, 8), { height: 96, width: 128 });
  assert.deepEqual(fitted({ height: 10, width: 4000 }, 128, 8), { height: 16, width: 128 });
  assert.deepEqual(fitted({ height: 7, width: 16 }, 64, 8), { height: 32, width: 64 }); // 28 / 8 is 3.5, and Python rounds it to 4
  assert.deepEqual(centered({ height: 300, width: 402 }, { height: 96, width: 128 }), { left: 0, top: 0, height: 300, width: 402 });
  assert.deepEqual(centered({ height: 100, width: 200 }, { height: 50, width: 50 }), { left: 50, top: 0, width: 100, height: 100 });
});

test("what became of a picture is said", () => {
  const words = (original, wanted) => becomes(original, wanted, centered(original, wanted));
  assert.equal(words({ width: 400, height: 300 }, { width: 128, height: 96 }), "400 × 300 → 128 × 96");
  assert.equal(words({ width: 3000, height: 20 }, { width: 64, height: 16 }), "3000 × 20 → 64 × 16, the middle 2 %");
});
