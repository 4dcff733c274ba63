/** The flow: from a start to the target, step by step. */

import { drawChart, shown } from "./chart.js";
import { fasterEngine } from "./engine.js";
import { copied } from "./latents.js";
import { normal } from "./random.js";
import { Inversion, defaultRate } from "./rules.js";
import { button, find, input, on, say, select } from "./ui.js";

/** @typedef {import("./studio.js").Studio} Studio */
/** @typedef {import("./latents.js").Latent} Latent */
/** @typedef {{index: number, latent: Latent, loss: number, losses: Float32Array | null, psnr: number}} Kept */

const TABLE = 10; // every so many steps a row

export class Flow {
  /** @param {Studio} studio @param {import("./assets.js").Assets} assets */
  constructor(studio, assets) {
    this.studio = studio;
    this.assets = assets;
    /** @type {Inversion | null} */
    this.inversion = null;
    /** @type {Latent | null} */
    this.first = null; // what the flow begins with
    /** @type {Kept[]} */
    this.frames = [];
    /** @type {symbol | null} */
    this.current = null; // the run that is going on
    this.milliseconds = 0; // that the last step took
    this.isMeasured = false;
    this.chart = find("chart", SVGSVGElement);
    this.fill();
    on(button("play"), "click", () => (this.running ? this.pause() : this.run()));
    on(button("one"), "click", () => this.run(1));
    on(button("reset"), "click", () => this.reset());
    on(input("scrub"), "input", () => this.scrub(Number(input("scrub").value)));
    on(select("method"), "change", () => this.choose());
    on(input("steps"), "change", () => this.reconsider());
    on(button("dice"), "click", () => {
      input("seed").value = String(Math.floor(Math.random() * 2 ** 32));
      return this.reset();
    });
    for (const id of ["seed", "lr"]) on(find(id, HTMLElement), "change", () => this.reset());
    on(select("start"), "change", () => {
      this.given = this.fits(studio.shown) ? studio.shown : null;
      return this.reset();
    });
  }

  get running() {
    return this.current !== null;
  }

  /** The choices that the facts offer. */
  fill() {
    const { rules, losses, defaults } = this.studio.facts;
    for (const name of Object.keys(rules.methods)) select("method").add(new Option(name, name, false, name === defaults.method));
    input("steps").value = String(defaults.steps);
    input("seed").value = String(Math.floor(Math.random() * 2 ** 32));
    for (const name of losses) {
      const row = document.createElement("div");
      row.className = "field";
      const weight = name === defaults.loss ? "1" : "0";
      row.innerHTML = '<label></label><input type="range" min="0" max="1" step="0.01"><input type="number" min="0" step="any">';
      const [label, slider, number] = row.children;
      label.textContent = name;
      label.setAttribute("for", `loss-${name}`);
      for (const each of [slider, number]) /** @type {HTMLInputElement} */ (each).value = weight;
      slider.setAttribute("aria-label", `Weight of ${name}`);
      number.id = `loss-${name}`;
      on(slider, "input", () => this.weigh(slider, number));
      on(number, "input", () => this.weigh(number, slider));
      find("losses", HTMLElement).append(row);
    }
    this.choose();
  }

  /** @param {any} changed @param {any} other */
  weigh(changed, other) {
    other.value = changed.value;
    if (this.inversion) this.inversion.settings.weights.set(this.weights);
  }

  choose() {
    const method = select("method").value;
    find("method-help", HTMLElement).textContent = this.studio.facts.help[method];
    this.suggestRate();
    find("losses", HTMLElement).toggleAttribute("inert", method === "gradient_free");
    if (this.studio.target.height) return this.reset();
  }

  get steps() {
    return Math.max(1, Math.round(Number(input("steps").value) || 1));
  }

  get weights() {
    return Float32Array.from(this.studio.facts.losses, (name) => Number(input(`loss-${name}`).value) || 0);
  }

  /** More or fewer steps: a run that has begun goes on to the new number. */
  reconsider() {
    if (this.inversion && this.frames.length && this.steps >= this.frames.length) this.inversion.extend(this.steps);
    else {
      // a rate that goes by the number of steps is a new one; one that was typed stays
      if (this.studio.facts.rules.methods[select("method").value].lr === null) this.suggestRate();
      return this.reset();
    }
    this.refresh();
  }

  suggestRate() {
    const method = this.studio.facts.rules.methods[select("method").value];
    input("lr").value = String(Number(defaultRate(method, this.steps).toPrecision(6)));
  }

  /** @returns {Promise<Latent>} */
  async start() {
    const { studio } = this;
    const kind = select("start").value;
    if (kind === "encode") return studio.engine.encode(studio.target);
    if (kind === "shown" && this.given && this.fits(this.given)) return this.given;
    const { rows, columns } = studio.cells;
    const seed = Math.max(0, Math.round(Number(input("seed").value) || 0));
    return { values: normal(studio.facts.model.channels * rows * columns, seed), rows, columns };
  }

  /** Back to a start of the user's own. @param {Latent} latent */
  beginWith(latent) {
    this.given = copied(latent);
    select("start").value = "shown";
    return this.reset();
  }

  /** Back to the start, which is shown. */
  async reset() {
    this.pause();
    const { studio } = this;
    this.frames = [];
    this.inversion = null;
    const latent = await this.start();
    const settings = {
      target: studio.target,
      weights: this.weights,
      lr: Number(input("lr").value) || defaultRate(studio.facts.rules.methods[select("method").value], this.steps),
      steps: this.steps,
      method: select("method").value,
    };
    this.inversion = new Inversion(studio.model, latent, settings, studio.facts.rules);
    this.refresh();
    this.first = latent;
    studio.noise = select("start").value === "noise" ? latent : null;
    await studio.show(latent);
  }

  /** @param {Latent | null | undefined} latent */
  fits(latent) {
    const { rows, columns } = this.studio.cells;
    return Boolean(latent && latent.rows === rows && latent.columns === columns);
  }

  pause() {
    this.current = null;
    this.refresh();
  }

  /** @param {number} [count] of steps; by default all that are left */
  async run(count = Infinity) {
    if (this.running) return;
    if (!this.inversion || this.inversion.isFinished) await this.reset();
    const inversion = this.inversion;
    if (!inversion) return;
    if (!inversion.settings.weights.some((weight) => weight > 0) && inversion.settings.method !== "gradient_free") {
      throw new Error("All weights of the loss are zero: nothing would move.");
    }
    const own = Symbol("run");
    this.current = own;
    say("");
    try {
      while (this.current === own && !inversion.isFinished && count-- > 0) {
        const began = performance.now();
        const step = await inversion.next();
        this.milliseconds = performance.now() - began;
        if (inversion !== this.inversion) break; // reset while it was computed
        this.keep(step);
        this.studio.put(step.latent, step.image);
        this.refresh();
        if (!this.isMeasured) void this.measure();
      }
    } finally {
      if (this.current === own) this.current = null; // else another run has begun
      this.refresh();
    }
  }

  /** @param {import("./rules.js").Step} step */
  keep({ index, latent, loss, losses, psnr }) {
    this.frames[index] = { index, latent, loss, losses, psnr };
  }

  /** Once, after the first step: whether the graphics processor is faster. */
  async measure() {
    this.isMeasured = true;
    const { studio, assets, inversion } = this;
    if (!inversion) return;
    const { target, weights } = inversion.settings;
    const latent = this.frames[0].latent;
    const other = await fasterEngine(assets, studio.facts.model, studio.engine, latent, target, weights);
    if (!other) return;
    studio.engine.retire();
    studio.engine = other;
    this.refresh();
  }

  /** @param {number} index */
  async scrub(index) {
    if (this.running) this.pause();
    const frame = this.frames[index];
    if (!frame) return;
    this.refresh(index);
    await this.studio.show(frame.latent);
  }

  /** @param {number} [now] the frame that is shown, by default the newest */
  refresh(now = this.frames.length - 1) {
    const total = this.inversion?.settings.steps ?? this.steps;
    const frame = this.frames[now];
    const isFinished = Boolean(this.inversion?.isFinished);
    button("play").textContent = this.running ? "Pause" : isFinished ? "Again" : this.frames.length ? "Go on" : "Start";
    button("one").disabled = this.running || isFinished;
    const scrub = input("scrub");
    scrub.max = String(Math.max(0, this.frames.length - 1));
    scrub.value = String(Math.max(0, now));
    scrub.disabled = this.frames.length < 2;
    find("figures", HTMLElement).textContent = frame
      ? `step ${frame.index} of ${total} · loss ${shown(frame.loss)} · ${frame.psnr.toFixed(2)} dB`
      : `${total} steps`;
    drawChart(this.chart, find("legend", HTMLElement), this.frames, total, Math.max(0, now));
    this.tabulate();
    const ms = this.milliseconds ? `, ${this.milliseconds.toFixed(0)} ms a step` : "";
    find("engine", HTMLElement).textContent = this.studio.engine.title + ms;
  }

  tabulate() {
    const body = find("history", HTMLTableElement).tBodies[0];
    const rows = this.frames.filter((frame, index) => index % TABLE === 0 || index === this.frames.length - 1);
    if (body.rows.length > rows.length) body.replaceChildren();
    rows.forEach((frame, index) => {
      const row = body.rows[index] ?? body.insertRow();
      const text = [frame.index, frame.loss.toPrecision(9), frame.psnr.toPrecision(9)];
      text.forEach((value, column) => ((row.cells[column] ?? row.insertCell()).textContent = String(value)));
    });
  }

  /** The figures of all steps, as a table for other programs. */
  csv() {
    const { losses } = this.studio.facts;
    const head = ["step", "loss", "psnr", ...losses].join(",");
    const rows = this.frames.map((frame) => [frame.index, frame.loss, frame.psnr, ...(frame.losses ?? [])].join(","));
    return `${[head, ...rows].join("\n")}\n`;
  }

  enter() {
    const latent = this.frames.at(-1)?.latent ?? this.first;
    if (latent) return this.studio.show(latent);
  }

  leave() {
    this.pause();
  }

  moving() {
    return this.frames.map((frame) => frame.latent);
  }
}
