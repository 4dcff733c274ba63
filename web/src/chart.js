/** Loss, on a logarithmic scale, and PSNR over the steps. */

const WIDTH = 1000;
const HEIGHT = 96;
const NAMESPACE = "http://www.w3.org/2000/svg";

/** @typedef {{index: number, loss: number, psnr: number}} Point */

/** @param {string} name @param {Record<string, string | number>} attributes @param {string} [text] */
function made(name, attributes, text = "") {
  const element = document.createElementNS(NAMESPACE, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
  element.textContent = text;
  return element;
}

/**
 * Where the points of a curve are, as an SVG polyline has them; a constant one is in the middle.
 * @param {number[]} values finite @param {number} steps
 */
export function curve(values, steps) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const down = (/** @type {number} */ value) => (high > low ? (high - value) / (high - low) : 0.5) * HEIGHT;
  return values.map((value, index) => `${((index / steps) * WIDTH).toFixed(1)},${down(value).toFixed(1)}`).join(" ");
}

/** Short, with three or four digits. @param {number} value */
export const shown = (value) => (value === 0 || (Math.abs(value) >= 1e-3 && Math.abs(value) < 1e4) ? value.toPrecision(4) : value.toExponential(2));

/**
 * @param {SVGSVGElement} chart @param {HTMLElement} words where the ends of both curves are written
 * @param {Point[]} points @param {number} steps of the whole run @param {number} now the step that is marked
 */
export function drawChart(chart, words, points, steps, now) {
  chart.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  chart.replaceChildren(made("line", { x1: 0, y1: HEIGHT, x2: WIDTH, y2: HEIGHT }));
  words.replaceChildren();
  if (points.length < 2) return;
  const last = points[points.length - 1];
  const positive = points.every((point) => point.loss > 0); // the loss psnr is negative, so it has no logarithm
  const scale = (/** @type {number} */ loss) => (positive ? Math.log10(loss) : loss);
  const finite = points.map((point) => (Number.isFinite(point.psnr) ? point.psnr : 100));
  chart.append(
    made("polyline", { class: "loss", points: curve(points.map((point) => scale(point.loss)), steps) }),
    made("polyline", { class: "psnr", points: curve(finite, steps) }),
    made("line", { class: "now", x1: (now / steps) * WIDTH, x2: (now / steps) * WIDTH, y1: 0, y2: HEIGHT }),
  );
  const first = points[0];
  const legend = { loss: `loss${positive ? " (log)" : ""}: ${shown(first.loss)} → ${shown(last.loss)}`, psnr: `PSNR: ${first.psnr.toFixed(2)} → ${last.psnr.toFixed(2)} dB` };
  for (const [name, text] of Object.entries(legend)) {
    const part = document.createElement("span");
    part.className = name;
    part.textContent = text;
    words.append(part);
  }
  chart.setAttribute(
    "aria-label",
    `After ${last.index} of ${steps} steps the loss went from ${shown(first.loss)} to ${shown(last.loss)}, and PSNR from ` +
      `${first.psnr.toFixed(2)} to ${last.psnr.toFixed(2)} dB.`,
  );
}
