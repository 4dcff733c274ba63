import assert from "node:assert/strict";
import test from "node:test";

import { Fields } from "../src/fields.js";

const FACTS = {
  losses: ["mse", "l1"],
  limits: { lr: { name: "The learning rate", above: 0 }, steps: { name: "The number of steps", min: 1, max: 2000, whole: true }, seed: { name: "A seed", min: 0, max: 4294967295, whole: true } },
};

/** The fields of a page, with these values, as far as they are used. */
function fields(values) {
  globalThis.HTMLElement = class {};
  for (const name of ["HTMLInputElement", "HTMLSelectElement"]) globalThis[name] = class extends HTMLElement {};
  const elements = {};
  for (const [id, options] of Object.entries({ size: ["64", "128"], method: ["gradient", "hybrid"], start: ["noise", "encode"] })) {
    elements[id] = Object.assign(new HTMLSelectElement(), { value: options[0], options: options.map((value) => ({ value })) });
  }
  const own = new Fields(FACTS);
  for (const id of own.numbers) {
    const slider = Object.assign(new HTMLInputElement(), { value: "" });
    elements[id] = Object.assign(new HTMLInputElement(), { value: values[id], validity: {}, setAttribute() {}, focus() {}, slider, parentElement: { querySelector: () => slider } });
    elements[`${id}-refusal`] = new HTMLElement();
  }
  globalThis.document = { getElementById: (id) => elements[id] };
  own.numbers.forEach((id) => own.check(id));
  return { own, elements };
}
const START = { lr: "0.1", steps: "100", seed: "5", "loss-mse": "1", "loss-l1": "0" };

test("the address has all settings, and gives them back", () => {
  const { own, elements } = fields(START);
  assert.equal(own.text(), "size=64&method=gradient&start=noise&lr=0.1&steps=100&seed=5&mse=1");
  const wanted = "size=128&method=hybrid&start=encode&lr=0.06&steps=7&seed=4294967295&l1=0.5";
  own.take(wanted);
  assert.equal(own.text(), wanted); // a loss that an address with others doesn't name has no weight
  assert.equal(elements["loss-l1"].slider.value, "0.5");
  own.take("seed=3");
  assert.equal(own.text(), wanted.replace("4294967295", "3"));
});

test("what can't be taken of an address is said, and the rest is taken", () => {
  const { own } = fields(START);
  assert.throws(() => own.take("size=65&steps=1.5&seed=-5&lr=0.2"), /no size 65.*from 1 to 2000, not 1\.5.*not -5/);
  assert.equal(own.text(), "size=64&method=gradient&start=noise&lr=0.2&steps=100&seed=5&mse=1");
});

test("a number that can't be taken is refused at its field, and the one before it counts", () => {
  const { own, elements } = fields(START);
  elements["loss-mse"].value = "-1";
  assert.throws(() => own.refuse(), /The weight of mse is a number of 0 or more, not -1/);
  assert.equal(elements["loss-mse-refusal"].textContent, "The weight of mse is a number of 0 or more, not -1.");
  assert.equal(own.number("loss-mse"), 1);
  elements.steps.validity.badInput = true;
  assert.match(own.check("steps"), /not what was typed/);
  elements.steps.validity.badInput = false;
  elements["loss-mse"].value = "0.25";
  own.refuse();
  assert.deepEqual([own.number("loss-mse"), elements["loss-mse-refusal"].textContent], [0.25, ""]);
});
