/** Numbers that people type, and how they are rounded. */

/** @typedef {{name: string, above?: number, min?: number, max?: number, whole?: boolean}} Limits of a number that is typed */

/** As Python's round: halves go to the even neighbor. @param {number} value */
export function roundedToEven(value) {
  const whole = Math.round(value);
  return whole - value === 0.5 && whole % 2 ? whole - 1 : whole;
}

/** The limits as words, such as "a whole number from 1 to 2000". @param {Limits} limits */
function wanted({ above, min, max, whole }) {
  const kind = whole ? "a whole number" : "a number";
  if (above !== undefined) return `${kind} above ${above}`;
  return max === undefined ? `${kind} of ${min} or more` : `${kind} from ${min} to ${max}`;
}

/** What is wrong with a number as it was typed; empty if nothing is. @param {string} text @param {Limits} limits */
export function complaint(text, limits) {
  const { name, above = -Infinity, min = -Infinity, max = Infinity, whole } = limits;
  const value = Number(text);
  const fits = text.trim() !== "" && Number.isFinite(value) && value > above && value >= min && value <= max;
  if (fits && (!whole || Number.isInteger(value))) return "";
  return `${name} is ${wanted(limits)}${text.trim() ? `, not ${text.trim()}` : ""}.`;
}

/** Short, with three or four digits. @param {number} value */
export const shown = (value) => (value === 0 || (Math.abs(value) >= 1e-3 && Math.abs(value) < 1e4) ? value.toPrecision(4) : value.toExponential(2));
