/** The page: reads its facts, starts the engine, and connects the parts. */

import { Assets } from "./assets.js";
import { startEngine } from "./engine.js";
import { Flow } from "./flow.js";
import { fitted } from "./pictures.js";
import { readLatent, writeLatent } from "./safetensors.js";
import { Studio } from "./studio.js";
import { acceptDrops, acceptFile, button, canvas, download, draw, find, fit, input, on, readImage, say, select, trying } from "./ui.js";
import { Channels, Drift, Paint, Walk, exampleFile, offerExamples } from "./views.js";

/** @typedef {{enter: () => unknown, leave: () => void, moving: () => import("./latents.js").Latent[]}} Part */

/** @type {import("./studio.js").Facts} */
const facts = JSON.parse(find("facts", HTMLScriptElement).textContent ?? "");
const assets = new Assets(facts.inside);

async function begin() {
  const engine = await startEngine(assets, facts.model, "wasm");
  const studio = new Studio(facts, engine, canvas("picture"));
  const flow = new Flow(studio, assets);
  const paint = new Paint(studio);
  /** @type {Record<string, Part>} */
  const parts = {
    flow,
    walk: new Walk(studio),
    channels: new Channels(studio),
    paint,
    drift: new Drift(studio),
  };
  const tabs = connectTabs(parts);
  on(button("paint-flow"), "click", async () => {
    if (!paint.latent) return;
    await flow.beginWith(paint.latent);
    await tabs.open("flow");
  });
  const source = connectTarget(studio, async () => {
    await flow.reset();
    if (tabs.current() === "flow") return;
    studio.shown = null; // the other parts begin with the new target
    await parts[tabs.current()].enter();
  });
  connectSaving(studio, flow, () => parts[tabs.current()]);
  await source;
  document.body.dataset.ready = "true";
}

/** @param {Record<string, Part>} parts */
function connectTabs(parts) {
  const names = Object.keys(parts);
  let current = names[0];
  /** @param {string} name */
  async function open(name) {
    parts[current].leave();
    current = name;
    for (const each of names) {
      button(`tab-${each}`).setAttribute("aria-selected", String(each === name));
      button(`tab-${each}`).tabIndex = each === name ? 0 : -1;
      find(`panel-${each}`, HTMLElement).hidden = each !== name;
    }
    for (const id of ["transport", "scrubbing", "chart", "legend", "save-csv"]) {
      document.getElementById(id)?.toggleAttribute("hidden", name !== "flow");
    }
    find("walking", HTMLElement).hidden = name !== "walk";
    find("drifting", HTMLElement).hidden = name !== "drift";
    await parts[name].enter();
  }
  names.forEach((name, place) => {
    on(button(`tab-${name}`), "click", () => open(name));
    on(button(`tab-${name}`), "keydown", (event) => {
      const by = { ArrowRight: 1, ArrowLeft: -1 }[/** @type {string} */ (event.key)];
      if (!by) return;
      const next = names[(place + by + names.length) % names.length];
      button(`tab-${next}`).focus();
      return open(next);
    });
  });
  void open(current);
  return { current: () => current, open };
}

/** @param {Studio} studio @param {() => Promise<void>} changed */
async function connectTarget(studio, changed) {
  const { sizes, defaults, examples, model } = facts;
  for (const size of sizes) select("size").add(new Option(`${size} px`, `${size}`, false, size === defaults.size));
  /** @type {ImageBitmap} */
  let bitmap;
  async function place() {
    studio.target = fit(bitmap, fitted(bitmap, Number(select("size").value), model.stride));
    draw(canvas("target"), studio.target);
    await changed();
  }
  /** @param {Blob} file @param {string} name */
  async function take(file, name) {
    bitmap = await readImage(file);
    studio.name = name;
    say("");
    await place();
  }
  const takeFile = (/** @type {File} */ file) => take(file, file.name);
  acceptFile(input("choose"), takeFile);
  acceptDrops(find("target-drop", HTMLElement), takeFile);
  acceptDrops(document.body, takeFile);
  document.addEventListener("paste", (event) => {
    const file = [...(event.clipboardData?.files ?? [])].find((each) => each.type.startsWith("image/"));
    if (file) void trying(() => take(file, "pasted"));
  });
  on(select("size"), "change", place);
  connectCamera((file) => take(file, "photograph"));
  offerExamples("examples", studio, take);
  await take(exampleFile(examples[0].source), examples[0].name);
}

/** @param {(file: Blob) => Promise<void>} take */
function connectCamera(take) {
  const video = find("video", HTMLVideoElement);
  const view = find("camera-view", HTMLElement);
  /** @type {MediaStream | null} */
  let stream = null;
  function off() {
    for (const track of stream?.getTracks() ?? []) track.stop();
    [stream, view.hidden] = [null, true];
  }
  on(button("camera"), "click", async () => {
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "user" } });
    } catch {
      throw new Error("There is no camera that this page may use.");
    }
    video.srcObject = stream;
    view.hidden = false;
    await video.play();
  });
  on(button("camera-off"), "click", off);
  on(button("shoot"), "click", async () => {
    const still = new OffscreenCanvas(video.videoWidth, video.videoHeight);
    still.getContext("2d")?.drawImage(video, 0, 0);
    off();
    await take(await still.convertToBlob({ type: "image/png" }));
  });
}

/** @param {Studio} studio @param {Flow} flow @param {() => Part} part */
function connectSaving(studio, flow, part) {
  const stem = () => studio.name.replace(/\.[^.]*$/, "").replace(/[^\p{L}\p{N} _-]+/gu, "_").slice(0, 60) || "picture";
  const { model, metadata, defaults } = facts;
  on(button("save-gif"), "click", async () => {
    const latents = part().moving();
    if (latents.length < 2) throw new Error("There is nothing that moves yet.");
    const delay = 1000 / defaults.fps;
    const delays = latents.map((_, index) => (index === latents.length - 1 && part() === flow ? 1000 * defaults.hold : delay));
    const bytes = await studio.engine.gif(latents, delays, (done) => say(`Frame ${done} of ${latents.length}`));
    download(`${stem()}.gif`, bytes, "image/gif");
    say(`Saved ${latents.length} frames, ${(bytes.length / 1e6).toFixed(1)} MB.`);
  });
  on(button("save-png"), "click", () => {
    studio.canvas.toBlob((blob) => blob && download(`${stem()}.png`, blob, "image/png"), "image/png");
  });
  on(button("save-latent"), "click", () => {
    if (!studio.shown) return;
    const file = writeLatent(studio.shown, model.channels, metadata, model.stride);
    download(`${stem()}.safetensors`, file, "application/octet-stream");
    say(`Saved: latentflow --init ${stem()}.safetensors begins with it.`);
  });
  on(button("save-csv"), "click", () => {
    if (!flow.frames.length) throw new Error("There are no figures yet.");
    download(`${stem()}.csv`, flow.csv(), "text/csv");
  });
  acceptFile(input("load-latent"), async (file) => {
    const latent = readLatent(await file.arrayBuffer(), model.channels, metadata);
    if (!flow.fits(latent)) {
      const [height, width] = [latent.rows * model.stride, latent.columns * model.stride];
      throw new Error(`That latent is of a picture of ${width} × ${height} pixels; the target has ${studio.target.width} × ${studio.target.height}.`);
    }
    await flow.beginWith(latent);
    say("The flow begins with that latent.");
  });
}

void trying(begin);
