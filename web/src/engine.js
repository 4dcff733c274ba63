/** The worker as promises, and the choice of what it computes with. */

/** @typedef {import("./assets.js").Assets} Assets */
/** @typedef {import("./latents.js").Latent} Latent */
/** @typedef {import("./pictures.js").Picture} Picture */
/** @typedef {import("./rules.js").Model} Model */
/** @typedef {{channels: number, stride: number, graphs: string[]}} ModelFacts */
/** @typedef {{resolve: (value: any) => void, reject: (error: Error) => void, report?: (done: number) => void}} Waiting */

const AGREES = 1e-3; // relative, of two losses: another order of sums, not another result
const MOST_THREADS = 8;

/** @implements {Model} */
export class Engine {
  /** @param {Promise<Worker>} worker @param {string} title */
  constructor(worker, title) {
    this.worker = worker.then((started) => this.connect(started));
    this.title = title;
    this.next = 0;
    this.milliseconds = 0; // of the last step
    this.isRetired = false;
    this.isLoaded = false;
    /** @type {Map<number, Waiting>} */
    this.waiting = new Map();
    /** @type {Promise<unknown>} */
    this.loaded = this.worker; // what all that needs the autoencoder waits for
  }

  /** @param {Worker} worker */
  connect(worker) {
    worker.onmessage = ({ data }) => this.answer(data);
    worker.onerror = (event) => this.fail(event.message || "The worker could not be started.");
    return worker;
  }

  /** @param {Promise<any>} files of the autoencoder and the runtime */
  load(files) {
    this.loaded = files.then(async (given) => {
      await this.send("load", given);
      this.isLoaded = true;
    });
    return this.loaded;
  }

  /** @param {{id: number, done?: number, error?: string, result?: any, ms?: number}} data */
  answer(data) {
    const waiting = this.waiting.get(data.id);
    if (!waiting) return;
    if (data.done !== undefined) return waiting.report?.(data.done);
    this.waiting.delete(data.id);
    if (data.error !== undefined) return waiting.reject(new Error(data.error));
    this.elapsed = data.ms ?? 0;
    waiting.resolve(data.result);
    if (this.isRetired) this.retire();
  }

  /** @param {string} message */
  fail(message) {
    for (const waiting of this.waiting.values()) waiting.reject(new Error(message));
    this.waiting.clear();
  }

  /** @param {string} operation @param {any} given @param {(done: number) => void} [report] @returns {Promise<any>} */
  async ask(operation, given, report) {
    await this.loaded;
    return this.send(operation, given, report);
  }

  /** @param {string} operation @param {any} given @param {(done: number) => void} [report] @returns {Promise<any>} */
  async send(operation, given, report) {
    const worker = await this.worker;
    return new Promise((resolve, reject) => {
      const id = this.next++;
      this.waiting.set(id, { resolve, reject, report });
      worker.postMessage({ id, operation, given });
    });
  }

  /**
   * A file as a picture, which needs no autoencoder.
   * @param {Blob} file @param {{size?: number, stride?: number, wanted?: import("./pictures.js").Size}} how
   * @returns {Promise<{picture: Picture, original: import("./pictures.js").Size, part: import("./resample.js").Box}>}
   */
  picture(file, how) {
    return this.send("picture", { file, ...how });
  }

  /** @param {Latent} latent @returns {Promise<Picture>} */
  decode(latent) {
    return this.ask("decode", { latent });
  }

  /** @param {Picture} picture @returns {Promise<Latent>} */
  encode(picture) {
    return this.ask("encode", { picture });
  }

  /** @param {Latent} latent @param {Picture} target @param {Float32Array} weights */
  async step(latent, target, weights) {
    const found = await this.ask("step", { latent, target, weights });
    this.milliseconds = this.elapsed ?? 0;
    return found;
  }

  /** @param {Latent[]} latents @param {number[]} delays @param {(done: number) => void} report @returns {Promise<Uint8Array<ArrayBuffer>>} */
  gif(latents, delays, report) {
    return this.ask("gif", { latents, delays }, report);
  }

  /** Ends once everything that was asked for is answered. */
  retire() {
    this.isRetired = true;
    if (!this.waiting.size) void this.close();
  }

  async close() {
    (await this.worker).terminate();
    this.fail("The worker was stopped.");
  }
}

/**
 * A worker, and everything that it needs on its way to it.
 * @param {Assets} assets @param {ModelFacts} facts @param {"wasm" | "webgpu"} provider
 */
export function startEngine(assets, facts, provider) {
  const kind = provider === "webgpu" ? "gpu" : "cpu";
  const threads = provider === "wasm" && crossOriginIsolated ? Math.min(MOST_THREADS, navigator.hardwareConcurrency) : 1;
  const title = provider === "webgpu" ? "WebGPU" : `WebAssembly, ${threads} thread${threads === 1 ? "" : "s"}`;
  const engine = new Engine(assets.script(`${kind}.worker.js`).then((script) => new Worker(script)), title);
  const names = [`${kind}.runtime.mjs`, `${kind}.runtime.wasm`, "weights.bin", ...facts.graphs.map((name) => `${name}.onnx`)];
  const files = Promise.all(names.map((name) => assets.bytes(name))).then(([script, binary, weights, ...graphs]) => ({
    runtime: { script, binary: binary.buffer },
    provider,
    threads,
    graphs: Object.fromEntries(facts.graphs.map((name, index) => [name, graphs[index]])),
    weights,
    channels: facts.channels,
  }));
  void engine.load(files).catch(() => {}); // whoever asks for something is told
  return engine;
}

/** An engine on the graphics processor, where there is one that the page can use, and no imitation. @param {Assets} assets @param {ModelFacts} facts */
export async function gpuEngine(assets, facts) {
  if (!("gpu" in navigator) || !("Suspending" in WebAssembly)) return null;
  const adapter = await /** @type {any} */ (navigator).gpu.requestAdapter();
  if (!adapter || (adapter.info?.isFallbackAdapter ?? adapter.isFallbackAdapter)) return null;
  return startEngine(assets, facts, "webgpu");
}

/**
 * Another engine, if it takes the same step faster than this one and with the same loss.
 * @param {Engine} engine @param {() => Promise<Engine | null>} start the other
 * @param {Latent} latent @param {Picture} target @param {Float32Array} weights
 */
export async function fasterEngine(engine, start, latent, target, weights) {
  let other = null;
  try {
    other = await start();
    if (!other) return null;
    const here = await engine.step(latent, target, weights);
    await other.step(latent, target, weights); // compiles
    const there = await other.step(latent, target, weights);
    const agrees = Math.abs(there.loss - here.loss) <= AGREES * Math.abs(here.loss);
    if (agrees && other.milliseconds < engine.milliseconds) return other;
  } catch (error) {
    console.warn("WebGPU is not used:", error);
  }
  void other?.close();
  return null;
}
