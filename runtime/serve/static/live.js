// What the line does now: the newest part, its pictures, today's numbers, the trend, the parts before it.

import * as api from "./api.js";
import { trendChart } from "./chart.js";
import { h } from "./dom.js";
import { operatorButtons } from "./operator.js";
import { figure, picture } from "./pictures.js";
import { count, moment, number, percent, text } from "./strings.js";
import { gauge, scoreLine, sign } from "./verdict.js";

const RECENT = 14;
const TREND = 120;
/** The trend is fetched again at most this often, milliseconds. */
const TREND_PAUSE = 1000;

/** openDetail(decision) shows one part; judged(decision) is told of an operator's verdict. */
export function liveView(section, { openDetail, judged }) {
  let shown = null; // on the screen
  let newest = []; // newest first
  let missed = 0; // newer ones that came while held
  let held = false;
  let followed = null; // category on the trend; null follows the line
  let categories = [];
  let drawn = { points: [], category: "" };
  let trendTimer = null;
  let trendDue = 0;

  const heading = h("h1", { class: "word" });
  const shape = h("div", { class: "shape" });
  const facts = h("div", { class: "facts" });
  const panel = h("div", { class: "verdict waiting" }, h("div", { class: "headline" }, shape, heading), facts);
  const heard = h("p", { class: "unseen", role: "status" });
  const holdButton = h("button", { type: "button", class: "hold", "aria-pressed": "false", onclick: () => hold(!held) }, text("hold"));
  const operator = operatorButtons(judged, { extra: holdButton });
  const views = h("div", { class: "views" });
  const mapButton = h("button", { type: "button", class: "small", "aria-pressed": "true", onclick: () => {
    mapButton.setAttribute("aria-pressed", String(mapButton.getAttribute("aria-pressed") !== "true"));
    drawViews();
  } }, text("showMap"));
  const tiles = h("dl", { class: "tiles", "aria-label": text("today") });
  const select = h("select", { onchange: () => { followed = select.value || null; fetchTrend(); } });
  const chart = h("div", { class: "chart-box" });
  const strip = h("ol", { class: "strip" });

  section.append(
    h("div", { class: "live" },
      h("div", { class: "decision" }, panel, heard, operator.element),
      views,
      h("div", { class: "card numbers" }, h("h2", {}, text("today")), tiles),
      h("div", { class: "card trend" },
        h("div", { class: "card-top" }, h("h2", {}, text("trend")), h("label", {}, h("span", { class: "unseen" }, text("trendOf")), select)),
        chart),
      h("div", { class: "card recent" }, h("h2", { class: "unseen" }, text("recent")), strip)));

  function show(decision) {
    shown = decision;
    panel.className = `verdict ${decision.verdict}`;
    shape.replaceChildren(sign(decision.verdict));
    heading.textContent = text(decision.verdict);
    const bar = gauge(decision);
    facts.replaceChildren(
      h("p", { class: "what" }, decision.category, " · ", h("time", { datetime: decision.time }, moment(decision.time))),
      ...(bar ? [bar] : []), h("p", {}, scoreLine(decision)));
    heard.textContent = text("heard", { verdict: text(decision.verdict), category: decision.category, score: scoreLine(decision) });
    operator.show(decision);
    drawViews();
  }

  function drawViews() {
    if (!shown) {
      views.replaceChildren();
      return;
    }
    const mapped = mapButton.getAttribute("aria-pressed") === "true" && shown.pictures.map;
    const open = (kind, options, extra) => {
      const one = figure(shown, kind, options, extra);
      const decision = shown;
      one.prepend(h("button", { type: "button", class: "cover", "aria-label": text("enlarge"), onclick: () => openDetail(decision) }));
      return one;
    };
    const left = open(mapped ? "map" : "image", { outlined: true }, shown.pictures.map ? mapButton : null);
    views.replaceChildren(left, open("inpainted"));
  }

  function wait() {
    panel.className = "verdict waiting";
    shape.replaceChildren();
    heading.textContent = text("waiting");
    facts.replaceChildren(h("p", {}, text("waitingHint")));
  }

  function drawStrip() {
    strip.replaceChildren(...newest.slice(0, RECENT).map((decision) => h("li", {},
      h("button", {
        type: "button", class: `thumb ${decision.verdict}`,
        "aria-label": `${text(decision.verdict)}, ${decision.category}, ${moment(decision.time)}`,
        onclick: () => openDetail(decision),
      }, picture(decision, "map" in decision.pictures && decision.verdict === "bad" ? "map" : "image"), sign(decision.verdict)))));
    if (!newest.length) strip.append(h("li", { class: "soft" }, text("recentEmpty")));
  }

  function hold(wanted) {
    held = wanted;
    missed = 0;
    holdButton.setAttribute("aria-pressed", String(held));
    holdButton.textContent = text(held ? "release" : "hold");
    if (!held && newest.length) show(newest[0]);
  }

  function drawCounts(status) {
    const counts = status.counts;
    const tile = (label, value, kind = "") => h("div", { class: `tile ${kind}` }, h("dt", {}, text(label)), h("dd", {}, value));
    tiles.replaceChildren(
      tile("inspected", count(counts.total)), tile("goodParts", count(counts.good), "good"),
      tile("badParts", count(counts.bad), "bad"),
      counts.undecided ? tile("undecidedParts", count(counts.undecided), "undecided") : "",
      tile("yield", percent(counts.yield)),
      tile("queue", text("queueOf", { length: count(status.queue.length), limit: count(status.queue.limit) })));
  }

  function drawChoices() {
    const line = newest[0]?.category ?? categories[0] ?? text("none");
    select.replaceChildren(
      h("option", { value: "" }, text("trendFollow", { category: line })),
      ...categories.map((name) => h("option", { value: name, selected: name === followed }, name)));
  }

  async function fetchTrend() {
    const category = followed ?? newest[0]?.category ?? categories[0];
    if (!category) return;
    try {
      const points = await api.trend(category, TREND);
      drawTrend({ points, category });
    } catch { /* the connection's own alarm tells */ }
  }

  function drawTrend(wanted) {
    drawn = wanted;
    const { points, category } = wanted;
    chart.replaceChildren(points.length
      ? trendChart(points, category, chart.clientWidth || 600, chart.clientHeight || 136)
      : h("p", { class: "soft" }, text("trendEmpty")));
  }
  new ResizeObserver(() => drawTrend(drawn)).observe(chart);

  /** Fetch soon, but not once a part on a fast line. */
  function trendSoon() {
    if (trendTimer !== null) return;
    trendTimer = setTimeout(() => {
      trendTimer = null;
      trendDue = Date.now() + TREND_PAUSE;
      fetchTrend();
    }, Math.max(0, trendDue - Date.now()));
  }

  wait();
  drawStrip();

  return {
    decision(decision) {
      newest = [decision, ...newest].slice(0, RECENT);
      if (held) {
        missed += 1;
        holdButton.textContent = text("releaseNewer", { count: count(missed) });
      } else {
        show(decision);
      }
      drawStrip();
      if (followed === null) drawChoices();
      trendSoon();
    },
    changed(decision) {
      newest = newest.map((one) => (one.record_id === decision.record_id ? decision : one));
      if (shown?.record_id === decision.record_id) {
        shown = decision;
        operator.show(decision);
      }
    },
    status(status) {
      categories = [...new Set(status.products.flatMap((product) => Object.keys(product.categories)))];
      drawCounts(status);
      if (document.activeElement !== select) drawChoices();
    },
    /** After the connection came (back): what happened meanwhile. */
    async catchUp() {
      const { records } = await api.records({ limit: RECENT });
      newest = records;
      drawStrip();
      drawChoices();
      if (!held && newest.length && newest[0].record_id !== shown?.record_id) show(newest[0]);
      trendSoon();
    },
  };
}
