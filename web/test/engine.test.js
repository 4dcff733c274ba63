import assert from "node:assert/strict";
import test from "node:test";

import { Engine, fasterEngine, gpuEngine } from "../src/engine.js";

/** An engine that is made up: its loss, how long a step takes, and whether it was closed. */
const engine = (loss, milliseconds) => ({
  milliseconds,
  closed: false,
  step: async () => ({ loss }),
  close() {
    this.closed = true;
  },
});
const chosen = (one, other) => fasterEngine(one, async () => other, {}, {}, []);

test("an engine that is faster and finds the same loss is taken", async () => {
  const other = engine(0.50001, 10);
  assert.equal(await chosen(engine(0.5, 20), other), other);
  assert.ok(!other.closed);
});

test("an engine with another loss, or a slower one, is closed", async () => {
  for (const other of [engine(0.51, 1), engine(0.49, 1), engine(NaN, 1), engine(0.5, 30)]) {
    assert.equal(await chosen(engine(0.5, 20), other), null);
    assert.ok(other.closed);
  }
});

test("where there is no other engine, or it fails, the first stays", async (context) => {
  context.mock.method(console, "warn", () => {});
  assert.equal(await chosen(engine(0.5, 20), null), null);
  const broken = { ...engine(0.5, 1), step: async () => { throw new Error("lost"); } };
  assert.equal(await chosen(engine(0.5, 20), broken), null);
  assert.ok(broken.closed);
  assert.equal(await fasterEngine(engine(0.5, 20), async () => { throw new Error("no adapter"); }, {}, {}, []), null);
});

/** A worker that answers what it is asked with its operation, and keeps a list of it. */
function worker() {
  const made = { asked: [], onmessage: null, terminate() {}, postMessage({ id, operation }) {
    made.asked.push(operation);
    queueMicrotask(() => made.onmessage({ data: { id, result: operation } }));
  } };
  return made;
}

test("pictures are read at once, and what needs the autoencoder waits until it is loaded", async () => {
  const made = worker();
  const own = new Engine(Promise.resolve(made), "toy");
  let come;
  own.load(new Promise((resolve) => (come = resolve)));
  const decoded = own.decode({});
  assert.equal(await own.picture(new Blob(), {}), "picture");
  assert.deepEqual([made.asked, own.isLoaded], [["picture"], false]);
  come({});
  assert.equal(await decoded, "decode");
  assert.deepEqual([made.asked, own.isLoaded], [["picture", "load", "decode"], true]);
});

test("where the files can't be loaded, whoever waits is told", async () => {
  const own = new Engine(Promise.resolve(worker()), "toy");
  own.load(Promise.reject(new Error("weights.bin.gz can't be loaded: 404."))).catch(() => {});
  await assert.rejects(own.encode({}), /404/);
});

test("an engine that retires answers first what it was asked", async () => {
  const made = worker();
  let ended = 0;
  made.terminate = () => ended++;
  const own = new Engine(Promise.resolve(made), "toy");
  own.load(Promise.resolve({}));
  await own.encode({});
  const [answer, held] = [made.postMessage, []];
  made.postMessage = (message) => held.push(message);
  const decoded = own.decode({});
  await new Promise(setImmediate); // the worker has it
  own.retire();
  await new Promise(setImmediate);
  assert.deepEqual([held.length, ended], [1, 0]);
  answer(held[0]);
  assert.equal(await decoded, "decode");
  await new Promise(setImmediate);
  assert.equal(ended, 1);
});

test("an imitation of a graphics processor is none", async () => {
  const before = Object.getOwnPropertyDescriptor(globalThis, "navigator");
  const gpu = (adapter) => Object.defineProperty(globalThis, "navigator", { configurable: true, value: { gpu: { requestAdapter: async () => adapter } } });
  WebAssembly.Suspending ??= class {};
  try {
    for (const adapter of [null, { info: { isFallbackAdapter: true } }, { isFallbackAdapter: true }]) {
      gpu(adapter);
      assert.equal(await gpuEngine({}, {}), null);
    }
    gpu({ info: { isFallbackAdapter: false } });
    const assets = { script: () => Promise.reject(new Error("none here")), bytes: () => Promise.reject(new Error("none here")) };
    const found = await gpuEngine(assets, { graphs: [], channels: 4 });
    assert.equal(found?.title, "WebGPU");
    await found.worker.catch(() => {});
  } finally {
    if (before) Object.defineProperty(globalThis, "navigator", before);
  }
});
