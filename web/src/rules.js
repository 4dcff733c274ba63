/**
 * How a latent moves: the library's update rules, with its constants, which both read from one file.
 *
 * gradient: along the gradient of the losses, divided by its RMS at the start. gradient_free: along what encoding the
 * picture changes in the latent, E(D(z)) − E(x). hybrid: first without the gradient, then with it.
 */

import RULES from "../../latentflow/base/rules.json" with { type: "json" };
import { copied, norm, rms } from "./latents.js";
import { roundedToEven } from "./numbers.js";
import { psnr } from "./pictures.js";

/** @typedef {import("./latents.js").Latent} Latent */
/** @typedef {import("./pictures.js").Picture} Picture */
/** @typedef {{gradient: Float32Array, loss: number, losses: Float32Array, image: Picture}} Compared */
/**
 * @typedef {object} Model what decodes and encodes
 * @property {(latent: Latent) => Promise<Picture>} decode
 * @property {(picture: Picture) => Promise<Latent>} encode
 * @property {(latent: Latent, target: Picture, weights: Float32Array) => Promise<Compared>} step
 */
/**
 * @typedef {object} Step a latent, its picture and the figures of that picture, all of one point
 * @property {number} index
 * @property {Latent} latent
 * @property {Picture} image
 * @property {number} loss
 * @property {Float32Array | null} losses
 * @property {number} psnr
 */
/** @typedef {{betas?: number[], momentum?: number, nesterov?: boolean, epsilon?: number}} Constants */
/** @typedef {{lr?: number, remaining?: number, updates: string, constants: Constants}} MethodFacts */
/** @typedef {{short: number, walked: number, half: number, ramp: number, worthwhile: number}} HybridFacts */
/** @typedef {{methods: Record<string, MethodFacts>, hybrid: HybridFacts, largest_rms: number}} RuleFacts */
/** @typedef {{target: Picture, weights: Float32Array, lr: number, steps: number, method: string}} Settings */

export class DivergedError extends Error {}

export const METHODS = Object.keys(RULES.methods);

/** @param {string} method @returns {MethodFacts} */
export const factsOf = (method) => known(/** @type {Record<string, MethodFacts>} */ (RULES.methods)[method], method);

/**
 * A constant of the library; one that is missing is an error, not a zero.
 * @template T @param {T | null | undefined} value @param {string} name @returns {T}
 */
export function known(value, name) {
  if (value === null || value === undefined) throw new Error(`The constants of the library lack ${name}.`);
  return value;
}

/**
 * The learning rate of a method where none is chosen; gradient_free covers 99 % of the way in its steps.
 * @param {MethodFacts} method @param {number} steps
 */
export const defaultRate = (method, steps) => method.lr ?? 1 - known(method.remaining, "remaining") ** (1 / steps);

class Adam {
  /** @param {Constants} constants */
  constructor(constants) {
    const betas = known(constants.betas, "betas");
    this.first = known(betas[0], "the first beta");
    this.second = known(betas[1], "the second beta");
    this.epsilon = known(constants.epsilon, "epsilon");
    this.count = 0;
    this.mean = new Float32Array();
    this.square = new Float32Array();
  }

  state() {
    return { count: this.count, mean: this.mean, square: this.square };
  }

  /** @param {Float32Array} values moved in place @param {Float32Array} direction @param {number} lr */
  move(values, direction, lr) {
    if (!this.count) [this.mean, this.square] = [new Float32Array(values.length), new Float32Array(values.length)];
    this.count += 1;
    const { first, second, mean, square } = this;
    const [unbias, root] = [1 - first ** this.count, Math.sqrt(1 - second ** this.count)];
    for (let index = 0; index < values.length; index++) {
      const each = direction[index];
      mean[index] += (1 - first) * (each - mean[index]);
      square[index] = second * square[index] + (1 - second) * each * each;
      values[index] -= ((lr / unbias) * mean[index]) / (Math.sqrt(square[index]) / root + this.epsilon);
    }
  }
}

class Sgd {
  state() {
    return {};
  }

  /** @param {Float32Array} values moved in place @param {Float32Array} direction @param {number} lr */
  move(values, direction, lr) {
    for (let index = 0; index < values.length; index++) values[index] -= lr * direction[index];
  }
}

/** @param {MethodFacts} facts */
function updatesOf(facts) {
  if (facts.updates === "Adam") return new Adam(facts.constants);
  if (facts.updates === "Sgd" && !known(facts.constants.momentum, "momentum")) return new Sgd();
  throw new Error(`The page has no update rule ${facts.updates}.`);
}

/** @typedef {{image: Picture, loss: number, losses: Float32Array | null, latent: Latent, passes: number}} Evaluation */

class Rule {
  /** @param {Model} model @param {Latent} latent @param {Settings} settings @param {MethodFacts} facts */
  constructor(model, latent, settings, facts) {
    this.model = model;
    this.latent = copied(latent);
    this.settings = settings;
    this.updates = updatesOf(facts);
  }

  state() {
    return { latent: this.latent, updates: this.updates.state() };
  }

  /** @param {any} state */
  restore({ updates, ...own }) {
    Object.assign(this, own);
    Object.assign(this.updates, updates);
  }
}

class Gradient extends Rule {
  scale = 0; // one over the RMS of the first gradient

  state() {
    return { ...super.state(), scale: this.scale };
  }

  /** @param {number} fraction of the rate @param {boolean} last @returns {Promise<Evaluation>} */
  async advance(fraction, last) {
    const latent = copied(this.latent);
    const now = await this.model.step(latent, this.settings.target, this.settings.weights);
    if (!this.scale) {
      const size = rms(now.gradient);
      this.scale = size > 0 && Number.isFinite(size) ? 1 / size : 1;
    }
    if (!last) {
      const direction = now.gradient.map((value) => value * this.scale);
      this.updates.move(this.latent.values, direction, fraction * this.settings.lr);
    }
    return { ...now, latent, passes: 3 };
  }
}

class GradientFree extends Rule {
  goal = this.model.encode(this.settings.target);

  /** @param {number} fraction @param {boolean} last @returns {Promise<Evaluation>} */
  async advance(fraction, last) {
    const latent = copied(this.latent);
    const image = await this.model.decode(latent);
    const residual = await this.residual(image);
    if (!last) this.updates.move(this.latent.values, residual, fraction * this.settings.lr);
    return { image, latent, loss: norm(residual) ** 2 / residual.length, losses: null, passes: 2 };
  }

  /** @param {Picture} image */
  async residual(image) {
    const [encoded, goal] = [await this.model.encode(image), await this.goal];
    return encoded.values.map((value, index) => value - goal.values[index]);
  }
}

class Hybrid {
  /** @param {Model} model @param {Latent} latent @param {Settings} settings @param {RuleFacts} facts */
  constructor(model, latent, settings, facts) {
    this.model = model;
    this.settings = settings;
    this.facts = facts;
    this.own = facts.hybrid;
    for (const name of ["short", "walked", "half", "ramp", "worthwhile"]) known(Object(this.own)[name], name);
    const steps = Math.max(0, settings.steps - this.own.short);
    this.walk = roundedToEven(this.own.walked * steps);
    this.walked = 0;
    this.free = new GradientFree(model, latent, { ...settings, lr: 1 }, facts.methods.gradient_free);
    /** @type {Gradient | null} */
    this.gradient = null;
    this.updates = 0;
    /** @type {{psnr: number, passes: number} | null} */
    this.before = null;
  }

  get latent() {
    return (this.gradient ?? this.free).latent;
  }

  /** @param {number} fraction @param {boolean} last @returns {Promise<Evaluation>} */
  async advance(fraction, last) {
    if (this.gradient) {
      const rising = this.walk ? Math.min(1, (this.updates + 1) / this.own.ramp) : 1;
      const now = await this.gradient.advance(fraction * rising, last);
      this.updates += last ? 0 : 1;
      return now;
    }
    const walks = this.walked < this.walk;
    const stride = walks ? 1 / (this.walk - this.walked) : this.walk ? this.own.half : 1;
    const latent = copied(this.free.latent);
    const now = await this.model.step(latent, this.settings.target, this.settings.weights);
    if (!last) {
      this.free.updates.move(this.free.latent.values, await this.free.residual(now.image), stride);
      this.walked += walks ? 1 : 0;
    }
    const passes = last ? 1 : 2;
    const reached = psnr(now.image, this.settings.target);
    if (this.before && !((reached - this.before.psnr) / this.before.passes >= this.own.worthwhile)) this.turn();
    this.before = walks ? null : { psnr: reached, passes };
    return { ...now, latent, passes };
  }

  state() {
    const { walked, updates, before, free, gradient } = this;
    return { walked, updates, before, free: free.state(), gradient: gradient?.state() };
  }

  /** @param {any} state */
  restore({ walked, updates, before, free, gradient }) {
    this.free.restore(free);
    if (gradient) this.turn();
    this.gradient?.restore(gradient);
    Object.assign(this, { walked, updates, before });
  }

  turn() {
    this.gradient = new Gradient(this.model, this.free.latent, this.settings, this.facts.methods.hybrid);
  }
}

/** @param {Model} model @param {Latent} latent @param {Settings} settings @param {RuleFacts} facts */
function ruleOf(model, latent, settings, facts) {
  const own = facts.methods[settings.method];
  if (settings.method === "gradient") return new Gradient(model, latent, settings, own);
  if (settings.method === "gradient_free") return new GradientFree(model, latent, settings, own);
  if (settings.method === "hybrid") return new Hybrid(model, latent, settings, facts);
  throw new Error(`The page has no method ${settings.method}.`);
}

/** An optimization in progress: `next()` gives a record for the latent after 0, 1, …, `steps` updates. */
export class Inversion {
  /** @param {Model} model @param {Latent} latent @param {Settings} settings @param {RuleFacts} facts */
  constructor(model, latent, settings, facts = RULES) {
    this.model = model;
    this.settings = settings;
    this.largest = known(facts.largest_rms, "largest_rms");
    this.rule = ruleOf(model, latent, settings, facts);
    this.index = 0;
    /** @type {Promise<unknown>} */
    this.turn = Promise.resolve(); // one step at a time, whoever asks
  }

  get isFinished() {
    return this.index > this.settings.steps;
  }

  /** @returns {Promise<Step>} */
  next() {
    const step = this.turn.then(() => this.advance());
    this.turn = step.catch(() => {});
    return step;
  }

  /** @returns {Promise<Step>} */
  async advance() {
    const now = await this.rule.advance(1, this.index === this.settings.steps);
    if (!Number.isFinite(now.loss) || !(rms(now.latent.values) <= this.largest)) {
      throw new DivergedError(`The run diverged at step ${this.index}. Try a smaller learning rate.`);
    }
    return { ...now, psnr: psnr(now.image, this.settings.target), index: this.index++ };
  }

  /** Figures of the encoder's own latent of the target. @param {Float32Array} weights of the losses */
  async encoded(weights) {
    const { target } = this.settings;
    const { loss, image } = await this.model.step(await this.model.encode(target), target, weights);
    return { loss, psnr: psnr(image, target) };
  }

  /** What a later inversion with the same settings goes on from. */
  state() {
    return { index: this.index, rule: this.rule.state() };
  }

  /** @param {any} state */
  restore({ index, rule }) {
    this.index = index;
    this.rule.restore(rule);
  }

  /** @param {number} steps more than are done, also of a run that has ended */
  extend(steps) {
    if (this.isFinished) this.index = this.settings.steps; // its last record is made again, and this time moves on
    this.settings = { ...this.settings, steps };
  }
}
