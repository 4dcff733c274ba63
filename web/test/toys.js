/** A small model, for tests. */

export const picture = (values) => ({ values: Float32Array.from(values), height: 1, width: 2 });
export const latent = (values, rows = 1, columns = 2) => ({ values: Float32Array.from(values), rows, columns });

/** A model whose picture is half its latent, and whose encoder only finds four fifths of the way back. */
export const model = {
  counts: { decode: 0, encode: 0, step: 0 },
  async decode(from) {
    model.counts.decode++;
    return picture(from.values.map((value) => value / 2));
  },
  async encode(from) {
    model.counts.encode++;
    return latent(from.values.map((value) => value * 1.6));
  },
  async step(from, target, weights) {
    model.counts.step++;
    const image = picture(from.values.map((value) => value / 2));
    const errors = image.values.map((value, index) => value - target.values[index]);
    const mse = errors.reduce((sum, error) => sum + error * error, 0) / errors.length;
    return { gradient: errors.map((error) => (weights[0] * error) / errors.length), loss: weights[0] * mse, losses: Float32Array.of(mse), image };
  },
};
