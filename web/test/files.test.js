import assert from "node:assert/strict";
import test from "node:test";

import { bytesOf, checkSize, dropped, isAnimated, refusal } from "../src/files.js";

const bytes = (text) => Uint8Array.from(text, (letter) => letter.charCodeAt(0));

test("each file that is no picture has its reason and its remedy", () => {
  const cases = {
    "": /empty.*download it/,
    "\0\0\0\x18ftypheic\0\0": /HEIC.*JPEG.*iPhone/,
    "\0\0\0\x1cftypmif1\0\0": /HEIC/,
    "II*\0\x08\0\0\0": /TIFF.*PNG/,
    "MM\0*\0\0\0\x08": /TIFF.*PNG/,
    '<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>': /SVG.*Export it as PNG/,
    "%PDF-1.7": /PDF/,
    "8BPS\0\x01": /Photoshop/,
    "\0\0\0\x20ftypisom\0\0": /video/,
    "\x1aE\xdf\xa3\x9f": /video/,
    "\0\0\0\x20ftypavif\0\0": /AVIF/,
    "\x89PNG\r\n\x1a\n\xff\xff": /PNG is damaged/,
    "\xff\xd8\xff\xe0\0": /JPEG is damaged/,
    "GIF89a\x01": /GIF is damaged/,
    "RIFF\0\0\0\0WEBPVP8 ": /WebP is damaged/,
    "BM\0\0\0\0": /BMP is damaged/,
    '\x10\0\0\0\0\0\0\0{"latent"': /latent or a model.*Load a latent/,
    "Dear reader,\n\u00e9": /text, no picture.*JPEG, PNG/,
    "\x7fELF\x02\x01\x01\0": /no picture that this browser knows.*JPEG/,
  };
  for (const [head, wanted] of Object.entries(cases)) assert.match(refusal(bytes(head)), wanted, head);
});

/** A GIF with this many images of one pixel, with or without a table of its own colors. */
const gif = (images, local = false) =>
  bytes(`GIF89a\x01\0\x01\0\x80\0\0${"\0".repeat(6)}!\xf9\x04\0\0\0\0\0${`,${"\0".repeat(4)}\x01\0\x01\0${local ? `\x81${"\0".repeat(12)}` : "\0"}\x02\x02D\x01\0`.repeat(images)};`);

test("a picture that moves is known by its file", () => {
  for (const local of [false, true]) assert.deepEqual([gif(1, local), gif(2, local), gif(5, local)].map(isAnimated), [false, true, true]);
  const webp = (kind, flags) => bytes(`RIFF\0\0\0\0WEBP${kind}\x0a\0\0\0${String.fromCharCode(flags)}`);
  assert.deepEqual([webp("VP8X", 2), webp("VP8X", 16), webp("VP8 ", 2)].map(isAnimated), [true, false, false]);
  assert.deepEqual(["\x89PNG\r\n\x1a\n\0\0\0\x08acTL", "\x89PNG\r\n\x1a\n\0\0\0\x08IDAT", "\xff\xd8\xffacTL"].map((each) => isAnimated(bytes(each))), [true, false, false]);
});

test("a file that is too large is refused with both sizes", () => {
  checkSize({ size: 100e6 });
  assert.throws(() => checkSize({ size: 101e6 }), /101 MB. A picture may have 100 MB/);
  assert.throws(() => checkSize({ size: 3e9 }, 16e6, "A latent"), /3\.0 GB. A latent may have 16 MB/);
});

test("a file that can't be read says so", async () => {
  assert.deepEqual([...(await bytesOf(new Blob(["abc"]), 2))], [97, 98]);
  const folder = { slice: () => ({ arrayBuffer: () => Promise.reject(new Error("A requested file or directory could not be found")) }) };
  await assert.rejects(bytesOf(folder), /a folder, or a file that was moved/);
});

test("what is dropped is a file, a picture within its address, or a sentence", async () => {
  const given = (files, address = "") => ({ files, types: [...files.map(() => "Files"), ...(address ? ["text/uri-list"] : [])], getData: (kind) => (kind === "text/uri-list" ? address : "") });
  const file = { name: "a.png" };
  assert.deepEqual(dropped(given([file], "https://example.org")), { file, name: "a.png" });
  assert.match(dropped(given([], "# a comment\nhttps://example.org/cat.jpg")).problem, /Save it first/);
  assert.match(dropped({ ...given([]), types: ["text/plain"] }).problem, /no file/);
  assert.deepEqual(dropped(given([])), {}); // nothing
  const inside = dropped(given([], "data:image/png;base64,QUJD")).file;
  assert.deepEqual([inside.type, await inside.text()], ["image/png", "ABC"]);
});
