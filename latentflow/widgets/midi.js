/** A keyboard or a controller at work, by Web MIDI: faders one after the other, and keys that rise and fade. */

const ATTACK = 0.02; // seconds that a key takes to rise
const RELEASE = 0.4; // and to fade
const PEDAL = 64;
const SOUND_OFF = 120; // controllers from here on are commands
const RESET = 121;
const NOTES_OFF = 123; // this one, and the modes after it

/**
 * @typedef {object} Heard what is told: `fader` the number of a fader, counted as they are first moved, and its value in
 *   [-1, 1]; `keys` the levels in [0, 1] of the keys that sound, whenever they change; `say` a sentence
 * @property {(fader: number, value: number) => void} fader
 * @property {(levels: Map<number, number>) => void} keys
 * @property {(text: string) => void} say
 */

export class LiveMidi {
  /** @param {Heard} heard */
  constructor(heard) {
    this.heard = heard;
    /** @type {Map<string, number>} */
    this.faders = new Map();
    /** @type {Map<number, {goal: number, level: number, down: boolean, rate: number}>} */
    this.notes = new Map();
    this.pedal = false;
    this.before = 0;
    this.frame = 0;
    /** @type {any} */
    this.access = null;
  }

  /** Asks the browser for the devices, and listens to all of them, also to those that are plugged in later. */
  async connect() {
    const browser = /** @type {any} */ (navigator);
    if (!browser.requestMIDIAccess) {
      this.heard.say("This browser has no Web MIDI.");
      return;
    }
    try {
      this.access = await browser.requestMIDIAccess();
    } catch {
      this.heard.say("The browser doesn't let this page use MIDI.");
      return;
    }
    this.access.onstatechange = () => this.listen();
    this.listen();
  }

  listen() {
    const inputs = [...this.access.inputs.values()];
    for (const each of inputs) each.onmidimessage = (/** @type {{data: Uint8Array}} */ event) => this.take(event.data);
    const names = inputs.map((each) => each.name || "a device").join(", ");
    this.heard.say(names ? `MIDI: ${names}. Faders move channels, keys directions.` : "MIDI: no device is connected.");
  }

  /** Ends all of it. */
  stop() {
    if (this.access) {
      this.access.onstatechange = null;
      for (const each of this.access.inputs.values()) each.onmidimessage = null;
    }
    cancelAnimationFrame(this.frame);
    this.frame = 0;
    this.access = null;
    this.notes.clear();
  }

  /** Takes one message. @param {ArrayLike<number>} data */
  take(data) {
    const [status, first, second] = [data[0] & 0xf0, data[1] ?? 0, data[2] ?? 0];
    if (status === 0x90 && second > 0) this.press(first, second / 127);
    else if (status === 0x90 || status === 0x80) this.release(first);
    else if (status === 0xe0) this.move("bend", (second * 128 + first) / 8192 - 1);
    else if (status === 0xb0 && first === PEDAL) this.step(second >= 64);
    else if (status === 0xb0 && first >= SOUND_OFF) this.command(first);
    else if (status === 0xb0) this.move(`${first}`, Math.max(-1, (second - 64) / 63));
  }

  /** Obeys a command, as files are read. @param {number} number */
  command(number) {
    if (number === SOUND_OFF) for (const held of this.notes.values()) this.end(held);
    else if (number === RESET) this.step(false);
    else if (number >= NOTES_OFF) for (const note of this.notes.keys()) this.release(note);
    if (number === RESET && this.faders.has("bend")) this.move("bend", 0);
  }

  /** @param {string} name @param {number} value */
  move(name, value) {
    const fader = this.faders.get(name) ?? this.faders.size;
    this.faders.set(name, fader);
    this.heard.fader(fader, value);
  }

  /** @param {number} note @param {number} goal */
  press(note, goal) {
    const level = this.notes.get(note)?.level ?? 0;
    this.notes.set(note, { goal, level, down: true, rate: goal / ATTACK });
    this.animate();
  }

  /** @param {number} note */
  release(note) {
    const held = this.notes.get(note);
    if (!held) return;
    held.down = false;
    if (!this.pedal) this.fade(held);
  }

  /** Lets go of a key whatever the pedal does. @param {{goal: number, level: number, down: boolean, rate: number}} held */
  end(held) {
    held.down = false;
    if (held.goal > 0) this.fade(held);
  }

  /** From where it is to 0 in RELEASE. @param {{goal: number, level: number, rate: number}} held */
  fade(held) {
    held.rate = held.level / RELEASE;
    held.goal = 0;
    this.animate();
  }

  /** @param {boolean} pedal */
  step(pedal) {
    this.pedal = pedal;
    if (!pedal) for (const held of this.notes.values()) if (!held.down && held.goal > 0) this.fade(held);
  }

  animate() {
    if (this.frame) return;
    this.before = performance.now();
    const turn = () => {
      const now = performance.now();
      const moving = this.advance((now - this.before) / 1000);
      this.before = now;
      this.frame = moving ? requestAnimationFrame(turn) : 0;
    };
    this.frame = requestAnimationFrame(turn);
  }

  /** Moves all levels on and tells them; whether any is still on its way. @param {number} seconds */
  advance(seconds) {
    let moving = false;
    for (const [note, held] of this.notes) {
      const by = held.rate * seconds;
      held.level = held.level < held.goal ? Math.min(held.goal, held.level + by) : Math.max(held.goal, held.level - by);
      if (held.level !== held.goal) moving = true;
      else if (held.level === 0) this.notes.delete(note);
    }
    this.heard.keys(new Map([...this.notes].map(([note, { level }]) => [note, level])));
    return moving;
  }
}
