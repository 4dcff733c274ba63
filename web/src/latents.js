/** Points of a latent space and paths between them. */

/** @typedef {{values: Float32Array, rows: number, columns: number}} Latent (channels, rows, columns), flat */

const MIN_ANGLE = 1e-4;

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
