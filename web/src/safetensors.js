/** Latents as .safetensors files, as the library's `--save_latent` writes and its `--init` reads them. */

const PAD = 8;

/** @typedef {import("./latents.js").Latent} Latent */
/** @typedef {Record<string, string>} Metadata of the latents of this autoencoder: whose they are and in which units */

export const LARGEST_LATENT = 100e6; // bytes of a file

/** @param {Latent} latent @param {number} channels @param {Metadata} metadata @param {number} stride */
export function writeLatent(latent, channels, metadata, stride) {
  const size = { height: String(latent.rows * stride), width: String(latent.columns * stride) };
  const all = Object.entries({ ...metadata, ...size }).sort(([one], [two]) => (one < two ? -1 : 1));
  const shape = [1, channels, latent.rows, latent.columns];
  const tensor = { dtype: "F32", shape, data_offsets: [0, 4 * latent.values.length] };
  let header = new TextEncoder().encode(JSON.stringify({ __metadata__: Object.fromEntries(all), latent: tensor }));
  const padded = new Uint8Array(Math.ceil(header.length / PAD) * PAD).fill(0x20);
  padded.set(header);
  header = padded;
  const file = new Uint8Array(8 + header.length + 4 * latent.values.length);
  new DataView(file.buffer).setBigUint64(0, BigInt(header.length), true);
  file.set(header, 8);
  const values = new DataView(file.buffer, 8 + header.length);
  latent.values.forEach((value, index) => values.setFloat32(4 * index, value, true));
  return file;
}

/**
 * The latent in a file; throws with a sentence for people when it holds none of this autoencoder.
 * @param {ArrayBuffer} file @param {number} channels @param {Metadata} metadata @returns {Latent}
 */
export function readLatent(file, channels, metadata) {
  const header = readHeader(file);
  const tensor = header.content.latent;
  if (!tensor || !Array.isArray(tensor.shape) || tensor.dtype !== "F32") {
    throw new Error("The file holds no latent that latentflow has saved.");
  }
  const found = header.content.__metadata__ ?? {};
  if (found.sha256 !== metadata.sha256) {
    throw new Error(`The latent belongs to ${found.autoencoder ?? "another autoencoder"}, not to ${metadata.autoencoder}.`);
  }
  const [count, depth, rows, columns] = tensor.shape;
  const [start, end] = tensor.data_offsets ?? [];
  const length = depth * rows * columns;
  if (count !== 1 || depth !== channels || end - start !== 4 * length || header.end + end > file.byteLength) {
    throw new Error(`The latent has the shape ${tensor.shape.join(" × ")}, or is cut off.`);
  }
  const view = new DataView(file, header.end + start, end - start);
  const values = Float32Array.from({ length }, (_, index) => view.getFloat32(4 * index, true));
  if (!values.every(Number.isFinite)) throw new Error("The latent has values that are not finite.");
  return { values, rows, columns };
}

/** @param {ArrayBuffer} file */
function readHeader(file) {
  try {
    const length = Number(new DataView(file).getBigUint64(0, true));
    const text = new TextDecoder("utf-8", { fatal: true }).decode(new Uint8Array(file, 8, length));
    return { content: JSON.parse(text), end: 8 + length };
  } catch {
    throw new Error("The file is not a .safetensors file, or is cut off.");
  }
}
