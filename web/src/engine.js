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
  /** @param {Worker} worker @param {string} title */
  constructor(worker, title) {
    this.worker = worker;
    this.title = title;
    this.next = 0;
    this.milliseconds = 0; // of the last step
    this.isRetired = false;
    /** @type {Map<number, Waiting>} */
    this.waiting = new Map();
    worker.onmessage = ({ data }) => this.answer(data);
    worker.onerror = (event) => this.fail(event.message || "The worker could not be started.");
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
  ask(operation, given, report) {
    return new Promise((resolve, reject) => {
      const id = this.next++;
      this.waiting.set(id, { resolve, reject, report });
      this.worker.postMessage({ id, operation, given });
    });
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
    if (!this.waiting.size) this.close();
  }

  close() {
    this.worker.terminate();
    this.fail("The worker was stopped.");
  }
}

/**
 * Starts a worker with everything it needs.
 * @param {Assets} assets @param {ModelFacts} facts @param {"wasm" | "webgpu"} provider
 */
export async function startEngine(assets, facts, provider) {
  const kind = provider === "webgpu" ? "gpu" : "cpu";
  const threads = provider === "wasm" && crossOriginIsolated ? Math.min(MOST_THREADS, navigator.hardwareConcurrency) : 1;
  const [worker, script, binary, weights, ...graphs] = await Promise.all([
    assets.script(`${kind}.worker.js`),
    assets.bytes(`${kind}.runtime.mjs`),
    assets.bytes(`${kind}.runtime.wasm`),
    assets.bytes("weights.bin"),
    ...facts.graphs.map((name) => assets.bytes(`${name}.onnx`)),
  ]);
  const title = provider === "webgpu" ? "WebGPU" : `WebAssembly, ${threads} thread${threads === 1 ? "" : "s"}`;
  const engine = new Engine(new Worker(worker), title);
  await engine.ask("load", {
    runtime: { script, binary: binary.buffer },
    provider,
    threads,
    graphs: Object.fromEntries(facts.graphs.map((name, index) => [name, graphs[index]])),
    weights,
    channels: facts.channels,
  });
  return engine;
}

/** Whether there is a graphics processor that the page can use, and no imitation of one. */
async function hasGpu() {
  if (!("gpu" in navigator) || !("Suspending" in WebAssembly)) return false;
  try {
    const adapter = await /** @type {any} */ (navigator).gpu.requestAdapter();
    return Boolean(adapter) && !(adapter.info?.isFallbackAdapter ?? adapter.isFallbackAdapter);
  } catch {
    return false;
  }
}

/**
 * An engine on the graphics processor, if there is one that takes the same step faster and with the same loss.
 * @param {Assets} assets @param {ModelFacts} facts @param {Engine} engine @param {Latent} latent
 * @param {Picture} target @param {Float32Array} weights
 */
export async function fasterEngine(assets, facts, engine, latent, target, weights) {
  if (!(await hasGpu())) return null;
  let other = null;
  try {
    other = await startEngine(assets, facts, "webgpu");
    const here = await engine.step(latent, target, weights);
    await other.step(latent, target, weights); // compiles
    const there = await other.step(latent, target, weights);
    const agrees = Math.abs(there.loss - here.loss) <= AGREES * Math.abs(here.loss);
    if (agrees && other.milliseconds < engine.milliseconds) return other;
  } catch (error) {
    console.warn("WebGPU is not used:", error);
  }
  other?.close();
  return null;
}
