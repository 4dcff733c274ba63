/** Decodes, encodes and takes gradients, away from the thread that draws the page. One request at a time. */

import { GIFEncoder, applyPalette, quantize } from "gifenc";
import * as ort from "onnxruntime-web/wasm";

import { centered, fitted, fromPixels, toPixels } from "./pictures.js";
import { resampled } from "./resample.js";

/** @typedef {import("./latents.js").Latent} Latent */
/** @typedef {import("./pictures.js").Picture} Picture */
/** @typedef {{runtime: {script: Uint8Array<ArrayBuffer>, binary: ArrayBuffer}, provider: "wasm" | "webgpu", threads: number}} Setup */
/** @typedef {Setup & {graphs: Record<string, Uint8Array>, weights: Uint8Array, channels: number}} Load */

/** @type {Record<string, ort.InferenceSession>} */
const sessions = {};
let channels = 0;

/** @param {Latent} latent */
const latentTensor = (latent) => new ort.Tensor("float32", latent.values, [1, channels, latent.rows, latent.columns]);
/** @param {Picture} picture */
const pictureTensor = (picture) => new ort.Tensor("float32", picture.values, [1, 3, picture.height, picture.width]);
/** @param {ort.Tensor} tensor */
const values = (tensor) => /** @type {Float32Array} */ (tensor.data);

/** @param {ort.Tensor} tensor @returns {Picture} */
const toPicture = (tensor) => ({ values: values(tensor), height: tensor.dims[2], width: tensor.dims[3] });

/** @param {Latent} latent */
async function decode(latent) {
  return toPicture((await sessions.decoder.run({ latent: latentTensor(latent) })).image);
}

/** Rows of a bitmap over white, RGBA. @param {ImageBitmap} bitmap */
function reader(bitmap) {
  const canvas = new OffscreenCanvas(bitmap.width, 1);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (!context) throw new Error("This browser can't draw.");
  return (/** @type {number} */ top, /** @type {number} */ rows) => {
    canvas.height = rows;
    context.fillStyle = "#fff";
    context.fillRect(0, 0, bitmap.width, rows);
    context.drawImage(bitmap, 0, -top);
    return context.getImageData(0, 0, bitmap.width, rows).data;
  };
}

const operations = {
  /**
   * A file as a picture: with sides that the autoencoder takes and the longer one of `size`, or as `wanted`.
   * @param {{file: Blob, size: number, stride: number, wanted?: import("./pictures.js").Size}} given
   */
  async picture({ file, size, stride, wanted }) {
    const bitmap = await createImageBitmap(file);
    const original = { height: bitmap.height, width: bitmap.width };
    const { height, width } = wanted ?? fitted(original, size, stride);
    const part = centered(original, { height, width });
    const pixels = resampled(reader(bitmap), original, part, { height, width });
    bitmap.close();
    return { picture: fromPixels(pixels, height, width), original, part };
  },

  /** @param {Load} given */
  async load(given) {
    ort.env.wasm.numThreads = given.threads;
    // of the worker's own making: from disk, a page and its worker may not read each other's
    const script = new Blob([given.runtime.script], { type: "text/javascript" });
    ort.env.wasm.wasmPaths = { mjs: URL.createObjectURL(script) };
    ort.env.wasm.wasmBinary = given.runtime.binary;
    ort.env.logLevel = "error";
    channels = given.channels;
    for (const [name, graph] of Object.entries(given.graphs)) {
      sessions[name] = await ort.InferenceSession.create(graph, {
        executionProviders: [given.provider],
        externalData: [{ path: "weights.bin", data: given.weights }],
      });
    }
  },

  /** @param {{latent: Latent}} given */
  decode: (given) => decode(given.latent),

  /** @param {{picture: Picture}} given @returns {Promise<Latent>} */
  async encode(given) {
    const { latent } = await sessions.encoder.run({ image: pictureTensor(given.picture) });
    return { values: values(latent), rows: latent.dims[2], columns: latent.dims[3] };
  },

  /** @param {{latent: Latent, target: Picture, weights: Float32Array}} given */
  async step(given) {
    const found = await sessions.step.run({
      latent: latentTensor(given.latent),
      target: pictureTensor(given.target),
      weights: new ort.Tensor("float32", given.weights, [given.weights.length]),
    });
    return {
      gradient: values(found.gradient),
      loss: values(found.loss)[0],
      losses: values(found.losses),
      image: toPicture(found.image),
    };
  },

  /** @param {{latents: Latent[], delays: number[]}} given delays in ms @param {(done: number) => void} report */
  async gif(given, report) {
    const encoder = GIFEncoder();
    for (const [index, latent] of given.latents.entries()) {
      const { height, width, values } = await decode(latent);
      const pixels = toPixels({ height, width, values });
      const palette = quantize(pixels, 256);
      const options = { palette, delay: given.delays[index], repeat: 0 };
      encoder.writeFrame(applyPalette(pixels, palette), width, height, options);
      report(index + 1);
    }
    encoder.finish();
    return encoder.bytes();
  },
};

/** @typedef {keyof typeof operations} Operation */

const AT_ONCE = "picture"; // needs no autoencoder, so it doesn't wait until one is loaded

let queue = Promise.resolve();
self.onmessage = ({ data: { id, operation, given } }) => {
  const run = operations[/** @type {Operation} */ (operation)];
  const report = (/** @type {number} */ done) => postMessage({ id, done });
  const answer = async () => {
    const began = performance.now();
    try {
      const result = await run(given, report);
      postMessage({ id, result, ms: performance.now() - began });
    } catch (error) {
      postMessage({ id, error: error instanceof Error ? error.message : String(error) });
    }
  };
  if (operation === AT_ONCE) void answer();
  else queue = queue.then(answer);
};
