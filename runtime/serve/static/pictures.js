// The pictures of a part: as it is with its regions outlined, with the defect map, and as it should look.

import { h, s } from "./dom.js";
import { text } from "./strings.js";

const ALT = { image: "pictureAlt", map: "mapAlt", inpainted: "inpaintedAlt" };

/** One picture of a decision; a note in its place when it is no longer kept. */
export function picture(decision, kind, { outlined = false, eager = true } = {}) {
  const source = decision.pictures[kind];
  const gone = () => h("span", { class: "gone" }, text("pictureGone"));
  const frame = h("div", { class: "frame" });
  if (!source) {
    frame.append(gone());
    return frame;
  }
  const alt = text(ALT[kind], { category: decision.category, count: decision.regions.length });
  const image = h("img", { src: source, alt, decoding: "async", loading: eager ? "eager" : "lazy" });
  image.addEventListener("error", () => frame.replaceChildren(gone()));
  frame.append(image);
  // a good part may have small regions of its own; outlined, they would speak against the verdict
  if (outlined && decision.verdict !== "good" && decision.regions.length && decision.width && decision.height) frame.append(outlines(decision));
  return frame;
}

/** The regions as rounded boxes over a picture that keeps its aspect ratio in the same way. */
function outlines({ regions, width, height }) {
  const margin = 0.012 * Math.max(width, height);
  return s("svg", { viewBox: `0 0 ${width} ${height}`, class: "outlines", "aria-hidden": "true" },
    regions.slice(0, 20).flatMap((region) => ["under", "over"].map((layer) => s("rect", {
      class: layer,
      x: region.x - margin, y: region.y - margin, rx: margin,
      width: region.width + 2 * margin, height: region.height + 2 * margin,
    }))));
}

/** A picture with its name. `extra` stands at the end of the caption. */
export function figure(decision, kind, options = {}, extra = null) {
  return h("figure", { class: "view" },
    picture(decision, kind, options),
    h("figcaption", {}, h("span", {}, text(kind === "image" ? "picture" : kind)), extra));
}
