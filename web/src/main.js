/** The page: reads its facts, starts the engine, and connects the parts. */

import { Assets } from "./assets.js";
import { startEngine } from "./engine.js";
import { Fields } from "./fields.js";
import { checkSize, bytesOf, dropped } from "./files.js";
import { Flow } from "./flow.js";
import { keepRun, recallRun } from "./memory.js";
import { Paint } from "./paint.js";
import { LARGEST_LATENT, readLatent, writeLatent } from "./safetensors.js";
import { Studio } from "./studio.js";
import { Targets } from "./targets.js";
import { csv } from "./table.js";
import { acceptFile, button, canvas, download, find, input, on, say, trying } from "./ui.js";
import { Channels, Drift, Walk } from "./views.js";

/** @typedef {{isOpen: boolean, enter: () => unknown, leave: () => void, moving: () => import("./latents.js").Latent[]}} Part */

const NEEDED = ["OffscreenCanvas", "Worker", "DecompressionStream", "WebAssembly", "createImageBitmap", "ResizeObserver"];
const LOADING = "The autoencoder is loading. What you ask for meanwhile is done as soon as it is there.";

/** @type {ReturnType<typeof dropped>[]} what was dropped before there was anything that could take it */
const early = [];
/** @type {(given: ReturnType<typeof dropped>) => unknown} */
let takeDrop = (given) => early.push(given);
on(document, "dragover", (event) => event.preventDefault());
on(document, "drop", (event) => {
  event.preventDefault(); // a browser would leave the page for the file
  return takeDrop(dropped(event.dataTransfer));
});

/** Waits until the parser has come to the end of the page's elements; the megabytes of its files follow them. */
function parsed() {
  return new Promise((resolve) => {
    const look = () => document.getElementById("files") && resolve(observer.disconnect());
    const observer = new MutationObserver(look);
    observer.observe(document, { childList: true, subtree: true });
    look();
  });
}

function checkBrowser() {
  const missing = NEEDED.filter((name) => !(/** @type {any} */ (window)[name]));
  if (missing.length) throw new Error(`This browser lacks ${missing.join(" and ")}. ${find("browsers", HTMLElement).textContent}`);
}

async function begin() {
  await parsed();
  find("browsers", HTMLElement).hidden = true; // they are named where no script of today runs
  await trying(open);
  if (!document.body.dataset.ready) find("engine", HTMLElement).textContent = "";
}

async function open() {
  find("engine", HTMLElement).textContent = "Loading…";
  checkBrowser();
  say(LOADING);
  /** @type {import("./studio.js").Facts} */
  const facts = JSON.parse(find("facts", HTMLScriptElement).textContent ?? "");
  const assets = new Assets(facts.inside);
  const studio = new Studio(facts, startEngine(assets, facts.model, "wasm"), canvas("picture"));
  const fields = new Fields(facts);
  /** @type {Targets} */
  const targets = new Targets(studio, () => changed(), (file) => takeLatent(file));
  const flow = new Flow(studio, assets, fields, () => fields.publish(tabs.current()));
  const paint = new Paint(studio);
  /** @type {Record<string, Part>} */
  const parts = { flow, walk: new Walk(studio), channels: new Channels(studio), paint, drift: new Drift(studio) };
  const tabs = connectTabs(parts, studio, () => fields.publish(tabs.current()));

  async function changed() {
    await Promise.all([flow.reset(), followTarget()]);
  }
  async function followTarget() {
    if (tabs.current() === "flow") return;
    studio.shown = null; // the other parts begin with the new target
    await parts[tabs.current()].enter();
  }
  async function takeLatent(/** @type {Blob} */ file) {
    await loadLatent(studio, flow, file);
    await tabs.open("flow");
  }
  async function beginPainted() {
    if (!paint.latent) return;
    await flow.beginWith(paint.latent);
    await tabs.open("flow");
  }
  on(button("paint-flow"), "click", beginPainted);
  acceptFile(input("load-latent"), takeLatent);
  connectSaving(studio, flow, () => parts[tabs.current()]);

  takeDrop = ({ file, name = "", problem }) => {
    if (problem) throw new Error(problem);
    if (file) return targets.takeAny(file, name);
  };
  const address = new URLSearchParams(location.hash.slice(1));
  await trying(() => takeAddress(fields, flow, address));
  const kept = recallRun(flow, location.hash);
  if (!kept) void trying(() => targets.first());
  else if (!kept.hasRun) void trying(() => flow.reset());
  for (const given of early) void trying(() => takeDrop(given));
  const tab = address.get("tab");
  if (tab && tab in parts && tab !== "flow") void trying(() => tabs.open(tab));
  for (const event of ["pagehide", "visibilitychange"]) on(event === "pagehide" ? window : document, event, () => keepRun(flow, location.hash));
  on(window, "hashchange", () => {
    takeAddress(fields, flow, new URLSearchParams(location.hash.slice(1)));
    return targets.again();
  });

  await studio.engine.loaded;
  flow.refresh();
  if (find("status", HTMLElement).textContent === LOADING) say("");
  await studio.targeted;
  await flow.settled();
  document.body.dataset.ready = "true";
}

/** @param {Fields} fields @param {Flow} flow @param {URLSearchParams} address */
function takeAddress(fields, flow, address) {
  try {
    fields.take(address);
  } finally {
    flow.explain();
    if (!address.has("lr")) flow.suggestRate();
  }
}

/** @param {Record<string, Part>} parts @param {Studio} studio @param {() => void} changed */
function connectTabs(parts, studio, changed) {
  const names = Object.keys(parts);
  let current = names[0];
  /** @param {string} name */
  async function open(name) {
    parts[current].isOpen = false;
    parts[current].leave();
    parts[name].isOpen = true;
    current = name;
    document.body.dataset.tab = name;
    for (const each of names) {
      button(`tab-${each}`).setAttribute("aria-selected", String(each === name));
      button(`tab-${each}`).tabIndex = each === name ? 0 : -1;
      find(`panel-${each}`, HTMLElement).hidden = each !== name;
    }
    for (const id of ["transport", "scrubbing", "plot", "save-csv"]) {
      find(id, HTMLElement).hidden = name !== "flow";
    }
    find("walking", HTMLElement).hidden = name !== "walk";
    find("drifting", HTMLElement).hidden = name !== "drift";
    changed();
    await studio.targeted;
    if (parts[name].isOpen) await parts[name].enter();
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
  return { current: () => current, open };
}

/** @param {Studio} studio @param {Flow} flow @param {Blob} file */
async function loadLatent(studio, flow, file) {
  const { model, metadata } = studio.facts;
  checkSize(file, LARGEST_LATENT, "A latent");
  await studio.targeted;
  const latent = readLatent((await bytesOf(file, Infinity)).buffer, model.channels, metadata);
  if (!flow.fits(latent)) {
    const [height, width] = [latent.rows * model.stride, latent.columns * model.stride];
    throw new Error(`That latent is of a picture of ${width} × ${height} pixels; the target has ${studio.target.width} × ${studio.target.height}.`);
  }
  await flow.beginWith(latent);
  say("The flow begins with that latent.");
}

/** @param {Studio} studio @param {Flow} flow @param {() => Part} part */
function connectSaving(studio, flow, part) {
  const stem = () => studio.origin.name.replace(/\.[^.]*$/, "").replace(/[^\p{L}\p{N} _-]+/gu, "_").slice(0, 60) || "picture";
  const { model, metadata, defaults } = studio.facts;
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
    if (!studio.shown) throw new Error("There is no picture yet.");
    studio.canvas.toBlob((blob) => blob && download(`${stem()}.png`, blob, "image/png"), "image/png");
  });
  on(button("save-latent"), "click", () => {
    if (!studio.shown) throw new Error("There is no latent yet.");
    const file = writeLatent(studio.shown, model.channels, metadata, model.stride);
    download(`${stem()}.safetensors`, file, "application/octet-stream");
    say(`Saved: latentflow --init ${stem()}.safetensors begins with it.`);
  });
  on(button("save-csv"), "click", () => {
    if (!flow.frames.length) throw new Error("There are no figures yet.");
    download(`${stem()}.csv`, csv(flow.frames, studio.facts.losses), "text/csv");
  });
}

void trying(begin);
