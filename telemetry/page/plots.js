// Draws one uPlot per plot of the series answer and lays alerts over it as shaded bands.

import { format, increments } from "./format.js";

const SIGNALS = {
  latency: ["latency"],
  errors: ["server_errors", "client_errors"],
  waiting: ["queue", "inference"],
  cascade: ["cascade", "teacher"],
  step: ["train_step"],
  memory: ["memory"],
};
const HEIGHT = 190;
// Seconds between labels of time: with seconds of their own they would touch.
const MINUTES = [1, 2, 5, 10, 15, 30, 60].map((minutes) => 60 * minutes);

const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const concerns = (key, alert) => (SIGNALS[key] ?? []).includes(alert.signal);

export class Plots {
  constructor(parent) {
    this.parent = parent;
    this.shown = new Map();
    this.last = new Map(); // by plot, each line's value now
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.clear());
    new ResizeObserver(() => this.resize()).observe(parent);
  }

  clear() {
    for (const { plot } of this.shown.values()) plot.destroy();
    this.shown.clear();
    this.parent.replaceChildren();
  }

  update(series, alerts) {
    const keys = new Set(series.plots.map((plot) => plot.key));
    const sameOrder = [...this.shown.keys()].join() === [...keys].join();
    if (!sameOrder) this.clear();
    for (const plot of series.plots) this.draw(plot, series, alerts);
  }

  draw(content, series, alerts) {
    const labels = content.lines.map((line) => line.label).join("\n");
    const data = [series.times, ...content.lines.map((line) => line.values)];
    this.last.set(content.key, content.lines.map((line) => line.last));
    let shown = this.shown.get(content.key);
    if (shown && shown.labels !== labels) {
      shown.plot.destroy();
      shown.labels = labels;
      shown.plot = this.make(content, data, shown.figure);
    } else if (!shown) {
      const figure = document.createElement("figure");
      figure.className = "plot";
      figure.dataset.plot = content.key;
      figure.style.margin = "0";
      const title = document.createElement("h3");
      title.textContent = content.title;
      figure.append(title);
      this.parent.append(figure);
      shown = { figure, labels, plot: this.make(content, data, figure) };
      this.shown.set(content.key, shown);
    }
    shown.plot.batch(() => {
      shown.plot.setData(data, false);
      shown.plot.setScale("x", { min: series.since, max: series.now });
      shown.plot.setScale("y", range(data, content));
    });
    this.shade(shown.plot, content.key, series, alerts);
  }

  make(content, data, figure) {
    const axis = { stroke: style("--soft"), font: "12px system-ui, sans-serif", grid: { stroke: style("--grid"), width: 1 }, ticks: { show: false } };
    return new uPlot(
      {
        width: this.width(figure),
        height: HEIGHT,
        padding: [12, 10, 0, 0],
        cursor: { sync: { key: "telemetry" }, points: { size: 7 }, drag: { x: false, y: false } },
        scales: { x: { time: true, auto: false }, y: { auto: false, distr: logarithmic(content) ? 3 : 1 } },
        axes: [
          { ...axis, space: 46, size: 30, incrs: MINUTES, values: (_, splits) => splits.map(timeOfDay) },
          {
            ...axis,
            grid: { ...axis.grid, filter: (_, splits) => marked(splits, content) },
            space: 34,
            size: 68,
            incrs: increments(content.unit),
            values: (_, splits) => marked(splits, content).map((value) => (value === null ? "" : format(value, content.unit))),
          },
        ],
        series: [
          {},
          ...content.lines.map((line, index) => ({
            label: line.label,
            stroke: style(`--line-${(index % 9) + 1}`),
            width: 1.75,
            value: (_plot, value, _line, at) => format(at === null || at === undefined ? this.last.get(content.key)[index] : value, content.unit),
            points: { show: true, size: 4, filter: isolated },
          })),
        ],
      },
      data,
      figure,
    );
  }

  shade(plot, key, series, alerts) {
    for (const band of plot.over.querySelectorAll(".band")) band.remove();
    for (const alert of alerts) {
      const from = Math.max(alert.started_s, series.since);
      const to = Math.min(alert.resolved_s ?? series.now, series.now);
      if (to <= from || alert.service !== series.service) continue;
      const band = document.createElement("div");
      band.className = concerns(key, alert) ? "band" : "band other";
      band.dataset.alert = alert.id;
      const span = series.now - series.since;
      band.style.left = `${((from - series.since) / span) * 100}%`;
      band.style.width = `${((to - from) / span) * 100}%`;
      plot.over.prepend(band);
    }
  }

  width(figure) {
    const { paddingLeft, paddingRight } = getComputedStyle(figure);
    return Math.max(200, figure.clientWidth - parseFloat(paddingLeft) - parseFloat(paddingRight));
  }

  resize() {
    for (const { figure, plot } of this.shown.values()) plot.setSize({ width: this.width(figure), height: HEIGHT });
  }
}

const timeOfDay = (seconds) =>
  new Date(seconds * 1000).toLocaleTimeString([], { hour12: false, hour: "2-digit", minute: "2-digit" });

// Only points without neighbours need a mark: a line between others shows the rest.
const isolated = (plot, series) => {
  const values = plot.data[series];
  const alone = [];
  values.forEach((value, at) => {
    if (value !== null && (values[at - 1] ?? null) === null && (values[at + 1] ?? null) === null) alone.push(at);
  });
  return alone;
};

// Durations spread over decades: one slow second must not flatten all the others.
const logarithmic = (content) => content.unit === "s";

// The splits that get a line and a label: of a logarithmic axis the decades.
const marked = (splits, content) =>
  logarithmic(content) ? splits.map((value) => (Math.abs(Math.log10(value) - Math.round(Math.log10(value))) < 1e-6 ? value : null)) : splits;

// Whole decades around what there is.
const decades = (rows) => {
  const values = rows.slice(1).flat().filter((value) => value > 0);
  if (values.length === 0) return { min: 1e-3, max: 1 };
  const low = Math.floor(Math.log10(values.reduce((a, b) => Math.min(a, b))));
  const high = Math.ceil(Math.log10(values.reduce((a, b) => Math.max(a, b))));
  return { min: 10 ** low, max: 10 ** Math.max(high, low + 1) };
};

// From zero, with room above; the errors' axis covers at least 5 %, so that one error is no mountain.
const range = (rows, content) => {
  if (logarithmic(content)) return decades(rows);
  let low = 0;
  let high = content.key === "errors" ? 0.05 : content.unit === "%" ? 0.1 : 0;
  for (const row of rows.slice(1)) {
    for (const value of row) {
      if (value === null) continue;
      if (value > high) high = value;
      if (value < low) low = value;
    }
  }
  return { min: low * 1.1, max: high === 0 ? 1 : high * 1.1 };
};
