/** The target: chosen, dropped, pasted, photographed or an example, and scaled as the command line scales it. */

import { ofDataAddress } from "./files.js";
import { keepFile } from "./memory.js";
import { becomes } from "./pictures.js";
import { acceptDrops, acceptFile, button, find, input, on, readPicture, say, select, trying } from "./ui.js";
import { offerExamples } from "./views.js";

/** @typedef {import("./studio.js").Studio} Studio */

const CROPPED = 0.8; // of a picture: less than that is said aloud

export class Targets {
  /**
   * @param {Studio} studio @param {() => unknown} changed
   * @param {(file: Blob) => unknown} takeLatent of a file that holds one
   */
  constructor(studio, changed, takeLatent) {
    this.studio = studio;
    this.changed = changed;
    this.newest = 0;
    /** @type {{file: Blob, name: string} | null} */
    this.asked = null; // what is being read
    const { sizes, defaults, examples } = studio.facts;
    for (const size of sizes) select("size").add(new Option(`${size} px`, `${size}`, false, size === defaults.size));
    const take = (/** @type {Blob} */ file, /** @type {string} */ name) =>
      name.endsWith(".safetensors") ? takeLatent(file) : this.take(file, name);
    this.takeAny = take;
    acceptFile(input("choose"), (file) => take(file, file.name));
    acceptDrops(find("target-drop", HTMLElement), take);
    on(document, "paste", (event) => {
      const file = [...(event.clipboardData?.files ?? [])][0];
      if (file) return this.take(file, "pasted");
    });
    on(select("size"), "change", () => this.again());
    connectCamera((file) => this.take(file, "photograph"));
    offerExamples("examples", studio, (file, name) => this.take(file, name));
    this.example = examples[0];
  }

  first() {
    return this.take(ofDataAddress(this.example.source), this.example.name);
  }

  /** @param {Blob} file @param {string} name */
  async take(file, name) {
    this.asked = { file, name };
    /** @type {unknown} */
    let following;
    const reading = this.read(file, name).then((isNew) => {
      if (isNew) following = this.changed();
      return isNew;
    });
    this.studio.targeted = reading.catch(() => {});
    if (await reading) void trying(() => keepFile(this.studio));
    await following;
  }

  /** The newest file once more, at another size; it may still be being read. */
  again() {
    const { file, name } = this.asked ?? this.studio.origin;
    return this.take(file, name);
  }

  /** Whether it became the target; not where another was chosen meanwhile. @param {Blob} file @param {string} name */
  async read(file, name) {
    const own = ++this.newest;
    const size = Number(select("size").value);
    const how = { size, stride: this.studio.facts.model.stride };
    const { picture, original, part, isAnimated } = await readPicture(this.studio.engine, file, how).catch((error) => {
      if (own === this.newest) this.asked = null;
      throw error;
    });
    if (own !== this.newest) return false;
    this.asked = null;
    this.studio.aim(picture, { name, file, note: becomes(original, picture, part) });
    const share = (part.width * part.height) / (original.width * original.height);
    const words = [];
    if (isAnimated) words.push("The picture moves: its first frame is the target.");
    if (share < CROPPED) words.push(`Only the middle ${Math.floor(100 * share)} % of the picture fit into ${picture.width} × ${picture.height} pixels.`);
    if (this.studio.engine.isLoaded || words.length) say(words.join(" "));
    return true;
  }
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
