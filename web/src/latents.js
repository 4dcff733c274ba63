/** Points of a latent space and paths between them. */

import { normal } from "./random.js";

/** @typedef {{values: Float32Array, rows: number, columns: number}} Latent (channels, rows, columns), flat */

const MIN_ANGLE = 1e-4;
const KEY_GRID = 4; // cells of the noise along a key's direction, on each side of the picture
const KEY_REACH = 0.4; // standard deviations that a key moves the latent

/** @param {Latent} latent @returns {Latent} */
export const copied = (latent) => ({ ...latent, values: latent.values.slice() });

/** @param {Latent} one @param {Latent} two */
export const sameShape = (one, two) =>
  one.rows === two.rows && one.columns === two.columns && one.values.length === two.values.length;

/** @param {Float32Array} values */
export function norm(values) {
  let sum = 0;
  for (const value of values) sum += value * value;
  return Math.sqrt(sum);
}

/** Root mean square. @param {Float32Array} values */
export const rms = (values) => norm(values) / Math.sqrt(values.length);

/**
 * The point at a fraction of the way from one latent to another along an arc, its norm interpolated linearly
 * (Shoemake 1985). Parallel latents are joined by a line.
 * @param {Latent} one @param {Latent} two @param {number} fraction @returns {Latent}
 */
export function slerp(one, two, fraction) {
  const [first, last] = [norm(one.values), norm(two.values)];
  const mixed = (/** @type {number} */ a, /** @type {number} */ b) =>
    one.values.map((value, index) => a * value + b * two.values[index]);
  const line = () => ({ ...one, values: mixed(1 - fraction, fraction) });
  if (Math.min(first, last) === 0) return line();
  let [apart, together] = [0, 0];
  one.values.forEach((value, index) => {
    const [a, b] = [value / first, two.values[index] / last];
    apart += (a - b) ** 2;
    together += (a + b) ** 2;
  });
  const angle = 2 * Math.atan2(Math.sqrt(apart), Math.sqrt(together));
  if (angle < MIN_ANGLE || Math.PI - angle < MIN_ANGLE) return line();
  const length = (first + (last - first) * fraction) / Math.sin(angle);
  const parts = [(Math.sin((1 - fraction) * angle) * length) / first, (Math.sin(fraction * angle) * length) / last];
  return { ...one, values: mixed(parts[0], parts[1]) };
}

/**
 * A latent with a number added to each channel.
 * @param {Latent} latent @param {number[]} offsets one a channel @returns {Latent}
 */
export function shifted(latent, offsets) {
  const cells = latent.rows * latent.columns;
  return { ...latent, values: latent.values.map((value, index) => value + offsets[Math.floor(index / cells)]) };
}

/**
 * Adds to a channel around a cell, in place, less the farther away: a Gaussian of this radius in cells.
 * @param {Latent} latent @param {number} channel @param {number} row @param {number} column both may be fractions
 * @param {number} amount at the middle @param {number} radius
 */
export function push(latent, channel, row, column, amount, radius) {
  const start = channel * latent.rows * latent.columns;
  for (let down = 0; down < latent.rows; down++) {
    for (let across = 0; across < latent.columns; across++) {
      const square = (down + 0.5 - row) ** 2 + (across + 0.5 - column) ** 2;
      latent.values[start + down * latent.columns + across] += amount * Math.exp(-square / (2 * radius * radius));
    }
  }
}

/**
 * A latent moved along the directions of MIDI keys, by their levels in [0, 1]; it keeps its norm.
 * @param {Latent} latent @param {Map<number, number>} levels @returns {Latent}
 */
export function directed(latent, levels) {
  if (!levels.size) return latent;
  const values = latent.values.slice();
  for (const [note, level] of levels) {
    const direction = keyDirection(latent, note);
    for (let index = 0; index < values.length; index++) values[index] += KEY_REACH * level * direction[index];
  }
  const scale = norm(values) > 0 ? norm(latent.values) / norm(values) : 1;
  return { ...latent, values: values.map((value) => value * scale) };
}

/** @type {Map<string, Float32Array>} */
const directions = new Map();

/**
 * Smooth noise of RMS 1, always the same for a key: noise on a coarse grid, interpolated.
 * @param {Latent} latent whose shape it has @param {number} note
 */
function keyDirection({ values, rows, columns }, note) {
  const key = [note, values.length, rows].join();
  const known = directions.get(key);
  if (known) return known;
  const channels = values.length / (rows * columns);
  const noise = normal(Math.max(16, channels * KEY_GRID * KEY_GRID), note);
  const made = new Float32Array(values.length);
  const place = (/** @type {number} */ cell, /** @type {number} */ count) => {
    const exact = Math.min(KEY_GRID - 1, Math.max(0, ((cell + 0.5) / count) * KEY_GRID - 0.5));
    const low = Math.min(KEY_GRID - 2, Math.floor(exact));
    return { low, part: exact - low };
  };
  for (let index = 0; index < made.length; index++) {
    const channel = Math.floor(index / (rows * columns));
    const [down, across] = [place(Math.floor(index / columns) % rows, rows), place(index % columns, columns)];
    const at = (/** @type {number} */ row, /** @type {number} */ column) => noise[(channel * KEY_GRID + row) * KEY_GRID + column];
    const line = (/** @type {number} */ row) => at(row, across.low) * (1 - across.part) + at(row, across.low + 1) * across.part;
    made[index] = line(down.low) * (1 - down.part) + line(down.low + 1) * down.part;
  }
  const size = rms(made);
  directions.set(key, made.map((value) => value / size));
  return /** @type {Float32Array} */ (directions.get(key));
}
