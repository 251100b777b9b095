// Talking to the station: /v1 and its event stream.

import { text } from "./strings.js";

/** An answer that is no success; its message is one sentence for people. */
export class StationError extends Error {}

async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, { credentials: "same-origin", ...options });
  } catch {
    throw new StationError(text("unreachable"));
  }
  if (answer.status === 401) {
    location.assign("/login");
    throw new StationError(text("unreachable"));
  }
  const body = await answer.json().catch(() => null);
  if (!answer.ok) throw new StationError(body?.error?.message ?? `HTTP ${answer.status}`);
  return body;
}

const query = (values) => {
  const given = Object.entries(values).filter(([, value]) => value != null && value !== "");
  return given.length ? `?${new URLSearchParams(given)}` : "";
};

export const status = () => ask("/v1/status");
export const records = (filter) => ask(`/v1/records${query(filter)}`);
export const record = (id) => ask(`/v1/records/${encodeURIComponent(id)}`);
export const trend = (category, limit) => ask(`/v1/trend${query({ category, limit })}`).then((body) => body.points);

export const judge = (id, verdict, note) =>
  ask(`/v1/records/${encodeURIComponent(id)}/verdict`, {
    method: "PUT",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ verdict, note }),
  });

export function inspect(file, category, product) {
  const form = new FormData();
  form.append("image", file);
  if (category) form.append("category", category);
  if (product) form.append("product", product);
  return ask("/v1/inspect", { method: "POST", body: form });
}

/** How often a quiet connection is checked, and how long until a lost one is tried again, milliseconds. */
const CHECK = 10_000;
const AGAIN = 2_000;

/**
 * Listen for ever. handlers: decision(d), state(s), connection("connecting" | "connected" | "lost").
 * A browser comes back after a cut line but not after an answer that is an error, nor does it notice a station that has
 * lost power; so each connection is closed at its first error, checked while quiet, and replaced.
 */
export function listen(handlers) {
  const check = () => ask("/v1/status", { signal: AbortSignal.timeout(CHECK / 2) });
  const open = () => {
    const source = new EventSource("/v1/events");
    let over = false;
    const lose = () => {
      if (over) return;
      over = true;
      source.close();
      clearInterval(checking);
      handlers.connection("lost");
      check().catch(() => {}); // an event source does not say why: a session that has ended goes to the login
      setTimeout(open, AGAIN);
    };
    const checking = setInterval(() => check().catch(lose), CHECK);
    source.addEventListener("open", () => handlers.connection("connected"));
    source.addEventListener("error", lose);
    source.addEventListener("decision", (event) => handlers.decision(JSON.parse(event.data)));
    source.addEventListener("state", (event) => handlers.state(JSON.parse(event.data)));
  };
  handlers.connection("connecting");
  open();
}
