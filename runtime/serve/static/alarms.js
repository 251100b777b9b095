// What a person has to know now, as lines under the header; nothing there while all is well.

import { h } from "./dom.js";
import { moment, text } from "./strings.js";

/** A queue this full is told. */
const FULL = 0.8;

/**
 * The alarms of a state, worst first: [{ key, level: "bad" | "warn", words }]. Pure.
 * connection: as in `api.listen`. status: /v1/status or null. heard: ISO moment of the last news.
 */
export function alarmsOf(connection, status, heard) {
  const found = [];
  const add = (level, key, values = {}) => found.push({ key, level, words: text(key, values) });
  if (connection === "lost") add("bad", "alarmLost", { time: heard ? moment(heard) : text("none") });
  if (!status) return found;
  const sinks = Object.entries(status.sinks ?? {}).filter(([, sink]) => sink.failing).map(([name]) => name);
  const sources = Object.entries(status.sources ?? {}).filter(([, source]) => !source.running || source.failing).map(([name]) => name);
  const drifting = Object.entries(status.drift ?? {}).filter(([, differs]) => differs).map(([name]) => name);
  if (status.draining) add("bad", "alarmDraining");
  else if (status.worker && !status.worker.up) add("bad", "alarmWorker");
  else if (!status.products.length) add("bad", "alarmProducts");
  else if (!status.ready) add("bad", "alarmNotReady");
  if (status.queue.length >= FULL * status.queue.limit) add("warn", "alarmQueue", status.queue);
  if (drifting.length) add("warn", "alarmDrift", { categories: drifting.join(", ") });
  if (sources.length && !status.draining) add("warn", "alarmSource", { sources: sources.join(", ") });
  if (sinks.length) add("warn", "alarmSink", { sinks: sinks.join(", ") });
  return found;
}

/** Draw them; unchanged lines stay as they are, so that a screen reader says each once. */
export function drawAlarms(place, alarms) {
  const wanted = new Map(alarms.map((alarm) => [alarm.key, alarm]));
  for (const line of [...place.children]) {
    const alarm = wanted.get(line.dataset.key);
    if (!alarm) line.remove();
    else {
      if (line.textContent !== alarm.words) line.textContent = alarm.words;
      wanted.delete(line.dataset.key);
    }
  }
  for (const alarm of wanted.values()) {
    place.append(h("p", { class: `alarm ${alarm.level}`, "data-key": alarm.key }, alarm.words));
  }
}
