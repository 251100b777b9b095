// The trend of scores with their limit, drawn as SVG.

import { s } from "./dom.js";
import { count, moment, number, text } from "./strings.js";

const LEFT = 46;
const RIGHT = 12;
const TOP = 14;
const BOTTOM = 24;

/** A round step that makes about `wanted` lines up to `top`. */
export function step(top, wanted) {
  const rough = top / wanted;
  const power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
}

/**
 * points: oldest first, {time, score, threshold, verdict}; width and height in CSS pixels.
 * Good ones are dots, bad ones crosses, others diamonds.
 */
export function trendChart(points, category, width, height) {
  const bad = points.filter((point) => point.verdict === "bad").length;
  const label = text("trendLabel", {
    count: count(points.length), category, bad: count(bad), newest: number(points.at(-1)?.score) });
  const chart = s("svg", { viewBox: `0 0 ${width} ${height}`, width, height, class: "chart", role: "img", "aria-label": label });
  if (!points.length) return chart;
  const top = 1.1 * Math.max(...points.map((point) => Math.max(point.score, point.threshold ?? 0))) || 1;
  const x = (index) => LEFT + (width - LEFT - RIGHT) * (points.length === 1 ? 1 : index / (points.length - 1));
  const y = (score) => height - BOTTOM - (height - TOP - BOTTOM) * (score / top);

  const gap = step(top, 4);
  for (let value = 0; value <= top; value += gap) {
    chart.append(
      s("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value) }),
      s("text", { x: LEFT - 8, y: y(value) + 4, "text-anchor": "end" }, number(value)));
  }
  chart.append(
    s("text", { x: LEFT, y: height - 6 }, moment(points[0].time)),
    s("text", { x: width - RIGHT, y: height - 6, "text-anchor": "end" }, moment(points.at(-1).time)));

  // the limit as steps: a new bundle may have another one; a gap where there is none
  let limit = "";
  points.forEach(({ threshold }, index) => {
    if (threshold == null) return;
    const joined = index > 0 && points[index - 1].threshold != null;
    if (!joined) limit += `M${index ? x(index) : LEFT} ${y(threshold)}`;
    else if (points[index - 1].threshold !== threshold) limit += `H${x(index)}V${y(threshold)}`;
    limit += `H${x(index)}`;
  });
  chart.append(s("path", { class: "limit", d: limit }));
  chart.append(s("path", { class: "line", d: points.map((p, i) => `${i ? "L" : "M"}${x(i).toFixed(1)} ${y(p.score).toFixed(1)}`).join("") }));
  const size = points.length > 120 ? 2 : 3.2;
  points.forEach((point, index) => chart.append(marker(point, x(index), y(point.score), size)));
  const last = points.at(-1);
  if (last.threshold != null) {
    chart.append(s("text", { class: "limit-label", x: LEFT + 6, y: y(last.threshold) - 6 },
      text("trendLimit", { limit: number(last.threshold) })));
  }
  return chart;
}

function marker(point, x, y, size) {
  const title = s("title", {}, `${moment(point.time)}: ${number(point.score)}, ${text(point.verdict)}`);
  const r = size * 1.4;
  if (point.verdict === "bad") {
    return s("path", { class: "bad", d: `M${x - r} ${y - r}l${2 * r} ${2 * r}m0 ${-2 * r}l${-2 * r} ${2 * r}` }, title);
  }
  if (point.verdict === "good") return s("circle", { class: "good", cx: x, cy: y, r: size }, title);
  return s("path", { class: "undecided", d: `M${x} ${y - r}l${r} ${r}l${-r} ${r}l${-r} ${-r}z` }, title);
}
