// The plots of one view, on one axis of time: drawn anew only where lines came or went.

import { element, renew } from "./elements.js";
import { Plot } from "./plot.js";

const WIDEST = 600; // values of one line

export class Plots {
  constructor(parent) {
    this.parent = parent;
    this.legend = element("p", undefined, "note legend");
    parent.after(this.legend);
    this.shown = new Map();
    this.dark = matchMedia("(prefers-color-scheme: dark)");
    this.onScheme = () => this.clear();
    this.dark.addEventListener("change", this.onScheme);
    this.resizes = new ResizeObserver(() => this.resize());
    this.resizes.observe(parent);
  }

  // As many values as the narrowest layout of two or three columns is wide.
  points() {
    const columns = Math.max(1, Math.floor(this.parent.clientWidth / 400));
    return Math.min(WIDEST, Math.max(120, Math.round(this.parent.clientWidth / columns)));
  }

  update(series, marks) {
    const keys = series.plots.map((plot) => plot.key);
    if ([...this.shown.keys()].join("\n") !== keys.join("\n")) this.arrange(series.plots);
    const width = this.width();
    for (const content of series.plots) this.shown.get(content.key).update(content, series, marks, width);
    this.explain(series, marks);
  }

  // What the lines' surroundings mean, where there are any.
  explain({ plots, since, until }, { bands = [], changes = [] }) {
    const lines = plots.flatMap((plot) => plot.lines);
    const words = [
      ["range", "least and largest within a point", lines.some((line) => line.low)],
      ["expected", "expected", lines.some((line) => line.expected)],
      ["before", "what was before", lines.some((line) => line.before)],
      ["incident", "incident", bands.some((band) => band.started_s < until && (band.resolved_s ?? until) > since)],
      ["changed", "change", changes.some((change) => change.time_s > since && change.time_s < until)],
    ];
    renew(this.legend, words.filter(([, , there]) => there), ([name]) => name, ([name, text]) => {
      const made = element("span", undefined, name);
      made.append(element("i"), text);
      return made;
    });
  }

  arrange(plots) {
    const kept = new Map();
    for (const content of plots) kept.set(content.key, this.shown.get(content.key) ?? new Plot(content));
    for (const [key, plot] of this.shown) if (kept.get(key) !== plot) plot.destroy();
    this.shown = kept;
    this.parent.replaceChildren(...[...kept.values()].map((plot) => plot.figure));
  }

  clear() {
    for (const plot of this.shown.values()) plot.destroy();
    this.shown.clear();
    this.parent.replaceChildren();
  }

  close() {
    this.clear();
    this.legend.remove();
    this.resizes.disconnect();
    this.dark.removeEventListener("change", this.onScheme);
  }

  // Of one column, read once for all: reading a layout between two writes would make the browser compute it each time.
  width() {
    const figure = this.parent.firstElementChild;
    if (!figure) return 0;
    const { paddingLeft, paddingRight } = getComputedStyle(figure);
    return Math.max(160, figure.clientWidth - parseFloat(paddingLeft) - parseFloat(paddingRight) - 2);
  }

  resize() {
    const width = this.width();
    if (width) for (const plot of this.shown.values()) plot.resize(width);
  }
}
