/** The settings of a run: what is typed and chosen, refused where it doesn't fit, and kept in the page's address. */

import { complaint } from "./numbers.js";
import { find, input, on, select } from "./ui.js";

/** @typedef {import("./studio.js").Facts} Facts */

const CHOICES = ["size", "method", "start"];

export class Fields {
  /** @param {Facts} facts */
  constructor(facts) {
    this.facts = facts;
    /** @type {Record<string, string>} */
    this.valid = {}; // the newest value of each number that could be taken
    this.numbers = [...Object.keys(facts.limits), ...facts.losses.map((name) => `loss-${name}`)];
  }

  /** @param {string} id */
  limits(id) {
    return this.facts.limits[id] ?? { name: `The weight of ${id.slice("loss-".length)}`, min: 0 };
  }

  /** Watches the fields of numbers, once they are there. */
  watch() {
    for (const id of this.numbers) {
      const words = document.createElement("p");
      [words.className, words.id] = ["refusal", `${id}-refusal`];
      words.setAttribute("role", "alert");
      input(id).closest(".field")?.after(words);
      input(id).setAttribute("aria-describedby", words.id);
      on(input(id), "input", () => this.check(id));
      this.check(id);
    }
  }

  /** Shows at a field what is wrong with it. @param {string} id @returns {string} */
  check(id) {
    const text = input(id).validity.badInput ? "what was typed" : input(id).value;
    const wrong = complaint(text, this.limits(id));
    if (!wrong) this.valid[id] = text;
    find(`${id}-refusal`, HTMLElement).textContent = wrong;
    input(id).setAttribute("aria-invalid", String(Boolean(wrong)));
    return wrong;
  }

  /** A number, the newest that could be taken. @param {string} id */
  number(id) {
    return Number(this.valid[id]);
  }

  /** Throws where a number can't be taken, and leads there. */
  refuse() {
    const wrong = this.numbers.find((id) => this.check(id));
    if (!wrong) return;
    input(wrong).focus();
    throw new Error(this.check(wrong));
  }

  /** @param {string} id @param {string} value */
  set(id, value) {
    input(id).value = value;
    const slider = input(id).parentElement?.querySelector("input[type=range]");
    if (slider instanceof HTMLInputElement) slider.value = value;
    this.check(id);
  }

  /** All settings as the address has them: size=64&method=hybrid&seed=7&… @returns {string} */
  text() {
    const { facts } = this;
    const all = CHOICES.map((id) => [id, select(id).value]);
    for (const id of Object.keys(facts.limits)) all.push([id, this.valid[id]]);
    for (const name of facts.losses) if (this.number(`loss-${name}`) > 0) all.push([name, this.valid[`loss-${name}`]]);
    return String(new URLSearchParams(all));
  }

  /** Takes settings of an address; throws what can't be taken, once the rest is. @param {URLSearchParams | string} text */
  take(text) {
    const given = new URLSearchParams(text);
    const problems = [];
    const hasLoss = this.facts.losses.some((name) => given.has(name));
    for (const id of CHOICES) {
      const value = given.get(id);
      if (value === null) continue;
      if ([...select(id).options].some((option) => option.value === value)) select(id).value = value;
      else problems.push(`The page has no ${id} ${value}.`);
    }
    for (const id of this.numbers) {
      const name = id.replace(/^loss-/, "");
      const value = given.get(name) ?? (hasLoss && name !== id ? "0" : null);
      if (value === null) continue;
      const wrong = complaint(value, this.limits(id));
      if (wrong) problems.push(wrong);
      else this.set(id, value);
    }
    if (problems.length) throw new Error(`Of the address: ${problems.join(" ")}`);
  }

  /** Writes the settings into the address. @param {string} tab */
  publish(tab) {
    const words = tab === "flow" ? this.text() : `${this.text()}&tab=${tab}`;
    history.replaceState(history.state, "", `#${words}`);
  }
}
