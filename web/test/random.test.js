import assert from "node:assert/strict";
import test from "node:test";

import { normal } from "../src/random.js";

const near = (found, wanted, by) =>
  wanted.forEach((value, index) => assert.ok(Math.abs(found[index] - value) < by, `${found[index]} is not ${value}`));

// what torch.randn(n, generator=torch.Generator().manual_seed(seed)) gives
test("noise is torch's", () => {
  const values = normal(32, 3);
  near(values, [-0.076644, 0.359882, -0.782017, 0.071528, 0.664839, -0.286780], 2e-6);
  near(values.slice(28), [0.997922, 0.459180, 2.436397, -0.146808], 2e-6);
});

test("the rest beyond sixteens is drawn anew, as torch does", () => {
  const values = normal(37, 7);
  near(values, [-0.820135, 0.395631, 0.898908, -1.388404], 2e-6);
  near(values.slice(32), [-1.637021, 0.157712, 0.395741, -1.367740, -0.100734], 2e-6);
});

test("the largest seed is one, and the state is refilled", () => {
  const values = normal(1024, 4294967295);
  near([values.reduce((sum, value) => sum + value)], [2.9235], 1e-3);
  near([values[1000]], [0.107356], 2e-6);
});
