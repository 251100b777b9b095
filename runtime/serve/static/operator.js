// The operator's verdict in one press.

import * as api from "./api.js";
import { h } from "./dom.js";
import { text } from "./strings.js";
import { sign } from "./verdict.js";

/**
 * Two buttons that say what the part really is, for the decision that `current()` gives.
 * Returns { element, show(decision) }; `judged(decision)` is called with the changed record. extra: stands beside the
 * question.
 */
export function operatorButtons(judged, { withNote = false, extra = null } = {}) {
  let shown = null;
  let aimed = null; // what was on the screen when the finger came down: a new part may arrive before it lifts
  const message = h("p", { role: "status" }, text("ask")); // the question, then the answer
  const note = withNote ? h("input", { type: "text", maxlength: 2000, placeholder: text("noteHint") }) : null;

  const say = async (decision, verdict) => {
    if (!decision) return;
    try {
      const changed = await api.judge(decision.record_id, verdict, note ? note.value : decision.note);
      if (shown?.record_id === changed.record_id) show(changed);
      judged(changed);
    } catch (error) {
      message.textContent = text("failed", { reason: error.message });
    }
  };
  const button = (verdict, label) => h("button", {
    type: "button", class: `choice ${verdict}`, "data-verdict": verdict,
    onpointerdown: () => { aimed = shown; },
    onclick: (event) => { // without a finger, from the keyboard (detail 0), `aimed` is of one that slid off long ago
      const decision = event.detail && aimed ? aimed : shown;
      aimed = null;
      say(decision, verdict);
    },
  }, sign(verdict), text(label));
  const buttons = [button("good", "isGood"), button("bad", "isBad")];
  const element = h("div", { class: "operator", role: "group", "aria-label": text("ask") },
    h("div", { class: "ask-row" }, message, extra), h("div", { class: "choices" }, buttons));
  if (note) {
    const save = h("button", { type: "button", onclick: () => say(shown, shown.operator_verdict) }, text("saveNote"));
    element.append(h("div", { class: "note" }, h("label", {}, text("note"), note), save));
    element.saveNote = save;
  }

  function show(decision) {
    const same = shown?.record_id === decision?.record_id;
    shown = decision;
    for (const one of buttons) {
      one.disabled = !decision;
      one.setAttribute("aria-pressed", String(decision?.operator_verdict === one.dataset.verdict));
    }
    const said = decision?.operator_verdict;
    message.textContent = !said ? text("ask") : text(said === decision.verdict ? "agrees" : "corrected", { verdict: text(said) });
    if (note) {
      if (!same) note.value = decision?.note ?? "";
      element.saveNote.disabled = !said; // a note goes with a verdict
    }
  }
  show(null);
  return { element, show };
}
