/** Painting on a latent: a channel is pushed where the pointer, a finger or the arrow keys are. */

import { copied, push, sameShape } from "./latents.js";
import { button, find, input, on, select } from "./ui.js";
import { changeable } from "./views.js";

/** @typedef {import("./studio.js").Studio} Studio */
/** @typedef {import("./latents.js").Latent} Latent */

export class Paint {
  /** @param {Studio} studio */
  constructor(studio) {
    this.studio = studio;
    this.isOpen = false;
    /** @type {Latent[]} */
    this.past = [];
    this.at = { row: 0.5, column: 0.5 };
    for (let channel = 0; channel < studio.facts.model.channels; channel++) {
      select("paint-channel").add(new Option(`${channel}`, `${channel}`));
    }
    this.listen(studio.canvas);
    on(button("paint-undo"), "click", () => this.undo());
    on(button("paint-target"), "click", async () => this.begin(await studio.engine.encode(studio.target)));
  }

  /** @param {HTMLCanvasElement} picture */
  listen(picture) {
    let down = false;
    on(picture, "pointerdown", (event) => {
      if (!this.isOpen) return;
      event.preventDefault();
      picture.setPointerCapture(event.pointerId);
      down = true;
      this.remember();
      return this.touch(event);
    });
    on(picture, "pointermove", (event) => {
      if (!this.isOpen) return;
      this.locate(event);
      if (down) return this.touch(event);
    });
    for (const end of ["pointerup", "pointercancel"]) {
      on(picture, end, (event) => {
        down = false;
        if (event.pointerType === "touch") this.hideBrush();
      });
    }
    on(picture, "pointerleave", () => !down && this.hideBrush());
    on(picture, "keydown", (event) => this.press(event));
  }

  /** @param {PointerEvent} event */
  locate(event) {
    const { left, top, width, height } = this.area();
    const { rows, columns } = this.studio.cells;
    this.at = { row: ((event.clientY - top) / height) * rows, column: ((event.clientX - left) / width) * columns };
    this.showBrush();
  }

  /** Where the picture lies within its element, which may be wider. */
  area() {
    const { canvas: picture } = this.studio;
    const box = picture.getBoundingClientRect();
    const scale = Math.min(box.width / picture.width, box.height / picture.height);
    const [width, height] = [picture.width * scale, picture.height * scale];
    return { left: box.left + (box.width - width) / 2, top: box.top + (box.height - height) / 2, width, height };
  }

  /** @param {PointerEvent} event */
  touch(event) {
    this.locate(event);
    return this.stroke(event.shiftKey);
  }

  /** @param {boolean} falling */
  async stroke(falling) {
    const latent = this.latent;
    if (!latent) return;
    const amount = (Number(input("paint-amount").value) * (falling ? -1 : 1)) / 4; // a drag passes a cell several times
    push(latent, Number(select("paint-channel").value), this.at.row, this.at.column, amount, Number(input("paint-radius").value));
    await this.studio.show(copied(latent));
  }

  /** @param {KeyboardEvent} event */
  press(event) {
    if (!this.isOpen) return;
    const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    const { rows, columns } = this.studio.cells;
    if (event.key in moves) {
      const [down, across] = moves[/** @type {keyof typeof moves} */ (event.key)];
      const within = (/** @type {number} */ value, /** @type {number} */ count) => Math.min(count - 0.5, Math.max(0.5, value));
      this.at = { row: within(this.at.row + down, rows), column: within(this.at.column + across, columns) };
      this.showBrush();
    } else if (event.key === " ") {
      this.remember();
      void this.stroke(event.shiftKey);
    } else return;
    event.preventDefault();
  }

  showBrush() {
    const brush = find("brush", HTMLElement);
    const frame = find("frame", HTMLElement).getBoundingClientRect();
    const { left, top, width, height } = this.area();
    const { rows, columns } = this.studio.cells;
    const size = (2 * Number(input("paint-radius").value) * width) / columns;
    Object.assign(brush.style, {
      left: `${left - frame.left + (this.at.column / columns) * width}px`,
      top: `${top - frame.top + (this.at.row / rows) * height}px`,
      width: `${size}px`,
      height: `${size}px`,
    });
    brush.hidden = false;
  }

  hideBrush() {
    find("brush", HTMLElement).hidden = true;
  }

  remember() {
    if (this.latent) this.past.push(copied(this.latent));
    this.refresh();
  }

  refresh() {
    button("paint-undo").disabled = !this.past.length;
  }

  async undo() {
    const before = this.past.pop();
    this.refresh();
    if (before) {
      this.latent = before;
      await this.studio.show(copied(before));
    }
  }

  /** Goes on from a latent; what was painted before can be brought back where it has the same shape. @param {Latent} latent */
  async begin(latent) {
    const same = this.latent?.values.every((value, index) => value === latent.values[index]);
    if (!same) this.remember();
    this.past = this.past.filter((each) => sameShape(each, latent));
    this.latent = copied(latent);
    this.refresh();
    await this.studio.show(copied(latent));
  }

  async enter() {
    const { canvas: picture } = this.studio;
    picture.classList.add("paintable");
    picture.tabIndex = 0;
    const { rows, columns } = this.studio.cells;
    this.at = { row: Math.floor(rows / 2) + 0.5, column: Math.floor(columns / 2) + 0.5 };
    const latent = await changeable(this.studio);
    if (this.isOpen) await this.begin(latent);
  }

  leave() {
    this.studio.canvas.classList.remove("paintable");
    this.studio.canvas.tabIndex = -1;
    this.hideBrush();
  }

  /** Every stroke. */
  moving() {
    return this.latent ? [...this.past, this.latent] : [];
  }
}
