/** Loss, on a logarithmic scale, and PSNR over the steps: axes, curves, and a reading under the pointer. */

import { shown } from "./numbers.js";

const NAMESPACE = "http://www.w3.org/2000/svg";
const EDGE = { left: 46, right: 34, top: 8, bottom: 20 }; // room for the axes' numbers, in pixels
const LARGEST_PSNR = 100; // dB, where pictures are equal and PSNR is infinite

/** @typedef {{index: number, loss: number, psnr: number}} Point */
/**
 * @typedef {object} Curves
 * @property {Point[]} points
 * @property {number} steps of the whole run
 * @property {number} now the step that is marked
 * @property {Point[]} [before] of the run before it
 * @property {boolean} [isComparable] whether the losses of both are of one kind
 * @property {{loss: number | null, psnr: number} | null} [own] of the encoder's latent
 */
/** @typedef {{words: string, at: number}} Tick */
/** @typedef {{name: string, at: [number, number][]}} Line */

/** Round numbers within a range, about `count`. @param {number} low @param {number} high @param {number} count */
export function ticks(low, high, count) {
  if (!(high > low)) return [low];
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5].find((each) => each * power >= rough) ?? 10);
  const first = Math.ceil(low / step - 1e-9);
  return Array.from({ length: Math.floor(high / step + 1e-9) - first + 1 }, (_, index) => Number(((first + index) * step).toPrecision(12)));
}

/** Round numbers for a logarithmic axis: powers of ten, or with their double and fivefold. @param {number} low @param {number} high */
export function logTicks(low, high) {
  /** @param {number[]} factors */
  const within = (factors) => {
    const found = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++) {
      for (const factor of factors) found.push(Number(`${factor}e${power}`));
    }
    return found.filter((each) => each >= low * (1 - 1e-9) && each <= high * (1 + 1e-9));
  };
  const tens = within([1]);
  return tens.length > 1 ? tens : within([1, 2, 5]);
}

const capped = (/** @type {number} */ psnr) => Math.min(psnr, LARGEST_PSNR);

/**
 * Where everything is in a chart of this size.
 * @param {Curves} curves @param {{width: number, height: number}} size in pixels
 */
export function layout({ points, steps, now, before = [], isComparable = true, own = null }, { width, height }) {
  const [right, bottom] = [width - EDGE.right, height - EDGE.bottom];
  const last = Math.max(steps, before.length - 1, 1);
  const across = (/** @type {number} */ step) => EDGE.left + (step / last) * (right - EDGE.left);
  /** @param {number[]} values @param {(value: number) => number} scale */
  const axis = (values, scale) => {
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const [from, to] = [scale(low), scale(high)];
    const down = (/** @type {number} */ value) => (to > from ? (to - scale(value)) / (to - from) : 0.5) * (bottom - EDGE.top) + EDGE.top;
    return { low, high, down };
  };
  const compared = isComparable ? before : [];
  const losses = [...points, ...compared, ...(own?.loss ? [own] : [])].map((each) => Number(each.loss));
  const isLog = losses.every((loss) => loss > 0); // the loss psnr is negative, so it has no logarithm
  const loss = axis(losses, isLog ? Math.log10 : (value) => value);
  const psnr = axis([...points, ...before, ...(own ? [own] : [])].map((each) => capped(each.psnr)), (value) => value);
  /** @param {string} name @param {Point[]} of @param {"loss" | "psnr"} figure @returns {Line} */
  const line = (name, of, figure) => ({
    name,
    at: of.map((each) => [across(each.index), figure === "loss" ? loss.down(each.loss) : psnr.down(capped(each.psnr))]),
  });
  /** @param {string} name @param {number} at @returns {Line} */
  const level = (name, at) => ({ name, at: [[EDGE.left, at], [right, at]] });
  const lines = [line("psnr before", before, "psnr"), line("loss before", compared, "loss"), line("psnr", points, "psnr"), line("loss", points, "loss")];
  if (own) lines.push(level("psnr own", psnr.down(capped(own.psnr))));
  if (own?.loss) lines.push(level("loss own", loss.down(own.loss)));
  const labeled = (/** @type {number[]} */ values, /** @type {(value: number) => number} */ where) => values.map((value) => ({ words: String(value), at: where(value) }));
  return {
    isLog,
    across,
    lines: lines.filter(({ at }) => at.length > 1),
    now: across(now),
    steps: labeled(ticks(0, last, 5).filter(Number.isInteger), across),
    loss: labeled((isLog ? logTicks : ticks)(loss.low, loss.high, 4), loss.down),
    psnr: labeled(ticks(psnr.low, psnr.high, 4), psnr.down),
    frame: { left: EDGE.left, right, top: EDGE.top, bottom },
    /** The step at a place. @param {number} x */
    stepAt: (x) => Math.round(((x - EDGE.left) / (right - EDGE.left)) * last),
  };
}

/** @param {string} name @param {Record<string, string | number>} attributes @param {string} [text] */
function made(name, attributes, text = "") {
  const element = document.createElementNS(NAMESPACE, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
  element.textContent = text;
  return element;
}

export class Chart {
  /** @param {SVGSVGElement} element @param {HTMLElement} words below it @param {(step: number) => void} choose a step */
  constructor(element, words, choose) {
    this.element = element;
    this.words = words;
    /** @type {Curves} */
    this.curves = { points: [], steps: 1, now: 0 };
    /** @type {ReturnType<typeof layout> | null} */
    this.layout = null;
    /** @type {number | null} */
    this.under = null; // the pointer
    element.addEventListener("pointermove", (event) => this.point(event.clientX));
    element.addEventListener("pointerdown", (event) => {
      this.point(event.clientX);
      if (this.under !== null) choose(this.under);
    });
    for (const end of ["pointerleave", "pointercancel"]) element.addEventListener(end, () => this.point(null));
    new ResizeObserver(() => this.draw(this.curves)).observe(element);
  }

  /** @param {number | null} x */
  point(x) {
    const step = x === null ? null : this.layout?.stepAt(x - this.element.getBoundingClientRect().left);
    this.under = step === null || step === undefined ? null : Math.min(this.curves.points.length - 1, Math.max(0, step));
    this.draw(this.curves);
  }

  /** @param {Curves} curves */
  draw(curves) {
    const [width, height] = [this.element.clientWidth, this.element.clientHeight];
    this.curves = curves;
    this.layout = null;
    this.element.replaceChildren();
    this.words.replaceChildren();
    if (curves.points.length < 2 || !width) return;
    const places = layout(curves, { width, height });
    this.layout = places;
    this.element.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.element.append(...this.axes(places), ...this.lines(places));
    this.write(curves, places.isLog);
  }

  /** @param {ReturnType<typeof layout>} places */
  axes({ frame, steps, loss, psnr }) {
    const { left, right, top, bottom } = frame;
    return [
      made("line", { x1: left, y1: bottom, x2: right, y2: bottom }),
      ...steps.map(({ words, at }) => made("text", { x: at, y: bottom + 14, "text-anchor": "middle" }, words)),
      ...loss.flatMap(({ words, at }) => [
        made("line", { class: "grid", x1: left, y1: at, x2: right, y2: at }),
        made("text", { class: "loss", x: left - 5, y: at + 4, "text-anchor": "end" }, words),
      ]),
      ...psnr.map(({ words, at }) => made("text", { class: "psnr", x: right + 5, y: at + 4 }, words)),
      made("line", { class: "edge", x1: left, y1: top, x2: left, y2: bottom }),
    ];
  }

  /** @param {ReturnType<typeof layout>} places */
  lines({ lines, now, frame, across }) {
    const upright = (/** @type {string} */ name, /** @type {number} */ x) => made("line", { class: name, x1: x, x2: x, y1: frame.top, y2: frame.bottom });
    const points = (/** @type {[number, number][]} */ at) => at.map((each) => each.map((value) => value.toFixed(1)).join(",")).join(" ");
    const all = lines.map(({ name, at }) => made("polyline", { class: name, points: points(at) }));
    const under = this.under === null ? [] : [upright("under", across(this.under))];
    return [...all, upright("now", now), ...under];
  }

  /** @param {Curves} curves @param {boolean} isLog */
  write({ points, steps, before = [], own }, isLog) {
    const [first, last] = [points[0], points[points.length - 1]];
    const under = this.under === null ? null : points[this.under];
    /** @type {[string, string][]} */
    const parts = under
      ? [["", `step ${under.index}`], ["loss", `loss ${shown(under.loss)}`], ["psnr", `${under.psnr.toFixed(2)} dB`]]
      : [
          ["loss", `loss${isLog ? " (log)" : ""} ${shown(first.loss)} → ${shown(last.loss)}`],
          ["psnr", `PSNR ${first.psnr.toFixed(2)} → ${last.psnr.toFixed(2)} dB`],
        ];
    const compared = before[under ? under.index : before.length - 1];
    if (compared) parts.push(["before", `run before ${compared.psnr.toFixed(2)} dB`]);
    if (own) parts.push(["own", `encoder's own ${own.psnr.toFixed(2)} dB`]);
    for (const [name, text] of parts) {
      const part = document.createElement("span");
      [part.className, part.textContent] = [name, text];
      this.words.append(part);
    }
    this.element.setAttribute(
      "aria-label",
      `After ${last.index} of ${steps} steps the loss went from ${shown(first.loss)} to ${shown(last.loss)}, and PSNR from ` +
        `${first.psnr.toFixed(2)} to ${last.psnr.toFixed(2)} dB${own ? `; the encoder's own latent has ${own.psnr.toFixed(2)} dB` : ""}.`,
    );
  }
}
