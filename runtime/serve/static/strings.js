// Every word the page shows. A translation is another file with the same keys.

export const LANGUAGE = "en";

const STRINGS = {
  // frame
  skip: "Skip to content",
  views: "Views",
  live: "Live",
  history: "History",
  try: "Try a picture",
  detail: "Inspected part",
  connected: "Connected",
  connecting: "Connecting…",
  lost: "No connection",
  themeAuto: "Colours: as the system",
  themeLight: "Colours: light",
  themeDark: "Colours: dark",
  close: "Close",

  // verdicts
  good: "Good",
  bad: "Bad",
  undecided: "Undecided",
  waiting: "Waiting for a part",
  waitingHint: "Pictures from the line appear here. “Try a picture” inspects one by hand.",
  score: "Score",
  limit: "Limit",
  noLimit: "No limit is calibrated for this product.",
  limitUnder: "Score {score}, below the limit of {limit}",
  limitOver: "Score {score}, at or above the limit of {limit}",
  scoreOnly: "Score {score}, no limit calibrated",
  heard: "{verdict}: {category}, {score}",

  // pictures
  picture: "The part",
  map: "Where it differs",
  inpainted: "What it should look like",
  pictureAlt: "Picture of the part, {category}",
  mapAlt: "Defect map over the picture of the part: {count, regions}",
  inpaintedAlt: "The part as the model would paint it without a defect",
  regionsNone: "no marked region",
  regionsOne: "1 marked region",
  regionsMany: "{count} marked regions",
  pictureGone: "Picture no longer kept",
  showMap: "Defect map",
  showBoxes: "Outlines",
  enlarge: "Show this part with all details",

  // operator
  ask: "What is this part really?",
  isGood: "Good part",
  isBad: "Bad part",
  agrees: "You agreed: {verdict}.",
  corrected: "You corrected it: {verdict}.",
  note: "Note",
  noteHint: "Optional, e.g. what the defect is",
  saveNote: "Save note",
  saved: "Saved.",
  hold: "Hold",
  release: "Go on",
  releaseNewer: "Go on ({count} newer)",

  // numbers
  today: "Today",
  inspected: "Inspected",
  goodParts: "Good",
  badParts: "Bad",
  undecidedParts: "Undecided",
  yield: "Yield",
  none: "–",
  queue: "Queue",
  queueOf: "{length} of {limit}",

  // trend
  trend: "Scores",
  trendOf: "Category",
  trendFollow: "As on the line ({category})",
  trendEmpty: "No scores yet.",
  trendLabel: "{count} newest scores of {category}; {bad} bad; newest {score}",
  trendLimit: "limit {limit}",

  // newest parts
  recent: "Newest parts",
  recentEmpty: "None yet.",

  // alarms
  alarmLost: "No connection to the station. What you see is from {time}. Trying again…",
  alarmNotReady: "The station is not ready yet: no part is inspected.",
  alarmDraining: "The station is stopping: new parts are not inspected.",
  alarmWorker: "The inspection process stopped and is being started again.",
  alarmQueue: "Parts are waiting: {length} of {limit} places are taken. Slow down the line or inspect fewer pictures.",
  alarmDrift: "The pictures of {categories} look different from those at calibration. Check light, lens and camera.",
  alarmSink: "Results do not reach {sinks}. They are kept and sent later.",
  alarmSource: "Nothing comes from {sources}. See whether it is there and connected; the station's log says more.",
  alarmProducts: "No product is loaded: no part is inspected.",

  // history
  category: "Category",
  all: "All",
  verdict: "Verdict",
  correctedFilter: "Corrected by an operator",
  from: "From",
  until: "Until",
  clear: "Clear filters",
  more: "Show older",
  found: "{count} shown",
  foundMore: "{count} shown, there are older ones",
  empty: "No part fits these filters.",
  newer: "Show {count} newer",
  time: "Time",
  source: "Source",
  operator: "Operator",

  // detail
  product: "Product",
  record: "Record",
  bundle: "Bundle",
  plan: "Plan",
  decidedBy: "Decided by",
  byPrototypes: "prototypes alone",
  byInpainting: "inpainting",
  duration: "Time taken",
  regions: "Marked regions",
  region: "{width} × {height} px at {x}, {y}",
  defect: "Kind of defect",
  drift: "Light and camera",
  driftYes: "differ from calibration",
  driftNo: "as at calibration",
  stages: "Time by step",

  // try
  drop: "Drop a picture here, or press to choose one",
  dropHint: "PNG, JPEG, BMP, TIFF or WebP. It is inspected and recorded like a part from the line.",
  dropAgain: "Another picture",
  inspecting: "Inspecting {name}…",
  tooMany: "One picture at a time, please.",
  chosen: "Chosen picture",

  // errors
  failed: "That did not work: {reason}",
  unreachable: "the station does not answer",
};

/** The text of a key, with {name} replaced from `values`. A missing key shows itself, so that it is found. */
export function text(key, values = {}) {
  const found = STRINGS[key];
  if (found === undefined) return key;
  return found.replace(/\{(\w+)(?:, (\w+))?\}/g, (_, name, kind) =>
    kind === "regions" ? regions(values[name]) : String(values[name] ?? ""));
}

/** "no marked region", "1 marked region", "2 marked regions". */
export function regions(count) {
  return text(count === 0 ? "regionsNone" : count === 1 ? "regionsOne" : "regionsMany", { count });
}

const numbers = new Intl.NumberFormat(LANGUAGE, { maximumSignificantDigits: 3 });
const whole = new Intl.NumberFormat(LANGUAGE);
const percents = new Intl.NumberFormat(LANGUAGE, { style: "percent", minimumFractionDigits: 1, maximumFractionDigits: 1 });
const clock = new Intl.DateTimeFormat(LANGUAGE, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const day = new Intl.DateTimeFormat(LANGUAGE, { day: "numeric", month: "short" });

export const number = (value) => (value == null ? text("none") : numbers.format(value));
export const count = (value) => whole.format(value);
export const percent = (value) => (value == null ? text("none") : percents.format(value));

/** Seconds, in the unit that reads best. */
export const seconds = (value) => (value >= 1 ? `${numbers.format(value)} s` : `${numbers.format(1000 * value)} ms`);

/** The time of day of an ISO 8601 moment here, with the day in front when it is not today. */
export function moment(iso) {
  const date = new Date(iso);
  const today = new Date().toDateString() === date.toDateString();
  return today ? clock.format(date) : `${day.format(date)}, ${clock.format(date)}`;
}
