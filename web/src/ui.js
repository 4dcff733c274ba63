/** Small things the page's parts share: elements, canvases, files. */

import { centered, fromPixels, toPixels } from "./pictures.js";

/** @typedef {import("./pictures.js").Picture} Picture */

const LARGEST_FILE = 100e6; // bytes

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

/** @param {Element} element @param {string} event @param {(event: any) => unknown} run */
export const on = (element, event, run) => element.addEventListener(event, (given) => void trying(() => run(given)));

/** @param {HTMLCanvasElement} element @param {Picture} picture */
export function draw(element, picture) {
  if (element.width !== picture.width) element.width = picture.width;
  if (element.height !== picture.height) element.height = picture.height;
  const pixels = new ImageData(toPixels(picture), picture.width, picture.height);
  element.getContext("2d")?.putImageData(pixels, 0, 0);
}

/** @param {Blob} file @returns {Promise<ImageBitmap>} */
export async function readImage(file) {
  if (file.size > LARGEST_FILE) throw new Error("That file is larger than 100 MB.");
  try {
    return await createImageBitmap(file);
  } catch {
    throw new Error("That file is not a picture that this browser can read.");
  }
}

/** The middle of a bitmap at a size, on white. @param {ImageBitmap} bitmap @param {{height: number, width: number}} wanted */
export function fit(bitmap, wanted) {
  const part = centered(bitmap, wanted);
  const drawn = new OffscreenCanvas(wanted.width, wanted.height);
  const context = drawn.getContext("2d", { willReadFrequently: true });
  if (!context) throw new Error("This browser can't draw.");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, wanted.width, wanted.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, part.left, part.top, part.width, part.height, 0, 0, wanted.width, wanted.height);
  return fromPixels(context.getImageData(0, 0, wanted.width, wanted.height).data, wanted.height, wanted.width);
}

/** @param {string} name @param {BlobPart} content @param {string} type */
export function download(name, content, type) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** Takes pictures that are dropped on an element. @param {HTMLElement} element @param {(file: File) => unknown} take */
export function acceptDrops(element, take) {
  on(element, "dragover", (event) => {
    event.preventDefault();
    element.classList.add("over");
  });
  on(element, "dragleave", () => element.classList.remove("over"));
  on(element, "drop", (event) => {
    event.preventDefault();
    event.stopPropagation();
    element.classList.remove("over");
    const [file] = event.dataTransfer.files;
    if (file) return take(file);
  });
}

/** Takes the file that is chosen. @param {HTMLInputElement} element @param {(file: File) => unknown} take */
export const acceptFile = (element, take) =>
  on(element, "change", async () => {
    const [file] = element.files ?? [];
    element.value = ""; // so that the same file can be chosen again
    if (file) await take(file);
  });
