/** What the page carries: compressed, as text in the page itself, or as files beside it. */

/** @typedef {{name: string, inside: boolean}} Asset */

const WAIT = 20; // ms between two looks for a file that the page holds

/** @param {Uint8Array<ArrayBuffer>} bytes gzip @returns {Promise<Uint8Array<ArrayBuffer>>} */
async function unpacked(bytes) {
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes; // the server said it is compressed, and it was unpacked
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** @param {string} text base64 @returns {Uint8Array<ArrayBuffer>} */
function decoded(text) {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let index = 0; index < binary.length; index++) bytes[index] = binary.charCodeAt(index);
  return bytes;
}

export class Assets {
  /** @param {boolean} inside whether they are elements of the page, else files in its folder */
  constructor(inside) {
    this.inside = inside;
  }

  /** @param {string} name @returns {Promise<Uint8Array<ArrayBuffer>>} */
  async bytes(name) {
    if (this.inside) {
      const element = await this.element(name);
      if (!element) throw new Error(`The page lacks ${name}.`);
      return unpacked(decoded(element.textContent ?? ""));
    }
    const answer = await fetch(`${name}.gz`);
    if (!answer.ok) throw new Error(`${name}.gz can't be loaded: ${answer.status}.`);
    return unpacked(new Uint8Array(await answer.arrayBuffer()));
  }

  /** The element of a file: the page's script runs before its megabytes are there. @param {string} name */
  async element(name) {
    const found = () => document.getElementById(`asset:${name}`);
    while (document.readyState === "loading" && !found()?.nextSibling) await new Promise((done) => setTimeout(done, WAIT));
    return found();
  }

  /** An address for a script, of the page's own making. @param {string} name */
  async script(name) {
    return URL.createObjectURL(new Blob([await this.bytes(name)], { type: "text/javascript" }));
  }
}
