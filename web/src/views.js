/** Other things to do with a latent: walk to another, move its channels, paint on it, drift. */

import { LiveMidi } from "../../latentflow/widgets/midi.js";
import { copied, directed, push, sameShape, shifted, slerp } from "./latents.js";
import { normal } from "./random.js";
import { acceptDrops, acceptFile, button, canvas, draw, find, input, on, readImage, say, select, fit } from "./ui.js";

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
    on(element, "click", () => take(exampleFile(source), name));
    find(id, HTMLElement).append(element);
  }
}

/** @param {string} source a data: address */
export function exampleFile(source) {
  const [head, body] = source.split(",");
  const bytes = Uint8Array.from(atob(body), (letter) => letter.charCodeAt(0));
  return new Blob([bytes], { type: head.slice(5).split(";")[0] });
}

export class Walk {
  /** @param {Studio} studio */
  constructor(studio) {
    this.studio = studio;
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
    const bitmap = await readImage(file);
    const { target, engine } = this.studio;
    const picture = fit(bitmap, target);
    this.file = file;
    draw(canvas("to"), picture);
    this.last = await engine.encode(picture);
    await this.show(Number(input("way").value));
  }

  async enter() {
    const { studio } = this;
    draw(canvas("from"), studio.target);
    this.first = await studio.engine.encode(studio.target);
    const others = studio.facts.examples.filter((each) => each.name !== studio.name);
    await this.take(this.file ?? exampleFile(others[0].source));
  }

  leave() {
    this.player.stop();
  }

  /** @param {number} fraction */
  async show(fraction) {
    if (this.first && this.last && sameShape(this.first, this.last)) {
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
async function changeable({ shown, noise, cells, engine, target }) {
  const fits = shown && shown !== noise && shown.rows === cells.rows && shown.columns === cells.columns;
  return fits ? copied(shown) : engine.encode(target);
}

export class Channels {
  /** @param {Studio} studio */
  constructor(studio) {
    this.studio = studio;
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
    if (this.base) await this.studio.show(directed(shifted(this.base, this.offsets), this.keys));
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

export class Paint {
  /** @param {Studio} studio */
  constructor(studio) {
    this.studio = studio;
    /** @type {Latent[]} */
    this.past = [];
    this.active = false;
    this.at = { row: 0.5, column: 0.5 };
    for (let channel = 0; channel < studio.facts.model.channels; channel++) {
      select("paint-channel").add(new Option(`${channel}`, `${channel}`));
    }
    this.listen(studio.canvas);
    on(button("paint-undo"), "click", () => this.undo());
    on(button("paint-target"), "click", async () => this.begin(await studio.engine.encode(studio.target)));
  }

  /** @param {HTMLCanvasElement} picture */
  listen(picture) {
    let down = false;
    on(picture, "pointerdown", (event) => {
      if (!this.active) return;
      event.preventDefault();
      picture.setPointerCapture(event.pointerId);
      down = true;
      this.remember();
      return this.touch(event);
    });
    on(picture, "pointermove", (event) => {
      if (!this.active) return;
      this.locate(event);
      if (down) return this.touch(event);
    });
    for (const end of ["pointerup", "pointercancel"]) on(picture, end, () => (down = false));
    on(picture, "keydown", (event) => this.press(event));
  }

  /** @param {PointerEvent} event */
  locate(event) {
    const { left, top, width, height } = this.area();
    const { rows, columns } = this.studio.cells;
    this.at = { row: ((event.clientY - top) / height) * rows, column: ((event.clientX - left) / width) * columns };
    this.showBrush();
  }

  /** Where the picture lies within its element, which may be wider. */
  area() {
    const { canvas: picture } = this.studio;
    const box = picture.getBoundingClientRect();
    const scale = Math.min(box.width / picture.width, box.height / picture.height);
    const [width, height] = [picture.width * scale, picture.height * scale];
    return { left: box.left + (box.width - width) / 2, top: box.top + (box.height - height) / 2, width, height };
  }

  /** @param {PointerEvent} event */
  touch(event) {
    this.locate(event);
    return this.stroke(event.shiftKey);
  }

  /** @param {boolean} falling */
  async stroke(falling) {
    const latent = this.latent;
    if (!latent) return;
    const amount = (Number(input("paint-amount").value) * (falling ? -1 : 1)) / 4; // a drag passes a cell several times
    push(latent, Number(select("paint-channel").value), this.at.row, this.at.column, amount, Number(input("paint-radius").value));
    await this.studio.show(copied(latent));
  }

  /** @param {KeyboardEvent} event */
  press(event) {
    if (!this.active) return;
    const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    const { rows, columns } = this.studio.cells;
    if (event.key in moves) {
      const [down, across] = moves[/** @type {keyof typeof moves} */ (event.key)];
      const within = (/** @type {number} */ value, /** @type {number} */ count) => Math.min(count - 0.5, Math.max(0.5, value));
      this.at = { row: within(this.at.row + down, rows), column: within(this.at.column + across, columns) };
      this.showBrush();
    } else if (event.key === " ") {
      this.remember();
      void this.stroke(event.shiftKey);
    } else return;
    event.preventDefault();
  }

  showBrush() {
    const brush = find("brush", HTMLElement);
    const frame = find("frame", HTMLElement).getBoundingClientRect();
    const { left, top, width, height } = this.area();
    const { rows, columns } = this.studio.cells;
    const size = (2 * Number(input("paint-radius").value) * width) / columns;
    Object.assign(brush.style, {
      left: `${left - frame.left + (this.at.column / columns) * width}px`,
      top: `${top - frame.top + (this.at.row / rows) * height}px`,
      width: `${size}px`,
      height: `${size}px`,
    });
    brush.hidden = false;
  }

  remember() {
    if (this.latent) this.past.push(copied(this.latent));
    button("paint-undo").disabled = !this.past.length;
  }

  async undo() {
    const before = this.past.pop();
    button("paint-undo").disabled = !this.past.length;
    if (before) {
      this.latent = before;
      await this.studio.show(copied(before));
    }
  }

  /** @param {Latent} latent */
  async begin(latent) {
    this.latent = copied(latent);
    this.past = [];
    button("paint-undo").disabled = true;
    await this.studio.show(copied(latent));
  }

  async enter() {
    const { canvas: picture } = this.studio;
    this.active = true;
    picture.classList.add("paintable");
    picture.tabIndex = 0;
    const { rows, columns } = this.studio.cells;
    this.at = { row: Math.floor(rows / 2) + 0.5, column: Math.floor(columns / 2) + 0.5 };
    await this.begin(await changeable(this.studio));
  }

  leave() {
    this.active = false;
    this.studio.canvas.classList.remove("paintable");
    this.studio.canvas.tabIndex = -1;
    find("brush", HTMLElement).hidden = true;
  }

  /** Every stroke. */
  moving() {
    return this.latent ? [...this.past, this.latent] : [];
  }
}

export class Drift {
  /** @param {Studio} studio */
  constructor(studio) {
    this.studio = studio;
    /** @type {Latent[]} */
    this.pictures = [];
    this.player = new Player(button("drift-play"), "Drift", (seconds) => this.show(seconds));
    on(button("drift-full"), "click", async () => {
      await find("frame", HTMLElement).requestFullscreen();
      if (!this.player.playing) void this.player.play();
    });
  }

  async enter() {
    const { engine, target, facts } = this.studio;
    this.pictures = [await engine.encode(target)];
    for (const { source, name } of facts.examples) {
      if (name === this.studio.name) continue;
      const bitmap = await readImage(exampleFile(source));
      this.pictures.push(await engine.encode(fit(bitmap, target)));
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
  show(seconds) {
    const place = seconds / Number(input("drift-pace").value);
    return this.studio.show(this.at(place));
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
