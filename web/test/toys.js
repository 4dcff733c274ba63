/** A small model and the library's constants, for tests. */

const ADAM = { lr: 0.1, updates: "Adam", constants: { betas: [0.7, 0.8], epsilon: 1e-8 } };
export const FACTS = {
  methods: {
    gradient: ADAM,
    gradient_free: { lr: null, remaining: 0.01, updates: "Sgd", constants: { momentum: 0 } },
    hybrid: { ...ADAM, lr: 0.06 },
  },
  hybrid: { short: 20, walked: 0.35, half: 0.5, ramp: 4, worthwhile: 0.04 },
  largest_rms: 100,
};

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
