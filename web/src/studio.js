/** What the parts of the page share: the model, the target, and the latent that is shown. */

import { canvas, draw, find } from "./ui.js";

/** @typedef {import("./engine.js").Engine} Engine */
/** @typedef {import("./latents.js").Latent} Latent */
/** @typedef {import("./pictures.js").Picture} Picture */
/** @typedef {{name: string, file: Blob, note: string}} Origin of the target: its file, and what became of it in words */
/**
 * @typedef {object} Facts
 * @property {{name: string, channels: number, stride: number, graphs: string[]}} model
 * @property {string[]} losses
 * @property {Record<string, string>} metadata
 * @property {Record<string, string>} help of the methods
 * @property {{steps: number, method: string, loss: string, size: number, fps: number, hold: number}} defaults
 * @property {Record<string, import("./numbers.js").Limits>} limits
 * @property {number[]} sizes
 * @property {{name: string, source: string}[]} examples
 * @property {boolean} inside
 */

export class Studio {
  /** @param {Facts} facts @param {Engine} engine @param {HTMLCanvasElement} canvas */
  constructor(facts, engine, canvas) {
    this.facts = facts;
    this.engine = engine;
    this.canvas = canvas;
    /** @type {Picture} */
    this.target = { values: new Float32Array(), height: 0, width: 0 };
    /** @type {Origin} */
    this.origin = { name: "picture", file: new Blob(), note: "" };
    /** @type {Promise<unknown>} */
    this.targeted = Promise.resolve(); // once the newest target is read
    /** @type {Latent | null} */
    this.shown = null;
    /** @type {Latent | null} */
    this.noise = null; // that the flow begins with
    /** @type {Latent | null} */
    this.wanted = null;
    /** @type {Promise<void> | null} */
    this.busy = null;
  }

  /** The model, whichever engine it runs on by then. @returns {import("./rules.js").Model} */
  get model() {
    return {
      decode: (latent) => this.engine.decode(latent),
      encode: (picture) => this.engine.encode(picture),
      step: (latent, target, weights) => this.engine.step(latent, target, weights),
    };
  }

  get cells() {
    const { stride } = this.facts.model;
    return { rows: this.target.height / stride, columns: this.target.width / stride };
  }

  /** Takes another target. @param {Picture} picture @param {Origin} origin */
  aim(picture, origin) {
    [this.target, this.origin] = [picture, origin];
    draw(canvas("target"), picture);
    find("target-note", HTMLElement).textContent = origin.note;
  }

  /** @param {Latent} latent @param {Picture} picture */
  put(latent, picture) {
    this.shown = latent;
    draw(this.canvas, picture);
  }

  /** Decodes and shows a latent; of several in a row only the newest. @param {Latent} latent */
  show(latent) {
    this.wanted = latent;
    this.busy ??= this.catchUp();
    return this.busy;
  }

  async catchUp() {
    try {
      while (this.wanted) {
        const latent = this.wanted;
        const picture = await this.engine.decode(latent);
        if (this.wanted === latent) this.wanted = null;
        this.put(latent, picture);
      }
    } finally {
      this.wanted = null;
      this.busy = null;
    }
  }
}
