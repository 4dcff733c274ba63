/** The flow: from a start to the target, step by step. */

import { Chart } from "./chart.js";
import { fasterEngine, gpuEngine } from "./engine.js";
import { copied } from "./latents.js";
import { shown } from "./numbers.js";
import { normal } from "./random.js";
import { Inversion, METHODS, defaultRate, factsOf } from "./rules.js";
import { tabulate } from "./table.js";
import { button, find, input, on, say, select, trying } from "./ui.js";

/** @typedef {import("./studio.js").Studio} Studio */
/** @typedef {import("./latents.js").Latent} Latent */
/** @typedef {{index: number, latent: Latent | null, loss: number, losses: Float32Array | null, psnr: number}} Kept */
/**
 * @typedef {object} Run with everything that brings it back
 * @property {string} fields
 * @property {Inversion} inversion
 * @property {Kept[]} frames
 * @property {Latent} first
 * @property {import("./studio.js").Origin} origin
 */

export class Flow {
  /** @param {Studio} studio @param {import("./assets.js").Assets} assets @param {import("./fields.js").Fields} fields @param {() => void} changed when settings did */
  constructor(studio, assets, fields, changed) {
    this.studio = studio;
    this.assets = assets;
    this.fields = fields;
    this.changed = changed;
    /** @type {Inversion | null} */
    this.inversion = null;
    /** @type {Latent | null} */
    this.first = null; // what the flow begins with
    /** @type {Kept[]} */
    this.frames = [];
    /** @type {Run | null} */
    this.before = null; // the run that another one followed
    /** @type {{loss: number | null, psnr: number} | null} */
    this.own = null; // figures of the encoder's latent
    /** @type {Inversion | null} */
    this.compared = null; // the run for which they are
    this.ran = ""; // the settings of the run
    this.origin = studio.origin; // of its target
    /** @type {number | null} */
    this.now = null; // the frame that was chosen, else the newest is shown
    /** @type {symbol | null} */
    this.current = null; // the run that is going on
    /** @type {Promise<unknown>} */
    this.preparation = Promise.resolve();
    this.prepared = ""; // the settings that it is for
    this.isOpen = true;
    this.milliseconds = 0; // that the last step took
    this.isMeasured = false;
    this.chart = new Chart(find("chart", SVGSVGElement), find("legend", HTMLElement), (step) => void this.scrub(step));
    this.fill();
    fields.watch();
    on(button("play"), "click", () => (this.running ? this.pause() : this.run()));
    on(button("one"), "click", () => this.run(1));
    on(button("reset"), "click", () => this.reset());
    on(button("undo-run"), "click", () => this.bringBack());
    on(input("scrub"), "input", () => this.scrub(Number(input("scrub").value)));
    on(select("method"), "change", () => this.choose());
    on(input("steps"), "change", () => this.accepts("steps") && this.reconsider());
    on(button("dice"), "click", () => {
      this.fields.set("seed", String(Math.floor(Math.random() * 2 ** 32)));
      return this.reset();
    });
    for (const id of ["seed", "lr"]) on(input(id), "change", () => this.accepts(id) && this.fields.text() !== this.prepared && this.reset());
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
    const { losses, defaults } = this.studio.facts;
    for (const name of METHODS) select("method").add(new Option(name, name, false, name === defaults.method));
    input("steps").value = String(defaults.steps);
    input("seed").value = String(Math.floor(Math.random() * 2 ** 32));
    for (const name of losses) this.addLoss(name, name === defaults.loss ? "1" : "0");
    this.explain();
    this.suggestRate();
  }

  /** @param {string} name @param {string} weight */
  addLoss(name, weight) {
    const row = document.createElement("div");
    row.className = "field";
    row.innerHTML = '<label></label><input type="range" min="0" max="1" step="0.01"><input type="number" min="0" step="any">';
    const [label, slider, number] = /** @type {HTMLInputElement[]} */ ([...row.children]);
    label.textContent = name;
    label.setAttribute("for", `loss-${name}`);
    for (const each of [slider, number]) each.value = weight;
    slider.setAttribute("aria-label", `Weight of ${name}`);
    number.id = `loss-${name}`;
    on(slider, "input", () => {
      this.fields.set(number.id, slider.value);
      this.weigh();
    });
    on(number, "input", () => {
      if (!this.accepts(number.id)) return;
      slider.value = number.value;
      this.weigh();
    });
    for (const each of [slider, number]) on(each, "change", () => this.changed());
    find("losses", HTMLElement).append(row);
  }

  /** Whether a number can be taken; if not, its field says why. @param {string} id */
  accepts(id) {
    return !this.fields.check(id);
  }

  weigh() {
    this.inversion?.settings.weights.set(this.weights);
    this.ran = this.fields.text();
    this.compared = null;
  }

  choose() {
    this.explain();
    this.suggestRate();
    return this.reset();
  }

  explain() {
    const method = select("method").value;
    find("method-help", HTMLElement).textContent = this.studio.facts.help[method];
    find("losses", HTMLElement).toggleAttribute("inert", method === "gradient_free");
  }

  get steps() {
    return this.fields.number("steps") || this.studio.facts.defaults.steps;
  }

  get weights() {
    return Float32Array.from(this.studio.facts.losses, (name) => this.fields.number(`loss-${name}`));
  }

  /** More or fewer steps: a run that has begun goes on to the new number. */
  reconsider() {
    if (this.inversion && this.frames.length && this.steps >= this.frames.length) this.inversion.extend(this.steps);
    else {
      // a rate that goes by the number of steps is a new one; one that was typed stays
      if (factsOf(select("method").value).lr === undefined) this.suggestRate();
      return this.reset();
    }
    this.ran = this.fields.text();
    this.changed();
    this.refresh();
  }

  suggestRate() {
    const method = factsOf(select("method").value);
    const rate = String(Number(defaultRate(method, this.steps).toPrecision(6)));
    if (this.fields.valid.lr === undefined) input("lr").value = rate; // before the fields are watched
    else this.fields.set("lr", rate);
  }

  /** @returns {Promise<Latent>} */
  async start() {
    const { studio } = this;
    const kind = select("start").value;
    if (kind === "encode") return studio.engine.encode(studio.target);
    if (kind === "shown" && this.given && this.fits(this.given)) return this.given;
    const { rows, columns } = studio.cells;
    return { values: normal(studio.facts.model.channels * rows * columns, this.fields.number("seed")), rows, columns };
  }

  /** Back to a start of the user's own. @param {Latent} latent */
  beginWith(latent) {
    this.given = copied(latent);
    select("start").value = "shown";
    return this.reset();
  }

  /** Back to the start, which is shown. A run that has begun is kept for *Run before*. */
  reset() {
    this.before = this.snapshot() ?? this.before;
    if (this.frames.length) this.pause(); // one that only waits for its beginning goes on to wait
    [this.frames, this.inversion, this.now, this.own, this.compared] = [[], null, null, null, null];
    this.changed();
    this.prepared = this.fields.text();
    return (this.preparation = this.prepare());
  }

  async prepare() {
    const { studio } = this;
    await studio.targeted;
    if (!studio.target.height) return;
    const own = (this.preparing = Symbol("preparation"));
    const latent = await this.start();
    if (own !== this.preparing) return; // another one has begun
    this.begin(latent, {
      target: studio.target,
      weights: this.weights,
      lr: this.fields.number("lr"),
      steps: this.steps,
      method: select("method").value,
    });
    studio.noise = select("start").value === "noise" ? latent : null;
    this.refresh();
    if (this.isOpen) await studio.show(latent);
  }

  /** @param {Latent} latent @param {import("./rules.js").Settings} settings */
  begin(latent, settings) {
    this.inversion = new Inversion(this.studio.model, latent, settings);
    [this.first, this.origin] = [latent, this.studio.origin];
  }

  /** Waits for the newest target and the newest preparation. */
  async settled() {
    let awaited;
    do {
      await this.studio.targeted;
      awaited = this.preparation;
      await awaited;
    } while (awaited !== this.preparation);
  }

  /** @returns {Run | null} */
  snapshot() {
    const { inversion, frames, first, origin, ran } = this;
    if (!inversion || !first || frames.length < 2) return null;
    return { fields: ran, inversion, frames, first, origin };
  }

  /** Goes on from a run that was kept. @param {Run} run */
  restore({ fields, inversion, frames, first, origin }) {
    const { studio } = this;
    this.pause();
    this.preparing = null;
    this.fields.take(fields);
    this.explain();
    studio.aim(inversion.settings.target, origin);
    [this.inversion, this.frames, this.first, this.origin, this.ran] = [inversion, frames, first, origin, fields];
    [this.now, this.own, this.compared, this.prepared] = [null, null, null, fields];
    this.changed();
    void trying(() => this.compare(inversion));
    this.refresh();
    if (this.isOpen) return this.enter();
  }

  /** The run before and this one change places. */
  async bringBack() {
    const run = this.before;
    if (!run) return;
    this.before = this.snapshot();
    await this.restore(run);
    say("The run before is back, with its settings.");
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
    this.fields.refuse();
    if (select("method").value !== "gradient_free" && !this.weights.some((weight) => weight > 0)) {
      throw new Error("All weights of the loss are zero: nothing would move.");
    }
    const own = Symbol("run");
    this.current = own;
    this.now = null;
    this.refresh();
    if (this.studio.engine.isLoaded) say("");
    try {
      if (this.inversion?.isFinished) {
        void this.reset();
        this.current = own;
      }
      await this.settled();
      this.ran = this.fields.text();
      await this.advance(own, count);
    } finally {
      if (this.current === own) this.current = null; // else another run has begun
      this.refresh();
    }
  }

  /** @param {symbol} own @param {number} count */
  async advance(own, count) {
    const { inversion, frames } = this;
    if (!inversion) return;
    while (this.current === own && !inversion.isFinished && count-- > 0) {
      const began = performance.now();
      const { index, latent, image, loss, losses, psnr } = await inversion.next();
      frames[index] = { index, latent, loss, losses, psnr };
      if (inversion !== this.inversion) break; // reset while it was computed
      this.milliseconds = performance.now() - began;
      if (this.isOpen && this.now === null) this.studio.put(latent, image);
      this.refresh();
      if (!this.isMeasured) void trying(() => this.measure());
      if (this.compared !== inversion) void trying(() => this.compare(inversion));
    }
  }

  /** Figures of the encoder's own latent, to which the run is compared. @param {Inversion} inversion */
  async compare(inversion) {
    this.compared = inversion;
    const { settings } = inversion;
    const { loss, psnr } = await inversion.encoded(settings.weights.slice());
    if (this.compared !== inversion) return;
    this.own = { loss: settings.method === "gradient_free" ? null : loss, psnr };
    this.refresh();
  }

  /** Once, after the first step: whether the graphics processor is faster. */
  async measure() {
    this.isMeasured = true;
    const { studio, assets, inversion } = this;
    const latent = this.frames[0]?.latent;
    if (!inversion || !latent) return;
    const { target, weights } = inversion.settings;
    const other = await fasterEngine(studio.engine, () => gpuEngine(assets, studio.facts.model), latent, target, weights);
    if (!other) return;
    studio.engine.retire();
    studio.engine = other;
    this.refresh();
  }

  /** @param {number} index */
  async scrub(index) {
    const frame = this.frames[index];
    if (!frame?.latent) return;
    this.now = index;
    if (this.running) this.pause();
    this.refresh();
    await this.studio.show(frame.latent);
  }

  /** Shows the state of the run everywhere. */
  refresh() {
    const newest = this.frames.length - 1;
    const now = Math.min(this.now ?? newest, newest);
    const total = this.inversion?.settings.steps ?? this.steps;
    const frame = this.frames[now];
    const isFinished = Boolean(this.inversion?.isFinished);
    button("play").textContent = this.running ? "Pause" : isFinished ? "Again" : this.frames.length ? "Go on" : "Start";
    button("one").disabled = this.running || isFinished;
    button("undo-run").hidden = !this.before;
    const scrub = input("scrub");
    scrub.max = String(Math.max(0, newest));
    scrub.value = String(Math.max(0, now));
    scrub.disabled = newest < 1;
    find("figures", HTMLElement).textContent = frame
      ? `step ${frame.index} of ${total} · loss ${shown(frame.loss)} · ${frame.psnr.toFixed(2)} dB`
      : `${total} steps`;
    this.plot(total, Math.max(0, now));
    tabulate(find("history", HTMLTableElement), this.frames);
    const { engine } = this.studio;
    if (engine.isLoaded) find("engine", HTMLElement).textContent = engine.title + (this.milliseconds ? `, ${this.milliseconds.toFixed(0)} ms a step` : "");
  }

  /** @param {number} steps @param {number} now */
  plot(steps, now) {
    const { before, own, inversion } = this;
    const settings = inversion?.settings;
    const other = before?.inversion.settings;
    const isComparable = other?.method === settings?.method && String(other?.weights) === String(settings?.weights);
    this.chart.draw({ points: this.frames, steps, now, before: before?.frames, isComparable, own });
  }

  enter() {
    this.refresh();
    const latent = this.frames[this.now ?? this.frames.length - 1]?.latent ?? this.first;
    if (latent) return this.studio.show(latent);
  }

  leave() {
    this.pause();
  }

  moving() {
    return this.frames.flatMap((frame) => frame.latent ?? []);
  }
}
