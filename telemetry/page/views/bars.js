// Two distributions over the same bins: what it was as pale bars, what it is as narrower ones within them.

import { element, within } from "../elements.js";
import { format } from "../format.js";

const SVG = "http://www.w3.org/2000/svg";
const [WIDTH, HEIGHT] = [360, 120];

export function bars(name, bounds, reference, now) {
  const [before, after] = [shares(reference), shares(now)];
  const largest = Math.max(...before, ...after, 1e-9);
  const made = document.createElementNS(SVG, "svg");
  made.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  made.setAttribute("preserveAspectRatio", "none");
  made.setAttribute("class", "bars");
  made.setAttribute("role", "img");
  made.setAttribute("aria-label", `${name}: the share of rows in each of ${before.length} bins, then and now`);
  const step = WIDTH / before.length;
  before.forEach((share, at) => {
    made.append(bar("then", at * step + 1, step - 2, share / largest));
    made.append(bar("now", at * step + step * 0.28, step * 0.44, after[at] / largest));
  });
  const ends = bounds?.length ? [first(bounds), last(bounds)] : ["", ""];
  const axis = within("div", "ends", element("span", ends[0]), keyOf("then"), keyOf("now"), element("span", ends[1]));
  return within("div", "", made, axis);
}

const first = (bounds) => (typeof bounds[0] === "number" ? `≤ ${format(bounds[0], "")}` : String(bounds[0]));
const last = (bounds) => (typeof bounds.at(-1) === "number" ? `> ${format(bounds.at(-1), "")}` : String(bounds.at(-1)));
const keyOf = (name) => within("span", `key ${name}`, element("i"), name === "then" ? "when it was made" : "now");

function shares(counts) {
  const total = counts.reduce((sum, count) => sum + count, 0) || 1;
  return counts.map((count) => count / total);
}

function bar(name, x, width, share) {
  const made = document.createElementNS(SVG, "rect");
  const height = Math.max(share * (HEIGHT - 4), share > 0 ? 1 : 0);
  for (const [key, value] of Object.entries({ x, width: Math.max(width, 1), y: HEIGHT - height, height, class: name })) made.setAttribute(key, value);
  return made;
}
