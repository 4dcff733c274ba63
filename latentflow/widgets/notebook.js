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
  const showFigures = () => {
    const state = model.get("state");
    view.figures(model.get("history"), { running: "", stopped: "stopped", finished: "finished" }[state] ?? state);
    button.textContent = state === "running" ? "Stop" : "Go on";
    button.hidden = state !== "running" && state !== "stopped";
  };
  button.addEventListener("click", () => model.send({ do: model.get("state") === "running" ? "stop" : "go on" }));
  model.on("change:picture", showPicture);
  model.on("change:history", showFigures);
  model.on("change:state", showFigures);
  showPicture();
  showFigures();
  return () => URL.revokeObjectURL(source);
}
