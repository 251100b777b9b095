// A verdict, told by colour, shape and word: a tick in a circle, a cross in an octagon, a question mark in a diamond.

import { h, s } from "./dom.js";
import { number, text } from "./strings.js";

const OUTLINE = {
  good: () => s("circle", { cx: 32, cy: 32, r: 28 }),
  bad: () => s("path", { d: "M21 4h22l17 17v22L43 60H21L4 43V21z" }),
  undecided: () => s("path", { d: "M32 3l29 29-29 29L3 32z" }),
};
const SIGN = {
  good: "M19 33l9.5 9.5L46 24",
  bad: "M22 22l20 20M42 22L22 42",
  undecided: "M25 26c0-5 3.200-8 7.500-8s7.500 3 7.500 7c0 5.500-7.500 6-7.500 12M32.500 45v.5",
};

/** The shape alone. It is decoration: the word always stands beside it or is the name of what holds it. */
export function sign(verdict) {
  return s("svg", { viewBox: "0 0 64 64", class: `sign ${verdict}`, "aria-hidden": "true" },
    OUTLINE[verdict](), s("path", { class: "mark", d: SIGN[verdict] }));
}

/** Shape and word in one line. */
export const badge = (verdict) => h("span", { class: `badge ${verdict}` }, sign(verdict), text(verdict));

/** The score in words, with the limit. */
export function scoreLine(decision) {
  const values = { score: number(decision.score), limit: number(decision.threshold) };
  if (decision.threshold == null) return text("scoreOnly", values);
  return text(decision.score >= decision.threshold ? "limitOver" : "limitUnder", values);
}

/** Where the score stands between 0 and twice the limit; nothing without a limit. */
export function gauge(decision) {
  if (decision.threshold == null) return null;
  const part = decision.normalised ?? decision.score / (2 * decision.threshold || 1);
  const x = 100 * Math.min(1, Math.max(0, part));
  return s("svg", { viewBox: "0 0 100 10", preserveAspectRatio: "none", class: "gauge", "aria-hidden": "true" },
    s("rect", { class: "track", x: 0, y: 3, width: 100, height: 4, rx: 2 }),
    s("rect", { class: "value", x: 0, y: 3, width: x, height: 4 }),
    s("rect", { class: "limit", x: 49.6, y: 0, width: 0.8, height: 10 }));
}
