/** What a file is that was chosen, dropped or pasted, by its first bytes. */

const HEAD = 4096;
const LARGEST_PICTURE = 100e6; // bytes
const TAKEN = "JPEG, PNG, WebP, GIF and BMP can be taken";
const FORMATS = { PNG: /^\x89PNG/, JPEG: /^\xff\xd8\xff/, GIF: /^GIF8/, WebP: /^RIFF.{4}WEBP/s, BMP: /^BM/ };

/** @type {[RegExp, string][]} the beginning of a file that the browser couldn't read, and what to do */
const REFUSALS = [
  [/^.{4}ftyp(hei|hev|mif1|msf1)/s, "That is a HEIC photograph, which this browser can't read. Save it as JPEG first; an iPhone takes JPEG with Settings, Camera, Formats, Most Compatible."],
  [/^(II[*+]\0|MM\0[*+])/, "That is a TIFF, or a camera's raw file, which browsers don't read. Save it as PNG or JPEG first."],
  [/<svg[\s>]/i, "That is an SVG, a drawing without pixels. Export it as PNG first."],
  [/^%PDF/, "That is a PDF. Save its picture as PNG or JPEG first."],
  [/^8BPS/, "That is a Photoshop file. Save it as PNG or JPEG first."],
  [/^.{8}\{"/s, "That is a latent or a model, no picture. Take a latent by Load a latent…"],
  [/^.{4}ftypavi/s, "That AVIF is damaged, or of a kind that this browser can't read. Save it as PNG or JPEG."],
  [/^(.{4}ftyp|.E\xdf\xa3)/s, "That is a video. Save one of its pictures as PNG or JPEG first."],
  ...Object.entries(FORMATS).map(([name, pattern]) => /** @type {[RegExp, string]} */ ([pattern, `That ${name} is damaged or cut off. Save it again where it comes from.`])),
];

/** @param {Uint8Array} bytes one letter a byte */
const letters = (bytes) => Array.from(bytes.subarray(0, HEAD), (byte) => String.fromCharCode(byte)).join("");

/** Why a file can't be taken as a picture, and what to do. @param {Uint8Array} head the first bytes */
export function refusal(head) {
  if (!head.length) return "That file is empty, 0 bytes. If it lies in a cloud, download it first.";
  const text = letters(head);
  const isText = head.every((byte) => byte >= 0x20 || (byte >= 0x09 && byte <= 0x0d));
  return REFUSALS.find(([pattern]) => pattern.test(text))?.[1] ?? `That file is ${isText ? "text, no picture" : "no picture that this browser knows"}. ${TAKEN}.`;
}

/** Whether a picture moves, by the bytes of its file. @param {Uint8Array} bytes */
export function isAnimated(bytes) {
  const text = letters(bytes);
  if (FORMATS.WebP.test(text)) return text.startsWith("VP8X", 12) && Boolean(bytes[20] & 2);
  if (FORMATS.PNG.test(text)) return text.includes("acTL");
  return FORMATS.GIF.test(text) && imagesOfGif(bytes) > 1;
}

/** @param {Uint8Array} bytes of a GIF @returns {number} of its images, counted up to two */
function imagesOfGif(bytes) {
  const table = (/** @type {number} */ flags) => (flags & 0x80 ? 3 * 2 ** ((flags & 7) + 1) : 0);
  let [place, count] = [13 + table(bytes[10]), 0];
  while (place < bytes.length && count < 2) {
    const kind = bytes[place];
    if (kind === 0x2c) {
      count++;
      place += 11 + table(bytes[place + 9]);
    } else if (kind === 0x21) place += 2;
    else break;
    while (bytes[place]) place += bytes[place] + 1; // its blocks, each with its length
    place++;
  }
  return count;
}

/** The first bytes of a file, or all; throws where it can't be read. @param {Blob} file @param {number} [count] */
export async function bytesOf(file, count = HEAD) {
  try {
    return new Uint8Array(await file.slice(0, count).arrayBuffer());
  } catch {
    throw new Error("That can't be read: it is a folder, or a file that was moved or changed meanwhile. Choose it again.");
  }
}

/** Refuses a file by its size. @param {Blob} file @param {number} [most] bytes @param {string} [kind] */
export function checkSize(file, most = LARGEST_PICTURE, kind = "A picture") {
  if (file.size <= most) return;
  const text = file.size < 1e9 ? `${(file.size / 1e6).toFixed(0)} MB` : `${(file.size / 1e9).toFixed(1)} GB`;
  throw new Error(`That file has ${text}. ${kind} may have ${most / 1e6} MB.`);
}

/**
 * What was dropped: a file, a picture within the text of an address, or a sentence why it is neither.
 * @param {DataTransfer} given @returns {{file?: Blob, name?: string, problem?: string}}
 */
export function dropped(given) {
  const [file] = given.files;
  if (file) return { file, name: file.name };
  const address = given.getData("text/uri-list").split("\n").find((line) => line && !line.startsWith("#"));
  if (address?.startsWith("data:image/") && address.includes(";base64,")) return { file: ofDataAddress(address), name: "dropped" };
  if (address) return { problem: "A picture on another page can't be read from here. Save it first, then drop the file." };
  if (!given.types.length) return {}; // nothing was dropped
  return { problem: "That is no file. Drop a picture that lies on this machine." };
}

/** @param {string} address data:…;base64,… */
export function ofDataAddress(address) {
  const [head, body] = address.split(",");
  const bytes = Uint8Array.from(atob(body), (letter) => letter.charCodeAt(0));
  return new Blob([bytes], { type: head.slice(5).split(";")[0] });
}
