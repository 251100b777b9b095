// The page: ties the station's events to the views.

import { alarmsOf, drawAlarms } from "./alarms.js";
import * as api from "./api.js";
import { detailDialog } from "./detail.js";
import { historyView } from "./history.js";
import { liveView } from "./live.js";
import { LANGUAGE, text } from "./strings.js";
import { trialView } from "./trial.js";

const at = (id) => document.getElementById(id);
const VIEWS = ["live", "history", "try"];

document.documentElement.lang = LANGUAGE;
for (const element of document.querySelectorAll("[data-text]")) element.textContent = text(element.dataset.text);
for (const element of document.querySelectorAll("[data-label]")) element.setAttribute("aria-label", text(element.dataset.label));

let connection = "connecting";
let status = null;
let heard = null;

const judged = (decision) => views.forEach((view) => view.changed(decision));
const detail = detailDialog(at("detail"), judged);
const openDetail = (decision) => detail.open(decision);
const live = liveView(at("view-live"), { openDetail, judged });
const history = historyView(at("view-history"), { openDetail });
const trial = trialView(at("view-try"), { judged });
const views = [live, history, trial, detail];

function drawState() {
  drawAlarms(at("alarms"), alarmsOf(connection, status, heard));
  const pill = at("connection");
  pill.className = `pill ${connection}`;
  if (pill.textContent !== text(connection)) pill.textContent = text(connection);
  document.body.classList.toggle("stale", connection === "lost");
}

function setStatus(value) {
  status = value;
  heard = new Date().toISOString();
  for (const view of [live, history, trial]) view.status(status);
  const names = status.products.map((product) => product.name).join(", ");
  at("station-name").textContent = names || "edge-ad";
  document.title = names ? `${names} – edge-ad` : "edge-ad";
  drawState();
}

api.listen({
  connection(value) {
    connection = value;
    drawState();
    if (value === "connected") live.catchUp().catch(() => {});
  },
  decision(decision) {
    heard = new Date().toISOString();
    live.decision(decision);
    history.decision(decision);
  },
  state(state) {
    setStatus(state.status);
    if (state.decision) judged(state.decision);
  },
});

// views: the address says which, so that a panel can be set to open one

function route() {
  const wanted = VIEWS.includes(location.hash.slice(1)) ? location.hash.slice(1) : "live";
  for (const name of VIEWS) {
    at(`view-${name}`).hidden = name !== wanted;
    const tab = at("tabs").querySelector(`[href="#${name}"]`);
    if (name === wanted) tab.setAttribute("aria-current", "page");
    else tab.removeAttribute("aria-current");
  }
  if (wanted === "history") history.load();
}
addEventListener("hashchange", route);
route();

// a picture dropped beside the drop zone must not replace the page
for (const name of ["dragover", "drop"]) addEventListener(name, (event) => event.preventDefault());

// colours

const THEMES = [[null, "themeAuto", "◐"], ["light", "themeLight", "☀"], ["dark", "themeDark", "☾"]];

function drawTheme() {
  const [, key, sign] = THEMES.find(([name]) => name === (document.documentElement.dataset.theme ?? null));
  at("theme").textContent = sign;
  at("theme").setAttribute("aria-label", text(key));
  at("theme").title = text(key);
}
at("theme").addEventListener("click", () => {
  const now = document.documentElement.dataset.theme ?? null;
  const [next] = THEMES[(THEMES.findIndex(([name]) => name === now) + 1) % THEMES.length];
  if (next) document.documentElement.dataset.theme = next;
  else delete document.documentElement.dataset.theme;
  try {
    if (next) localStorage.setItem("edge-ad-theme", next);
    else localStorage.removeItem("edge-ad-theme");
  } catch { /* storage may be switched off */ }
  drawTheme();
});
drawTheme();
