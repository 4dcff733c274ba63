/** Pictures as the autoencoder takes them: (3, height, width) in [0, 1], red, green and blue apart. */

import { roundedToEven } from "./numbers.js";

/** @typedef {{values: Float32Array, height: number, width: number}} Picture */

/** @typedef {{height: number, width: number}} Size */

/** Sides of a picture whose longer one is `size`. @param {Size} original @param {number} size @param {number} unit of what they are whole numbers */
function scaled({ height, width }, size, unit) {
  const side = (/** @type {number} */ length) => roundedToEven((length * size) / Math.max(height, width) / unit) * unit;
  return { height: side(height), width: side(width) };
}

/**
 * Height and width of a picture whose longer side is `size`, both multiples of the stride.
 * @param {Size} original @param {number} size @param {number} stride
 */
export function fitted(original, size, stride) {
  const { height, width } = scaled(original, size, stride);
  return { height: Math.max(2 * stride, height), width: Math.max(2 * stride, width) };
}

/**
 * The part of a picture that is shown at a size: all of it where only rounding changes its aspect, as for the command
 * line, else the largest centered one of that aspect.
 * @param {Size} original @param {Size} wanted
 */
export function centered(original, wanted) {
  const whole = scaled(original, Math.max(wanted.height, wanted.width), 1);
  if (whole.height === wanted.height && whole.width === wanted.width) return { left: 0, top: 0, height: original.height, width: original.width };
  const scale = Math.min(original.width / wanted.width, original.height / wanted.height);
  const [width, height] = [wanted.width * scale, wanted.height * scale];
  return { left: (original.width - width) / 2, top: (original.height - height) / 2, width, height };
}

/** What became of a picture, in words. @param {Size} original @param {Size} wanted @param {Size} part of it that is shown */
export function becomes(original, wanted, part) {
  const share = Math.floor((100 * part.width * part.height) / (original.width * original.height) + 1e-6);
  const words = `${original.width} × ${original.height} → ${wanted.width} × ${wanted.height}`;
  return share < 100 ? `${words}, the middle ${share} %` : words;
}

/** @param {Uint8ClampedArray | Uint8Array} pixels RGBA @param {number} height @param {number} width @returns {Picture} */
export function fromPixels(pixels, height, width) {
  const cells = height * width;
  const values = new Float32Array(3 * cells);
  for (let cell = 0; cell < cells; cell++) {
    for (let color = 0; color < 3; color++) values[color * cells + cell] = pixels[4 * cell + color] / 255;
  }
  return { values, height, width };
}

/** RGBA, clamped and rounded. @param {Picture} picture */
export function toPixels(picture) {
  const cells = picture.height * picture.width;
  const pixels = new Uint8ClampedArray(4 * cells).fill(255);
  for (let cell = 0; cell < cells; cell++) {
    for (let color = 0; color < 3; color++) pixels[4 * cell + color] = picture.values[color * cells + cell] * 255;
  }
  return pixels;
}

/** PSNR in dB, for a peak of 1, of a picture clamped to [0, 1]. @param {Picture} picture @param {Picture} target */
export function psnr(picture, target) {
  let sum = 0;
  picture.values.forEach((value, index) => {
    sum += (Math.min(1, Math.max(0, value)) - target.values[index]) ** 2;
  });
  return -10 * Math.log10(sum / target.values.length);
}
