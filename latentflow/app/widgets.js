/** What makes widgets of the app of them: Streamlit calls a function whenever a widget is new or has other data. */

/** @typedef {{data: any, parentElement: any, setTriggerValue: (name: string, value: unknown) => void,
 *   setStateValue: (name: string, value: unknown) => void}} Given */

const AGAIN = 2000; // milliseconds until a stream that broke is asked for again

/** @type {WeakMap<object, any>} */
const mounted = new WeakMap();

/** @param {any} root a shadow root @param {string} name */
function placeIn(root, name) {
  const place = document.createElement("div");
  place.className = name;
  root.append(place);
  return place;
}

/**
 * The parts of a stream of motion JPEG, each with its figures; `complete` is called at its end, if it has one.
 * @param {ReadableStreamDefaultReader<Uint8Array>} reader @param {() => void} complete
 */
async function* parts(reader, complete) {
  let bytes = new Uint8Array();
  const text = new TextDecoder("latin1");
  for (;;) {
    const head = text.decode(bytes.subarray(0, 4096));
    const end = head.indexOf("\r\n\r\n");
    const length = Number(/content-length: (\d+)/i.exec(head.slice(0, end))?.[1]);
    if (end >= 0 && bytes.length >= end + 4 + length) {
      const figures = /x-figures: (.*)/i.exec(head.slice(0, end));
      yield { picture: bytes.slice(end + 4, end + 4 + length), figures: figures ? JSON.parse(figures[1]) : null };
      bytes = bytes.slice(end + 4 + length + 2);
      continue;
    }
    if (head.startsWith("--frame--")) return complete();
    const { done, value } = await reader.read();
    if (done) return;
    const joined = new Uint8Array(bytes.length + value.length);
    joined.set(bytes);
    joined.set(value, bytes.length);
    bytes = joined;
  }
}

/** @param {Given} given */
function runWidget({ data, parentElement, setTriggerValue }) {
  let own = mounted.get(parentElement);
  if (!own) {
    own = { view: liveView(placeIn(parentElement, "run")), address: "", abort: null, source: "" };
    mounted.set(parentElement, own);
  }
  own.ended = (/** @type {string} */ address) => setTriggerValue("ended", address);
  own.history = data.history;
  const { view } = own;
  view.figures(own.history, data.state);
  if (data.picture) view.show(data.picture);
  if (data.live !== own.address) {
    own.abort?.abort();
    own.address = data.live;
    if (data.live) void follow(own, data.live);
  }
  return () => {
    own.abort?.abort();
    URL.revokeObjectURL(own.source);
    mounted.delete(parentElement);
  };
}

/**
 * Shows the pictures of a stream. One that breaks is asked for again until the server says that it is no longer there:
 * the run goes on without this page. @param {any} own @param {string} address
 */
async function follow(own, address) {
  const { signal } = (own.abort = new AbortController());
  for (;;) {
    try {
      const response = await fetch(address, { signal });
      if (response.status === 404) break;
      if (!response.body || !response.ok) throw new Error(`status ${response.status}`);
      let whole = false;
      for await (const { picture, figures } of parts(response.body.getReader(), () => (whole = true))) showPart(own, picture, figures);
      if (whole) break;
      throw new Error("the stream broke");
    } catch {
      if (signal.aborted) return;
      own.view.figures(own.history, "no connection to the server; the run goes on there");
    }
    await new Promise((resolve) => setTimeout(resolve, AGAIN));
    if (signal.aborted) return;
  }
  own.ended(address);
}

/** @param {any} own @param {Uint8Array<ArrayBuffer>} picture @param {any} figures */
function showPart(own, picture, figures) {
  const before = own.source;
  own.source = URL.createObjectURL(new Blob([picture], { type: "image/jpeg" }));
  own.view.show(own.source);
  if (before) setTimeout(() => URL.revokeObjectURL(before), 1000);
  if (figures?.index !== undefined && (own.history.at(-1)?.index ?? -1) < figures.index) own.history.push(figures);
  own.view.figures(own.history, figures?.index === undefined ? (figures?.state ?? "") : "");
}

/**
 * Brings what it stands before into view when something began, unless it is there, and keeps the visit in the address;
 * Streamlit would add an entry to the history, which takes the visitor nowhere. @param {Given} given
 */
function lookWidget({ data, parentElement }) {
  const before = mounted.get(parentElement);
  if (!before) {
    const mark = placeIn(parentElement, "look");
    mark.style.scrollMarginTop = "4.5rem";
    mounted.set(parentElement, { mark, begun: "" });
  }
  const address = new URL(location.href);
  if (address.searchParams.get("run") !== data.run) {
    address.searchParams.set("run", data.run);
    history.replaceState(history.state, "", address);
  }
  const own = mounted.get(parentElement);
  if (!data.begun || data.begun === globalThis.latentflowBegun) return;
  globalThis.latentflowBegun = data.begun;
  const { top } = own.mark.getBoundingClientRect();
  if (top < 0 || top > window.innerHeight / 2) own.mark.scrollIntoView({ behavior: "smooth", block: "start" });
}

/** @param {Given} given */
function scrubberWidget({ data, parentElement }) {
  let own = mounted.get(parentElement);
  const key = JSON.stringify(data);
  if (own?.key === key) return;
  own?.made.stop();
  own = { key, place: own?.place ?? placeIn(parentElement, "walk") };
  own.made = scrubber(own.place, { ...data, label: "Place on the walk" });
  mounted.set(parentElement, own);
  return () => {
    own.made.stop();
    mounted.delete(parentElement);
  };
}

/** Sliders that move a latent; its picture follows while they are dragged. @param {Given} given */
function slidersWidget({ data, parentElement, setStateValue }) {
  let own = mounted.get(parentElement);
  if (own?.address === data.address) return;
  own = { address: data.address, place: own?.place ?? placeIn(parentElement, "sliders"), busy: false, wanted: null };
  mounted.set(parentElement, own);
  own.place.innerHTML = '<div class="lf lf-moved"><img alt="The picture of the moved latent"><div class="lf-sliders"></div></div>';
  const picture = own.place.querySelector("img");
  const rows = own.place.querySelector(".lf-sliders");
  /** @type {HTMLInputElement[]} */
  const sliders = [];
  /** @type {string[]} */
  let levels = []; // of the 128 MIDI keys, while any sounds
  const ask = async () => {
    own.wanted = [...sliders.map((each) => each.value), ...levels].join(",");
    if (own.busy) return;
    own.busy = true;
    while (own.wanted !== null) {
      const values = own.wanted;
      own.wanted = null;
      const response = await fetch(`${data.address}?v=${values}`).catch(() => null);
      if (!response?.ok) continue;
      const before = picture.src;
      picture.src = URL.createObjectURL(await response.blob());
      if (before) setTimeout(() => URL.revokeObjectURL(before), 1000);
    }
    own.busy = false;
  };
  for (const { label, low, high, step, value } of data.sliders) {
    const row = document.createElement("label");
    row.className = "lf-slider";
    row.innerHTML = `<span></span><input type="range"><output></output>`;
    const [name, slider, output] = /** @type {[HTMLElement, HTMLInputElement, HTMLOutputElement]} */ ([...row.children]);
    name.textContent = label;
    Object.assign(slider, { min: low, max: high, step });
    slider.value = String(value);
    const write = () => (output.textContent = Number(slider.value).toFixed(2));
    slider.addEventListener("input", () => {
      write();
      void ask();
    });
    slider.addEventListener("change", () => setStateValue("values", sliders.map((each) => Number(each.value))));
    write();
    rows.append(row);
    sliders.push(slider);
  }
  const reset = document.createElement("button");
  reset.type = "button";
  reset.textContent = "Reset";
  reset.addEventListener("click", () => {
    sliders.forEach((slider, index) => {
      slider.value = String(data.sliders[index].value);
      slider.dispatchEvent(new Event("input"));
    });
    setStateValue("values", sliders.map((each) => Number(each.value)));
  });
  rows.append(reset);
  if (data.midi) own.midi = offerMidi(rows, sliders, (keys) => {
    levels = keys.size ? Array.from({ length: 128 }, (_, note) => (keys.get(note) ?? 0).toFixed(3)) : [];
    void ask();
  });
  void ask();
  return () => {
    own.midi?.stop();
    mounted.delete(parentElement);
  };
}

/**
 * A button that lets a MIDI controller move sliders and play keys.
 * @param {Element} rows @param {HTMLInputElement[]} sliders @param {(levels: Map<number, number>) => void} keys
 */
function offerMidi(rows, sliders, keys) {
  const button = Object.assign(document.createElement("button"), { type: "button", textContent: "MIDI" });
  button.title = "Faders move channels, keys directions";
  const state = document.createElement("p");
  state.setAttribute("role", "status");
  const midi = new LiveMidi({
    fader: (fader, value) => {
      const slider = sliders[fader];
      if (!slider) return;
      slider.value = String(value * Number(slider.max));
      slider.dispatchEvent(new Event("input"));
    },
    keys,
    say: (text) => (state.textContent = text),
  });
  button.addEventListener("click", () => void midi.connect());
  rows.append(button, state);
  return midi;
}

/** The page of an atlas; a click on a picture is told. @param {Given} given */
function atlasWidget({ data, parentElement, setStateValue }) {
  let own = mounted.get(parentElement);
  if (own?.address === data.address) return;
  const place = own?.place ?? placeIn(parentElement, "atlas");
  const frame = document.createElement("iframe");
  frame.title = "Atlas";
  frame.src = data.address;
  place.replaceChildren(frame);
  own?.end();
  const told = (/** @type {MessageEvent} */ event) => {
    if (event.source === frame.contentWindow && event.data?.latentflow === "picked") setStateValue("picked", event.data.name);
  };
  window.addEventListener("message", told);
  own = { address: data.address, place, end: () => window.removeEventListener("message", told) };
  mounted.set(parentElement, own);
  return () => {
    own.end();
    mounted.delete(parentElement);
  };
}
