/** A run as it goes on: the newest picture, its figures, and curves of loss and PSNR. */

/** @typedef {{index: number, total: number, loss: number, psnr: number}} Figures */

const WIDTH = 400;
const HEIGHT = 72;

/** @param {number[]} values @param {Figures[]} history whose steps they are of */
function points(values, history) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const down = (/** @type {number} */ value) => (high > low ? (high - value) / (high - low) : 0.5) * HEIGHT;
  return values.map((value, index) => `${((history[index].index / history[index].total) * WIDTH).toFixed(1)},${down(value).toFixed(1)}`).join(" ");
}

/**
 * Fills an element with the view of a run.
 * @param {Element} parent
 * @returns {{show: (source: string) => void, figures: (history: Figures[], state: string) => void}}
 */
export function liveView(parent) {
  const box = document.createElement("div");
  box.className = "lf lf-live";
  box.innerHTML =
    `<img alt=""><p class="lf-figures" role="status"></p><svg viewBox="0 0 ${WIDTH} ${HEIGHT}" preserveAspectRatio="none" role="img" aria-label="Loss and PSNR by step">` +
    `<polyline class="lf-loss"/><polyline class="lf-psnr"/></svg><p class="lf-legend"><span class="lf-loss"></span><span class="lf-psnr"></span></p>`;
  const picture = /** @type {HTMLImageElement} */ (box.querySelector("img"));
  const [line, words] = [box.querySelector(".lf-figures"), box.querySelectorAll("span")];
  const curves = box.querySelectorAll("polyline");
  parent.replaceChildren(box);

  const figures = (/** @type {Figures[]} */ history, /** @type {string} */ state) => {
    const last = history.at(-1);
    box.classList.toggle("lf-bare", history.length < 2);
    if (!line) return;
    if (!last) {
      line.textContent = state;
      return;
    }
    line.textContent = `step ${last.index} of ${last.total} · loss ${last.loss.toPrecision(4)} · ${last.psnr.toFixed(2)} dB${state ? ` · ${state}` : ""}`;
    picture.alt = `The picture after ${last.index} steps`;
    if (history.length < 2) return;
    const positive = history.every((each) => each.loss > 0);
    const losses = history.map((each) => (positive ? Math.log10(each.loss) : each.loss));
    curves[0].setAttribute("points", points(losses, history));
    curves[1].setAttribute("points", points(history.map((each) => each.psnr), history));
    words[0].textContent = `loss${positive ? " (log)" : ""}: ${history[0].loss.toPrecision(4)} → ${last.loss.toPrecision(4)}`;
    words[1].textContent = `PSNR: ${history[0].psnr.toFixed(2)} → ${last.psnr.toFixed(2)} dB`;
  };
  return { show: (source) => (picture.src = source), figures };
}
