/** Small things the page's parts share: elements, canvases, files. */

import { bytesOf, checkSize, dropped, isAnimated, refusal } from "./files.js";
import { toPixels } from "./pictures.js";

/** @typedef {import("./pictures.js").Picture} Picture */
/** @typedef {import("./engine.js").Engine} Engine */

/**
 * An element of the page, of the kind that is expected there.
 * @template {Element} T
 * @param {string} id @param {new () => T} kind @returns {T}
 */
export function find(id, kind) {
  const element = document.getElementById(id);
  if (!(element instanceof kind)) throw new Error(`The page has no ${id}.`);
  return element;
}

export const button = (/** @type {string} */ id) => find(id, HTMLButtonElement);
export const input = (/** @type {string} */ id) => find(id, HTMLInputElement);
export const select = (/** @type {string} */ id) => find(id, HTMLSelectElement);
export const canvas = (/** @type {string} */ id) => find(id, HTMLCanvasElement);

/** @param {string} text @param {boolean} [wrong] */
export function say(text, wrong = false) {
  const status = find("status", HTMLElement);
  status.textContent = text;
  status.classList.toggle("wrong", wrong);
}

/** Runs something and shows what went wrong, if anything does. @param {() => unknown} run */
export async function trying(run) {
  try {
    await run();
  } catch (error) {
    say(error instanceof Error ? error.message : String(error), true);
  }
}

/** @param {EventTarget} element @param {string} event @param {(event: any) => unknown} run */
export const on = (element, event, run) => element.addEventListener(event, (given) => void trying(() => run(given)));

/** @param {HTMLCanvasElement} element @param {Picture} picture */
export function draw(element, picture) {
  if (element.width !== picture.width) element.width = picture.width;
  if (element.height !== picture.height) element.height = picture.height;
  const pixels = new ImageData(toPixels(picture), picture.width, picture.height);
  element.getContext("2d")?.putImageData(pixels, 0, 0);
}

/**
 * A file as a picture; throws why it is none, and what to do.
 * @param {Engine} engine @param {Blob} file @param {Parameters<Engine["picture"]>[1]} how
 */
export async function readPicture(engine, file, how) {
  checkSize(file);
  const bytes = await bytesOf(file, Infinity);
  try {
    return { ...(await engine.picture(file, how)), isAnimated: isAnimated(bytes) };
  } catch {
    throw new Error(refusal(bytes));
  }
}

/** @param {string} name @param {BlobPart} content @param {string} type */
export function download(name, content, type) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** Takes what is dropped on an element. @param {HTMLElement} element @param {(file: Blob, name: string) => unknown} take */
export function acceptDrops(element, take) {
  const over = (/** @type {boolean} */ is) => element.classList.toggle("over", is);
  on(element, "dragover", (event) => {
    event.preventDefault();
    over(true);
  });
  on(element, "dragleave", () => over(false));
  on(element, "drop", (event) => {
    event.preventDefault();
    event.stopPropagation();
    over(false);
    const { file, name = "", problem } = dropped(event.dataTransfer);
    if (problem) throw new Error(problem);
    if (file) return take(file, name);
  });
}

/** Takes the file that is chosen. @param {HTMLInputElement} element @param {(file: File) => unknown} take */
export const acceptFile = (element, take) =>
  on(element, "change", async () => {
    const [file] = element.files ?? [];
    element.value = ""; // so that the same file can be chosen again
    if (file) await take(file);
  });
