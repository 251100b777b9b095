// One part with everything that is known of it, in a dialog.

import { h } from "./dom.js";
import { operatorButtons } from "./operator.js";
import { figure } from "./pictures.js";
import { moment, number, seconds, text } from "./strings.js";
import { badge, gauge, scoreLine } from "./verdict.js";

/** The facts of a decision as a list of terms. */
function facts(decision) {
  const rows = [
    ["time", moment(decision.time)],
    ["category", decision.category],
    ["product", decision.product],
    ["source", decision.source],
    ["duration", decision.times.total == null ? null : seconds(decision.times.total)],
    ["drift", decision.drift == null ? null : text(decision.drift ? "driftYes" : "driftNo")],
    ["defect", decision.defect == null ? null : `${decision.defect} (${Math.round(100 * decision.defect_probability)} %)`],
    ["plan", decision.plan],
    ["decidedBy", decision.stage == null ? null : text(decision.stage === "prototypes" ? "byPrototypes" : "byInpainting")],
    ["record", decision.record_id],
    ["bundle", decision.bundle_sha256.slice(0, 16)],
  ];
  const list = h("dl", { class: "terms" });
  for (const [key, value] of rows) if (value) list.append(h("dt", {}, text(key)), h("dd", {}, value));
  return list;
}

function regions(decision) {
  if (!decision.regions.length) return null;
  return h("details", {}, h("summary", {}, `${text("regions")} (${decision.regions.length})`),
    h("ul", { class: "plain" }, decision.regions.slice(0, 50).map((region) =>
      h("li", {}, `${text("region", region)} · ${text("score").toLowerCase()} ${number(region.peak)}`))));
}

function stages(decision) {
  const steps = Object.entries(decision.times).filter(([name]) => name !== "total");
  if (!steps.length) return null;
  return h("details", {}, h("summary", {}, text("stages")),
    h("ul", { class: "plain" }, steps.map(([name, value]) => h("li", {}, `${name} ${seconds(value)}`))));
}

/** A decision in full. Returns { element, show(decision) }; judged as in `operatorButtons`. */
export function fullDecision(judged) {
  const operator = operatorButtons(judged, { withNote: true });
  const top = h("div", { class: "full-top" });
  const views = h("div", { class: "views three" });
  const rest = h("div", { class: "full-rest" });
  const element = h("div", { class: "full" }, top, views, operator.element, rest);
  let shown = null;
  return {
    element,
    show(decision) {
      operator.show(decision);
      if (shown === decision.record_id) return; // only an operator's verdict can have changed
      shown = decision.record_id;
      const bar = gauge(decision);
      top.replaceChildren(badge(decision.verdict), h("span", {}, scoreLine(decision)), ...(bar ? [bar] : []));
      views.replaceChildren(
        figure(decision, "image", { outlined: true }), figure(decision, "map"), figure(decision, "inpainted"));
      rest.replaceChildren(...[facts(decision), regions(decision), stages(decision)].filter(Boolean));
    },
  };
}

/** Returns { open(decision), changed(decision) }. */
export function detailDialog(dialog, judged) {
  const full = fullDecision(judged);
  let shown = null;
  const close = h("button", { type: "button", class: "icon-button close", "aria-label": text("close"), onclick: () => dialog.close() }, "✕");
  dialog.append(close, full.element);
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); }); // beside it
  return {
    open(decision) {
      shown = decision;
      full.show(decision);
      if (!dialog.open) dialog.showModal();
      dialog.scrollTop = 0;
    },
    changed(decision) {
      if (shown?.record_id === decision.record_id) full.show((shown = decision));
    },
  };
}
