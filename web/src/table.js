/** The figures of a run as tables: for screen readers, and for other programs. */

/** @typedef {import("./flow.js").Kept} Kept */

const ROWS = 10; // every so many steps one

/** Writes every tenth step, and the last. @param {HTMLTableElement} table @param {Kept[]} frames */
export function tabulate(table, frames) {
  const body = table.tBodies[0];
  const rows = frames.filter((frame, index) => index % ROWS === 0 || index === frames.length - 1);
  if (body.rows.length > rows.length) body.replaceChildren();
  rows.forEach((frame, index) => {
    const row = body.rows[index] ?? body.insertRow();
    const text = [frame.index, frame.loss.toPrecision(9), frame.psnr.toPrecision(9)];
    text.forEach((value, column) => ((row.cells[column] ?? row.insertCell()).textContent = String(value)));
  });
}

/** All steps, with each loss. @param {Kept[]} frames @param {string[]} losses */
export function csv(frames, losses) {
  const head = ["step", "loss", "psnr", ...losses].join(",");
  const rows = frames.map((frame) => [frame.index, frame.loss, frame.psnr, ...(frame.losses ?? [])].join(","));
  return `${[head, ...rows].join("\n")}\n`;
}
