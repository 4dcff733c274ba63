/** Pictures as the autoencoder takes them: (3, height, width) in [0, 1], red, green and blue apart. */

/** @typedef {{values: Float32Array, height: number, width: number}} Picture */

/**
 * Height and width of a picture whose longer side is `size`, both multiples of the stride.
 * @param {{height: number, width: number}} original @param {number} size @param {number} stride
 */
export function fitted(original, size, stride) {
  const longer = Math.max(original.height, original.width);
  const side = (/** @type {number} */ length) =>
    Math.max(2, Math.round((length * size) / longer / stride)) * stride;
  return { height: side(original.height), width: side(original.width) };
}

/**
 * The largest centered part of a picture with the aspect that is wanted.
 * @param {{height: number, width: number}} original @param {{height: number, width: number}} wanted
 */
export function centered(original, wanted) {
  const scale = Math.min(original.width / wanted.width, original.height / wanted.height);
  const [width, height] = [wanted.width * scale, wanted.height * scale];
  return { left: (original.width - width) / 2, top: (original.height - height) / 2, width, height };
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
