// A picture inspected by hand.

import * as api from "./api.js";
import { fullDecision } from "./detail.js";
import { h } from "./dom.js";
import { text } from "./strings.js";

export function trialView(section, { judged }) {
  const full = fullDecision(judged);
  let shown = null;
  let busy = false;
  let address = null;

  const select = h("select", { id: "trial-category" });
  const input = h("input", { type: "file", accept: "image/*", class: "unseen", id: "trial-file", onchange: () => {
    if (input.files.length) inspect([...input.files]);
    input.value = "";
  } });
  const words = h("span", { class: "drop-words" }, text("drop"));
  const preview = h("img", { class: "preview", alt: text("chosen"), hidden: true });
  const drop = h("label", { class: "drop", for: "trial-file" }, preview, words, h("span", { class: "soft" }, text("dropHint")));
  const message = h("p", { role: "status", class: "trial-message" });
  const result = h("div", { class: "card", hidden: true }, full.element);
  section.append(h("div", { class: "trial" },
    h("div", { class: "trial-in" }, h("label", { class: "field" }, h("span", {}, text("category")), select), input, drop, message), result));

  for (const name of ["dragenter", "dragover"]) {
    section.addEventListener(name, (event) => { event.preventDefault(); drop.classList.add("over"); });
  }
  section.addEventListener("dragleave", (event) => { if (!section.contains(event.relatedTarget)) drop.classList.remove("over"); });
  section.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    inspect([...event.dataTransfer.files]);
  });

  async function inspect(files) {
    if (busy || !files.length) return;
    if (files.length > 1) {
      message.textContent = text("tooMany");
      return;
    }
    const [file] = files;
    const [product, category] = JSON.parse(select.value || "[null, null]");
    busy = true;
    drop.classList.add("busy");
    if (address) URL.revokeObjectURL(address);
    preview.src = address = URL.createObjectURL(file);
    preview.hidden = false;
    preview.onerror = () => { preview.hidden = true; };
    message.textContent = text("inspecting", { name: file.name });
    try {
      shown = await api.inspect(file, category, product);
      full.show(shown);
      result.hidden = false;
      message.textContent = "";
      words.textContent = text("dropAgain");
    } catch (error) {
      result.hidden = true;
      message.textContent = text("failed", { reason: error.message });
    } finally {
      busy = false;
      drop.classList.remove("busy");
    }
  }

  return {
    changed(decision) {
      if (shown?.record_id === decision.record_id) full.show((shown = decision));
    },
    status(status) {
      const several = status.products.length > 1;
      const choices = status.products.flatMap((product) => Object.keys(product.categories).map((name) =>
        ({ value: JSON.stringify([product.name, name]), label: several ? `${product.name}: ${name}` : name })));
      const known = [...select.options].map((option) => option.value);
      if (choices.map((choice) => choice.value).join("\n") === known.join("\n")) return;
      const chosen = select.value;
      select.replaceChildren(...choices.map(({ value, label }) => h("option", { value, selected: value === chosen }, label)));
    },
  };
}
