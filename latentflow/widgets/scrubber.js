/** A slider over pictures that are decoded already: the picture changes while it is dragged. */

/**
 * @typedef {object} Scrubber
 * @property {(index: number) => void} show
 * @property {(sources: string[], captions?: string[]) => void} update takes other pictures, or more of them
 * @property {() => void} stop ends the playing
 */

/**
 * Fills an element with a picture, a slider, a button that plays, and a caption. Space plays, arrows move.
 * @param {Element} parent
 * @param {{sources: string[], captions?: string[], index?: number, fps?: number, label?: string,
 *   changed?: (index: number) => void}} options `changed` is called when the user has moved it
 * @returns {Scrubber}
 */
export function scrubber(parent, { sources, captions = [], index = 0, fps = 20, label = "Frame", changed = () => {} }) {
  const box = document.createElement("div");
  box.className = "lf lf-scrubber";
  box.innerHTML =
    '<img alt=""><div class="lf-bar"><button type="button">Play</button><input type="range" min="0" step="1"><output></output></div>';
  const picture = /** @type {HTMLImageElement} */ (box.querySelector("img"));
  const button = /** @type {HTMLButtonElement} */ (box.querySelector("button"));
  const slider = /** @type {HTMLInputElement} */ (box.querySelector("input"));
  const output = /** @type {HTMLOutputElement} */ (box.querySelector("output"));
  slider.setAttribute("aria-label", label);
  let playing = 0;
  /** @type {HTMLImageElement[]} */
  let kept = []; // so that the browser keeps them decoded

  const show = (/** @type {number} */ wanted) => {
    index = Math.max(0, Math.min(sources.length - 1, wanted));
    slider.max = String(Math.max(0, sources.length - 1));
    slider.value = String(index);
    slider.disabled = button.disabled = sources.length < 2;
    if (!sources.length) return;
    picture.src = sources[index];
    picture.alt = captions[index] ?? `${label} ${index}`;
    output.textContent = captions[index] ?? `${index} of ${sources.length - 1}`;
    slider.setAttribute("aria-valuetext", picture.alt);
  };
  const move = (/** @type {number} */ wanted) => {
    show(wanted);
    changed(index);
  };
  const stop = () => {
    clearInterval(playing);
    playing = 0;
    button.textContent = "Play";
  };
  slider.addEventListener("input", () => {
    stop();
    move(Number(slider.value));
  });
  // A notebook may keep mouse moves from the slider, so it follows the pointer by itself.
  const follow = (/** @type {PointerEvent} */ event) => {
    const { left, width } = slider.getBoundingClientRect();
    const wanted = Math.round(((event.clientX - left) / width) * (sources.length - 1));
    if (wanted !== index) move(wanted);
  };
  slider.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || sources.length < 2) return;
    stop();
    slider.setPointerCapture(event.pointerId);
    follow(event);
  });
  slider.addEventListener("pointermove", (event) => {
    if (slider.hasPointerCapture(event.pointerId)) follow(event);
  });
  button.addEventListener("click", () => {
    if (playing) {
      stop();
      return;
    }
    button.textContent = "Stop";
    playing = setInterval(() => (box.isConnected ? move((index + 1) % sources.length) : stop()), 1000 / fps);
  });
  const update = (/** @type {string[]} */ others, /** @type {string[]} */ words = []) => {
    [sources, captions] = [others, words];
    kept = sources.map((source) => Object.assign(new Image(), { src: source }));
    show(index);
  };
  update(sources, captions);
  parent.replaceChildren(box);
  return { show, update, stop };
}
