/** Builds what `latentflow page` puts into a page: its markup, its scripts, and the runtime that computes. */

import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import path from "node:path";
import { promisify } from "node:util";
import { gzip } from "node:zlib";

import { build } from "esbuild";

const OUTPUT = path.resolve(process.argv[2] ?? path.join(import.meta.dirname, "../latentflow/page/runtime"));
const SOURCE = path.join(import.meta.dirname, "src");
const RUNTIME = path.dirname(createRequire(import.meta.url).resolve("onnxruntime-web/wasm"));
const compress = promisify(gzip);

/** @param {string} name @param {Record<string, string>} alias */
async function bundled(name, alias = {}) {
  const result = await build({
    entryPoints: [path.join(SOURCE, name)],
    bundle: true,
    minify: true,
    write: false,
    format: "iife",
    target: "es2022",
    conditions: ["onnxruntime-web-use-extern-wasm"],
    legalComments: "inline",
    logOverride: { "empty-import-meta": "silent" }, // its address is given to the runtime
    alias,
  });
  return Buffer.from(result.outputFiles[0].contents);
}

/** @param {string} name @param {Buffer} content */
async function written(name, content) {
  await writeFile(path.join(OUTPUT, name), content);
  console.log(`${String(content.length).padStart(9)}  ${name}`);
}

/** @param {string} name @param {Buffer} content */
const packed = async (name, content) => written(`${name}.gz`, await compress(content, { level: 9 }));

await rm(OUTPUT, { recursive: true, force: true });
await mkdir(OUTPUT, { recursive: true });
const [runtime, encoder] = await Promise.all(
  [path.join(RUNTIME, "../package.json"), path.join(import.meta.dirname, "node_modules/gifenc/LICENSE.md")].map((file) => readFile(file, "utf8")),
);
const owner = `ONNX Runtime Web ${JSON.parse(runtime).version}, Copyright (c) Microsoft Corporation, under the MIT License`;
await written("licenses.txt", Buffer.from(`This page contains\n\n${owner}, whose text is below;\n\ngifenc:\n\n${encoder}`));
await written("page.js", await bundled("main.js"));
for (const name of ["page.html", "page.css"]) await written(name, await readFile(path.join(SOURCE, name)));
for (const [kind, file] of [["cpu", "ort-wasm-simd-threaded"], ["gpu", "ort-wasm-simd-threaded.jspi"]]) {
  /** @type {Record<string, string>} */
  const alias = kind === "gpu" ? { "onnxruntime-web/wasm": "onnxruntime-web/jspi" } : {};
  await packed(`${kind}.worker.js`, await bundled("worker.js", alias));
  await packed(`${kind}.runtime.mjs`, await readFile(path.join(RUNTIME, `${file}.mjs`)));
  await packed(`${kind}.runtime.wasm`, await readFile(path.join(RUNTIME, `${file}.wasm`)));
}
