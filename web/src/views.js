/** Other things to do with a latent: walk to another, move its channels, drift. */

import { LiveMidi } from "../../latentflow/widgets/midi.js";
import { copied, directed, sameShape, shifted, slerp } from "./latents.js";
import { ofDataAddress } from "./files.js";
import { normal } from "./random.js";
import { acceptDrops, acceptFile, button, canvas, draw, find, input, on, readPicture, say } from "./ui.js";

/** @typedef {import("./studio.js").Studio} Studio */
/** @typedef {import("./latents.js").Latent} Latent */

const WALK = 48; // frames of a walk
const RANGE = 3; // standard deviations that a channel can be moved
const SECOND = 1000;

/** Calls `show` with the seconds since the beginning, as often as it gets done, until it is stopped. */
class Player {
  /** @param {HTMLButtonElement} element @param {string} word @param {(seconds: number) => Promise<void>} show */
  constructor(element, word, show) {
    this.element = element;
    this.word = word;
    this.show = show;
    /** @type {symbol | null} */
    this.current = null;
    on(element, "click", () => (this.playing ? this.stop() : this.play()));
  }

  get playing() {
    return this.current !== null;
  }

  async play() {
    const own = Symbol("play");
    this.current = own;
    this.element.textContent = "Stop";
    const began = performance.now();
    try {
      while (this.current === own) {
        await this.show((performance.now() - began) / SECOND);
        await new Promise(requestAnimationFrame);
      }
    } finally {
      if (this.current === own) this.stop();
    }
  }

  stop() {
    this.current = null;
    this.element.textContent = this.word;
  }
}

/** Thumbnails of the examples. @param {string} id @param {Studio} studio @param {(file: Blob, name: string) => unknown} take */
export function offerExamples(id, studio, take) {
  for (const { name, source } of studio.facts.examples) {
    const element = document.createElement("button");
    element.type = "button";
    element.title = name;
    element.setAttribute("aria-label", name);
    const image = new Image();
    image.alt = "";
    image.src = source;
    element.append(image);
    on(element, "click", () => take(ofDataAddress(source), name));
    find(id, HTMLElement).append(element);
  }
}

/** @param {import("./pictures.js").Size} picture */
const sides = ({ height, width }) => ({ height, width });

export class Walk {
  /** @param {Studio} studio */
  constructor(studio) {
    this.studio = studio;
    this.isOpen = false;
    /** @type {Latent | null} */
    this.first = null;
    /** @type {Latent | null} */
    this.last = null;
    /** @type {Blob | null} */
    this.file = null;
    const way = input("way");
    on(way, "input", () => {
      this.player.stop();
      return this.show(Number(way.value));
    });
    this.player = new Player(button("walk-play"), "Play", (seconds) => {
      const fraction = (1 - Math.cos((Math.PI * seconds) / 2)) / 2; // there and back in four seconds
      way.value = String(fraction);
      return this.show(fraction);
    });
    acceptFile(input("choose-to"), (file) => this.take(file));
    acceptDrops(find("to-drop", HTMLElement), (file) => this.take(file));
    offerExamples("examples-to", studio, (file) => this.take(file));
  }

  /** @param {Blob} file the picture to walk to */
  async take(file) {
    const { target, engine } = this.studio;
    const { picture } = await readPicture(engine, file, { wanted: sides(target) });
    this.file = file;
    draw(canvas("to"), picture);
    this.last = await engine.encode(picture);
    await this.show(Number(input("way").value));
  }

  async enter() {
    const { studio } = this;
    draw(canvas("from"), studio.target);
    this.first = await studio.engine.encode(studio.target);
    const others = studio.facts.examples.filter((each) => each.name !== studio.origin.name);
    await this.take(this.file ?? ofDataAddress(others[0].source));
  }

  leave() {
    this.player.stop();
  }

  /** @param {number} fraction */
  async show(fraction) {
    if (this.isOpen && this.first && this.last && sameShape(this.first, this.last)) {
      await this.studio.show(slerp(this.first, this.last, fraction));
    }
  }

  moving() {
    const { first, last } = this;
    if (!first || !last) return [];
    const way = Array.from({ length: WALK }, (_, index) => slerp(first, last, index / (WALK - 1)));
    return [...way, ...way.slice(1, -1).reverse()];
  }
}

/**
 * The latent to change: what is shown, or the target's where that is noise or of another shape.
 * @param {Studio} studio
 */
export async function changeable({ shown, noise, cells, engine, target }) {
  const fits = shown && shown !== noise && shown.rows === cells.rows && shown.columns === cells.columns;
  return fits ? copied(shown) : engine.encode(target);
}

export class Channels {
  /** @param {Studio} studio */
  constructor(studio) {
    this.studio = studio;
    this.isOpen = false;
    /** @type {Latent | null} */
    this.base = null;
    this.offsets = new Array(studio.facts.model.channels).fill(0);
    this.offsets.forEach((_, channel) => this.addSlider(channel));
    on(button("channels-reset"), "click", () => this.restore());
    /** @type {Map<number, number>} */
    this.keys = new Map(); // that sound
    this.midi = new LiveMidi({
      fader: (fader, value) => this.move(fader, RANGE * value),
      keys: (levels) => {
        this.keys = levels;
        void this.show();
      },
      say: (text) => (find("midi-state", HTMLElement).textContent = text),
    });
    on(button("midi"), "click", () => this.midi.connect());
  }

  /** Moves a slider, as a hand would. @param {number} channel @param {number} offset */
  move(channel, offset) {
    const slider = document.getElementById(`channel-${channel}`);
    if (!(slider instanceof HTMLInputElement)) return; // more faders than channels
    slider.value = String(offset);
    slider.dispatchEvent(new Event("input"));
  }

  /** @param {number} channel */
  addSlider(channel) {
    const row = document.createElement("div");
    row.className = "field";
    row.innerHTML = `<label></label><input type="range" min="-${RANGE}" max="${RANGE}" step="0.05" value="0"><output>0</output>`;
    const [label, slider, output] = row.children;
    label.textContent = `${channel}`;
    slider.id = `channel-${channel}`;
    label.setAttribute("for", slider.id);
    slider.setAttribute("aria-label", `Channel ${channel}`);
    on(slider, "input", () => {
      this.offsets[channel] = Number(/** @type {HTMLInputElement} */ (slider).value);
      output.textContent = this.offsets[channel].toFixed(2);
      return this.show();
    });
    find("channels", HTMLElement).append(row);
  }

  async restore() {
    this.offsets.fill(0);
    for (const row of find("channels", HTMLElement).children) {
      /** @type {HTMLInputElement} */ (row.children[1]).value = "0";
      row.children[2].textContent = "0";
    }
    await this.show();
  }

  async enter() {
    this.base = await changeable(this.studio);
    await this.restore();
  }

  leave() {
    this.midi.stop();
    this.keys = new Map();
    find("midi-state", HTMLElement).textContent = "";
  }

  async show() {
    if (this.isOpen && this.base) await this.studio.show(directed(shifted(this.base, this.offsets), this.keys));
  }

  /** Every channel up and down, one after the other. */
  moving() {
    const base = this.base;
    if (!base) return [];
    const swing = Array.from({ length: 24 }, (_, index) => RANGE * Math.sin((2 * Math.PI * index) / 24));
    return this.offsets.flatMap((_, moved) =>
      swing.map((by) => shifted(base, this.offsets.map((offset, channel) => offset + (channel === moved ? by : 0)))),
    );
  }
}

export class Drift {
  /** @param {Studio} studio */
  constructor(studio) {
    this.studio = studio;
    this.isOpen = false;
    /** @type {Latent[]} */
    this.pictures = [];
    this.player = new Player(button("drift-play"), "Drift", (seconds) => this.show(seconds));
    button("drift-full").hidden = !document.fullscreenEnabled;
    on(button("drift-full"), "click", async () => {
      await find("frame", HTMLElement).requestFullscreen();
      if (!this.player.playing) void this.player.play();
    });
  }

  async enter() {
    const { engine, target, facts } = this.studio;
    this.pictures = [await engine.encode(target)];
    for (const { source, name } of facts.examples) {
      if (name === this.studio.origin.name) continue;
      const { picture } = await engine.picture(ofDataAddress(source), { wanted: sides(target) });
      this.pictures.push(await engine.encode(picture));
    }
    this.first = Math.floor(Math.random() * 2 ** 30);
    await this.show(0);
    say("");
  }

  leave() {
    this.player.stop();
  }

  /** Picture k, moved towards noise of its own. @param {number} index @param {number} noise @returns {Latent} */
  stop(index, noise) {
    const latent = this.pictures[index % this.pictures.length];
    const other = { ...latent, values: normal(latent.values.length, (this.first ?? 0) + index) };
    return slerp(latent, other, noise);
  }

  /** @param {number} seconds */
  async show(seconds) {
    if (!this.isOpen) return; // another part was opened while pictures were encoded
    const place = seconds / Number(input("drift-pace").value);
    await this.studio.show(this.at(place));
  }

  /** @param {number} place in pictures @returns {Latent} */
  at(place) {
    const noise = Number(input("drift-noise").value);
    const [index, fraction] = [Math.floor(place), place % 1];
    const eased = fraction * fraction * (3 - 2 * fraction);
    return slerp(this.stop(index, noise), this.stop(index + 1, noise), eased);
  }

  /** Once through all pictures. */
  moving() {
    const count = 24 * this.pictures.length;
    return Array.from({ length: count }, (_, index) => this.at(index / 24));
  }
}
