/** What makes widgets of a notebook of them. Pictures come as bytes. */

/** @param {DataView} bytes */
const address = (bytes) => URL.createObjectURL(new Blob([/** @type {any} */ (bytes)], { type: "image/jpeg" }));

/** @param {{model: any, el: HTMLElement}} given */
function renderScrubber({ model, el }) {
  /** @type {string[]} */
  let sources = model.get("pictures").map(address);
  const made = scrubber(el, {
    sources,
    captions: model.get("captions"),
    index: model.get("index"),
    fps: model.get("fps"),
    changed: (index) => {
      model.set("index", index);
      model.save_changes();
    },
  });
  model.on("change:index", () => made.show(model.get("index")));
  model.on("change:pictures", () => {
    sources.forEach(URL.revokeObjectURL);
    sources = model.get("pictures").map(address);
    made.update(sources, model.get("captions"));
  });
  return () => {
    made.stop();
    sources.forEach(URL.revokeObjectURL);
  };
}

/**
 * Connects a slider that is HTML of the notebook with its model, by events of the page.
 * @param {{model: any}} given
 */
function connectSlider({ model }) {
  const name = `latentflow:${model.get("key")}`;
  const moved = (/** @type {any} */ event) => {
    model.set("index", event.detail);
    model.save_changes();
  };
  const show = () => document.dispatchEvent(new CustomEvent(`${name}:show`, { detail: model.get("index") }));
  document.addEventListener(`${name}:changed`, moved);
  model.on("change:index", show);
  return () => {
    document.removeEventListener(`${name}:changed`, moved);
    model.off("change:index", show);
  };
}

/**
 * Shows the button of a stopped run that is HTML of the notebook, as long as there is a kernel to press it for.
 * @param {{model: any}} given
 */
function connectButton({ model }) {
  const button = `[data-latentflow-button="${model.get("key")}"]`;
  const style = document.createElement("style");
  style.textContent = `${button}[hidden] { display: inline-block; }`;
  const press = (/** @type {any} */ event) => {
    if (event.target.closest?.(button)) model.send({ do: "go on" });
  };
  document.head.append(style);
  document.addEventListener("click", press);
  return () => {
    style.remove();
    document.removeEventListener("click", press);
  };
}

/** @param {{model: any, el: HTMLElement}} given */
function renderLive({ model, el }) {
  const place = document.createElement("div");
  const button = document.createElement("button");
  button.type = "button";
  const bar = document.createElement("div");
  bar.className = "lf lf-bar";
  bar.append(button);
  el.append(place, bar);
  const view = liveView(place);
  let source = "";
  const showPicture = () => {
    const before = source;
    if (!model.get("picture").byteLength) return;
    source = address(model.get("picture"));
    view.show(source);
    if (before) setTimeout(() => URL.revokeObjectURL(before), 1000); // it may still be on its way to the screen
  };
  /** @type {import("./live.js").Figures[]} */
  let history = [];
  const take = () => {
    const { first = 0, records = [] } = model.get("fresh");
    if (first > history.length) {
      model.send({ do: "history" }); // this view began later
      return;
    }
    history = [...history.slice(0, first), ...records];
    showFigures();
  };
  const complete = (/** @type {any} */ message) => {
    if (!message.history || message.history.length < history.length) return;
    history = message.history;
    showFigures();
  };
  const showFigures = () => {
    const state = model.get("state");
    view.figures(history, { running: "", stopped: "stopped", finished: "finished" }[state] ?? state);
    button.textContent = state === "running" ? "Stop" : "Go on";
    button.hidden = state !== "running" && state !== "stopped";
  };
  button.addEventListener("click", () => model.send({ do: model.get("state") === "running" ? "stop" : "go on" }));
  model.on("change:picture", showPicture);
  model.on("change:fresh", take);
  model.on("change:state", showFigures);
  model.on("msg:custom", complete);
  showPicture();
  showFigures();
  take();
  return () => {
    model.off("change:picture", showPicture);
    model.off("change:fresh", take);
    model.off("change:state", showFigures);
    model.off("msg:custom", complete);
    URL.revokeObjectURL(source);
  };
}
