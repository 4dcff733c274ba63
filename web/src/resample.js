/**
 * Lanczos as Pillow computes it, so that a photograph becomes the same target as for the command line.
 *
 * Pillow scales rows and then columns, with a kernel that widens by the factor, weights as whole numbers of 22 bits, and
 * 8 bits between the two passes. Browsers' own filters differ from each other, and from it by dozens of gray levels.
 */

/** @typedef {{left: number, top: number, width: number, height: number}} Box */
/** @typedef {{start: number, weights: Int32Array}} Taps the pixels that make up one pixel, from `start` */

const SUPPORT = 3;
const BITS = 22;
const BAND = 256; // rows that are read at a time: a photograph need not fit into a canvas

/** @param {number} x */
function lanczos(x) {
  if (x === 0) return 1;
  if (x < -SUPPORT || x >= SUPPORT) return 0;
  const sinc = (/** @type {number} */ at) => Math.sin(Math.PI * at) / (Math.PI * at);
  return sinc(x) * sinc(x / SUPPORT);
}

/**
 * What each of `count` pixels is made of, along one side of a picture.
 * @param {number} length of that side @param {number} from @param {number} to the part that is taken @param {number} count
 * @returns {Taps[]}
 */
export function taps(length, from, to, count) {
  const [first, last] = [Math.fround(from), Math.fround(to)]; // Pillow's boxes are of 32 bits
  if (count === length && first === 0 && last === length) {
    return Array.from({ length }, (_, start) => ({ start, weights: Int32Array.of(1 << BITS) }));
  }
  const scale = Math.fround(last - first) / count;
  const wider = Math.max(1, scale);
  return Array.from({ length: count }, (_, index) => {
    const center = first + (index + 0.5) * scale;
    const start = Math.max(0, Math.trunc(center - SUPPORT * wider + 0.5));
    const end = Math.min(length, Math.trunc(center + SUPPORT * wider + 0.5));
    const exact = Array.from({ length: end - start }, (_, tap) => lanczos((tap + start - center + 0.5) / wider));
    const sum = exact.reduce((total, weight) => total + weight, 0);
    const whole = (/** @type {number} */ weight) => Math.trunc((weight / sum) * 2 ** BITS + (weight / sum < 0 ? -0.5 : 0.5));
    return { start, weights: Int32Array.from(exact, whole) };
  });
}

/** @param {ArrayLike<number>} values @param {number} offset @param {number} step @param {Int32Array} weights */
function weighted(values, offset, step, weights) {
  let sum = 1 << (BITS - 1);
  for (let tap = 0; tap < weights.length; tap++) sum += values[offset + tap * step] * weights[tap];
  return sum >> BITS;
}

/**
 * A part of a picture at a size, RGBA and opaque.
 * @param {(top: number, rows: number) => Uint8ClampedArray} read rows of the picture, RGBA
 * @param {{height: number, width: number}} original @param {Box} box @param {{height: number, width: number}} wanted
 */
export function resampled(read, original, box, wanted) {
  const across = taps(original.width, box.left, box.left + box.width, wanted.width);
  const down = taps(original.height, box.top, box.top + box.height, wanted.height);
  const [first, end] = [down[0].start, Math.max(...down.map(({ start, weights }) => start + weights.length))];
  const line = 4 * wanted.width;
  const narrow = new Uint8ClampedArray((end - first) * line).fill(255);
  for (let top = first; top < end; top += BAND) {
    const rows = Math.min(BAND, end - top);
    const pixels = read(top, rows);
    for (let row = 0; row < rows; row++) {
      across.forEach(({ start, weights }, column) => {
        for (let color = 0; color < 3; color++) {
          narrow[(top - first + row) * line + 4 * column + color] = weighted(pixels, 4 * (row * original.width + start) + color, 4, weights);
        }
      });
    }
  }
  const result = new Uint8ClampedArray(wanted.height * line).fill(255);
  down.forEach(({ start, weights }, row) => {
    for (let place = 0; place < line; place++) {
      if (place % 4 < 3) result[row * line + place] = weighted(narrow, (start - first) * line + place, line, weights);
    }
  });
  return result;
}
