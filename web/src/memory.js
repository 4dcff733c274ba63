/** What a tab keeps over a reload and *back*: its target and its run, in its session storage, which ends with the tab. */

import { ofDataAddress } from "./files.js";
import { Inversion } from "./rules.js";

/** @typedef {import("./flow.js").Flow} Flow */

const LARGEST = 2e6; // bytes of a file that is kept as it is
const SIDE = 1024; // pixels of the longer side of what a larger one is kept as

/** Numbers as JSON has none, and arrays of them. @param {string} _ @param {any} value */
function packed(_, value) {
  if (value instanceof Float32Array) {
    const bytes = new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
    let text = "";
    for (const byte of bytes) text += String.fromCharCode(byte);
    return { float32: btoa(text) };
  }
  return typeof value === "number" && !Number.isFinite(value) ? { number: String(value) } : value;
}

/** @param {string} _ @param {any} value */
function unpacked(_, value) {
  if (typeof value?.float32 === "string") return new Float32Array(Uint8Array.from(atob(value.float32), (letter) => letter.charCodeAt(0)).buffer);
  return typeof value?.number === "string" ? Number(value.number) : value;
}

/** @param {any} value plain values and Float32Arrays */
export const pack = (value) => JSON.stringify(value, packed);
/** @param {string} text */
export const unpack = (text) => JSON.parse(text, unpacked);

/** Where a page keeps something; all pages that are opened from disk share their storage. @param {string} name @param {import("./studio.js").Facts} facts */
const place = (name, { metadata }) => `latentflow ${name} ${metadata.sha256} ${location.pathname}`;

/** Keeps the first of several versions that there is room for. @param {string} key @param {(() => string)[]} versions */
function keep(key, versions) {
  try {
    sessionStorage.removeItem(key);
  } catch {
    return; // this browser keeps nothing for such a page
  }
  for (const version of versions) {
    try {
      return sessionStorage.setItem(key, version());
    } catch {
      continue; // no room
    }
  }
}

/** @param {string} key */
function recalled(key) {
  try {
    return unpack(sessionStorage.getItem(key) ?? "null");
  } catch {
    return null;
  }
}

/** Keeps a target's file. @param {import("./studio.js").Studio} studio */
export async function keepFile({ origin, facts }) {
  const source = await dataAddress(origin.file);
  keep(place("file", facts), [() => pack(source)]);
}

/** Keeps the target and the run of a flow. @param {Flow} flow @param {string} address of its settings */
export function keepRun({ studio, inversion, frames, first, ran }, address) {
  if (!studio.target.height) return;
  const { name, note } = studio.origin;
  const target = { name, note, ...studio.target };
  const { weights, lr, steps, method } = inversion?.settings ?? {};
  const run = { fields: ran, settings: { weights, lr, steps, method }, state: inversion?.state(), first, frames };
  const thin = () => ({ ...run, frames: frames.map((frame, index) => (index === frames.length - 1 ? frame : { ...frame, latent: null })) });
  const versions = frames.length > 1 ? [() => pack({ address, target, run }), () => pack({ address, target, run: thin() })] : [];
  keep(place("run", studio.facts), [...versions, () => pack({ address, target, run: null })]);
}

/** A file as a data: address; a picture of many megabytes is made smaller. @param {Blob} file @returns {Promise<string>} */
export async function dataAddress(file) {
  if (file.size > LARGEST) {
    const bitmap = await createImageBitmap(file);
    const scale = Math.min(1, SIDE / Math.max(bitmap.width, bitmap.height));
    const small = new OffscreenCanvas(Math.ceil(bitmap.width * scale), Math.ceil(bitmap.height * scale));
    small.getContext("2d")?.drawImage(bitmap, 0, 0, small.width, small.height);
    return dataAddress(await small.convertToBlob({ type: "image/jpeg", quality: 0.92 }));
  }
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}

/**
 * Brings back the target, and the run where the settings are still its own; null where nothing was kept.
 * @param {Flow} flow @param {string} address
 */
export function recallRun(flow, address) {
  const { studio } = flow;
  const kept = recalled(place("run", studio.facts));
  const source = recalled(place("file", studio.facts));
  if (!kept || !source || kept.address !== address) return null;
  const { name, note, ...target } = kept.target;
  studio.aim(target, { name, note, file: ofDataAddress(source) });
  const { run } = kept;
  if (!run) return { hasRun: false };
  const inversion = new Inversion(studio.model, run.first, { ...run.settings, target });
  inversion.restore(run.state);
  void flow.restore({ fields: run.fields, inversion, frames: run.frames, first: run.first, origin: studio.origin });
  return { hasRun: true };
}
