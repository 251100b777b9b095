// The records, with filters.

import * as api from "./api.js";
import { h } from "./dom.js";
import { picture } from "./pictures.js";
import { count, moment, number, text } from "./strings.js";
import { badge, sign } from "./verdict.js";

const PAGE = 40;

export function historyView(section, { openDetail }) {
  let next = null;
  let rows = new Map(); // record id to its row
  let newer = 0;
  let asked = 0; // the newest question: an older one's answer is thrown away

  const category = h("select", { name: "category" });
  const verdict = h("select", { name: "verdict" },
    h("option", { value: "" }, text("all")),
    ["bad", "good", "undecided"].map((name) => h("option", { value: name }, text(name))),
    h("option", { value: "corrected" }, text("correctedFilter")));
  const since = h("input", { type: "datetime-local", name: "since" });
  const until = h("input", { type: "datetime-local", name: "until" });
  const clear = h("button", { type: "button", onclick: () => { form.reset(); load(); } }, text("clear"));
  const labelled = (key, control) => h("label", {}, h("span", {}, text(key)), control);
  const form = h("form", { class: "filters", onchange: () => load(), onsubmit: (event) => event.preventDefault() },
    labelled("category", category), labelled("verdict", verdict), labelled("from", since), labelled("until", until), clear);
  const newerButton = h("button", { type: "button", class: "newer", hidden: true, onclick: () => load() });
  const list = h("ul", { class: "records" });
  const message = h("p", { class: "soft", role: "status" });
  const more = h("button", { type: "button", class: "more", hidden: true, onclick: () => load(next) }, text("more"));
  section.append(form, newerButton, list, message, more);

  const iso = (input) => (input.value ? new Date(input.value).toISOString() : null);

  function row(decision) {
    const operator = decision.operator_verdict
      ? h("span", { class: "said", title: text("operator") }, `${text("operator")}: `, badge(decision.operator_verdict))
      : "";
    return h("li", {}, h("button", { type: "button", class: `record ${decision.verdict}`, onclick: () => openDetail(decision) },
      picture(decision, "map" in decision.pictures ? "map" : "image", { eager: false }),
      h("span", { class: "record-text" },
        h("span", { class: "record-top" }, badge(decision.verdict), h("b", {}, decision.category)),
        h("span", { class: "soft" }, `${text("score")} ${number(decision.score)}`,
          decision.threshold == null ? "" : ` · ${text("limit").toLowerCase()} ${number(decision.threshold)}`),
        h("span", { class: "soft" }, h("time", { datetime: decision.time }, moment(decision.time)), ` · ${decision.source.split(" @ ")[0]}`),
        operator)));
  }

  /** Fetch the first page, or the one after `before`. */
  async function load(before = null) {
    const mine = (asked += 1);
    try {
      const filter = { limit: PAGE, before, category: category.value, verdict: verdict.value, since: iso(since), until: iso(until) };
      const answer = await api.records(filter);
      if (mine !== asked) return;
      if (!before) {
        rows = new Map();
        list.replaceChildren();
        newer = 0;
        newerButton.hidden = true;
      }
      for (const decision of answer.records) {
        const item = row(decision);
        rows.set(decision.record_id, item);
        list.append(item);
      }
      next = answer.next;
      more.hidden = !next;
      message.textContent = rows.size === 0 ? text("empty") : text(next ? "foundMore" : "found", { count: count(rows.size) });
    } catch (error) {
      if (mine === asked) message.textContent = text("failed", { reason: error.message });
    }
  }

  return {
    load,
    decision() {
      newer += 1;
      newerButton.hidden = section.hidden;
      newerButton.textContent = text("newer", { count: count(newer) });
    },
    changed(decision) {
      const old = rows.get(decision.record_id);
      if (!old) return;
      const item = row(decision);
      const focused = old.contains(document.activeElement);
      old.replaceWith(item);
      if (focused) item.querySelector("button").focus();
      rows.set(decision.record_id, item);
    },
    status(status) {
      const names = [...new Set(status.products.flatMap((product) => Object.keys(product.categories)))];
      const known = [...category.options].slice(1).map((option) => option.value);
      if (names.join("\n") === known.join("\n")) return;
      const chosen = category.value;
      category.replaceChildren(h("option", { value: "" }, text("all")),
        ...names.map((name) => h("option", { value: name, selected: name === chosen }, name)));
    },
  };
}
