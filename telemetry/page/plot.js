// One plot: its lines, under them the range that each point covers, what was expected and what was before, over them
// incidents and changes. Dragging zooms.

import { changed, go } from "./address.js";
import { element } from "./elements.js";
import { clock, format, increments, when } from "./format.js";
import { place, placeSlow } from "./marks.js";
import { decades, fromZero, isolated, logarithmic, marked, style } from "./scales.js";
import { under } from "./under.js";

const HEIGHT = 190;
const MINUTE = 60;
const DAY = 86400;
// Seconds between labels of time: with seconds of their own they would touch.
const TIMES = [1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720].map((minutes) => minutes * MINUTE).concat([1, 2, 5, 7, 14, 30, 60, 90].map((days) => days * DAY));

export class Plot {
  constructor(content) {
    this.figure = element("figure", undefined, "plot");
    this.figure.dataset.plot = content.key;
    this.figure.tabIndex = 0;
    this.figure.setAttribute("aria-describedby", "plot-keys");
    this.figure.append(element("h3", content.title));
    this.figure.addEventListener("keydown", (event) => this.key(event));
    this.labels = null;
  }

  update(content, series, marks, width) {
    this.content = content;
    this.series = series;
    const labels = content.lines.map((line) => line.label).join("\n");
    const data = [series.times, ...content.lines.map((line) => line.values)];
    if (this.labels !== labels) {
      this.plot?.destroy();
      this.labels = labels;
      this.plot = this.make(data, width);
    }
    this.plot.batch(() => {
      this.plot.setData(data, false);
      this.plot.setScale("x", { min: series.since, max: series.until });
      this.plot.setScale("y", logarithmic(content) ? decades(content) : fromZero(content));
    });
    place(this.plot.over, content.key, series, marks);
    placeSlow(this.plot, content, series, marks.slow);
    this.figure.setAttribute("aria-label", `${content.title}: ${this.said(null)}`);
  }

  resize(width) {
    if (this.plot && this.plot.width !== width) this.plot.setSize({ width, height: HEIGHT });
  }

  destroy() {
    this.plot?.destroy();
    this.plot = null;
    this.labels = null;
  }

  make(data, width) {
    const { content } = this;
    const axis = { stroke: style("--soft"), font: "12px system-ui, sans-serif", grid: { stroke: style("--grid"), width: 1 }, ticks: { show: false } };
    return new uPlot(
      {
        width: width || 400,
        height: HEIGHT,
        padding: [12, 18, 0, 0],
        cursor: {
          sync: { key: "telemetry", filters: { pub: (type) => !["mousedown", "mouseup", "dblclick"].includes(type) } },
          points: { size: 7 },
          drag: { x: true, y: false, setScale: false },
          bind: { dblclick: () => () => history.back() },
        },
        scales: { x: { time: true, auto: false }, y: { auto: false, distr: logarithmic(content) ? 3 : 1 } },
        axes: [
          { ...axis, space: 46, size: 30, incrs: TIMES, values: (_, splits) => splits.map((at, index) => when(at, splits[1] - splits[0], index === 0)) },
          {
            ...axis,
            grid: { ...axis.grid, filter: (_, splits) => marked(splits, this.content) },
            space: 34,
            size: 68,
            incrs: increments(content.unit),
            values: (_, splits) => marked(splits, this.content).map((value) => (value === null ? "" : format(value, content.unit))),
          },
        ],
        hooks: {
          drawClear: [(plot) => under(plot, this.content)],
          setSelect: [(plot) => this.zoom(plot)],
        },
        series: [
          {},
          ...content.lines.map((line, index) => ({
            label: line.label,
            stroke: style(`--line-${(index % 9) + 1}`),
            width: 1.75,
            value: (_plot, value, _line, at) => this.value(index, at ?? null),
            points: { show: true, size: 4, filter: isolated },
          })),
        ],
      },
      data,
      this.figure,
    );
  }

  // What a legend says of a line: at the cursor, else now.
  value(index, at) {
    const line = this.content.lines[index];
    const { unit } = this.content;
    if (at === null) return format(line.last, unit);
    const before = line.before ? ` (before ${format(line.before[at], unit)})` : "";
    return `${format(line.values[at], unit)}${before}`;
  }

  said(at) {
    return this.content.lines.map((line, index) => `${line.label} ${this.value(index, at)}`).join(", ");
  }

  zoom(plot) {
    const { left, width } = plot.select;
    if (width < 4) return;
    plot.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
    this.show(plot.posToVal(left, "x"), plot.posToVal(left + width, "x"));
  }

  show(from, to) {
    const length = Math.max(10, to - from); // seconds
    const end = Math.min((from + to + length) / 2, this.series.now);
    go(changed({ range: null, from: Math.floor(end - length), to: Math.ceil(end) }));
  }

  // The cursor by arrow keys, + and - zoom around it, Escape leaves it.
  key(event) {
    const { plot } = this;
    if (event.ctrlKey || event.metaKey || event.altKey || !plot) return;
    const last = plot.data[0].length - 1;
    const at = plot.cursor.idx ?? last;
    const step = event.shiftKey ? 10 : 1;
    const moves = { ArrowLeft: at - step, ArrowRight: at + step, Home: 0, End: last };
    if (event.key in moves) this.point(Math.min(Math.max(moves[event.key], 0), last));
    else if (event.key === "Escape") plot.setCursor({ left: -10, top: -10 });
    else if (event.key === "+" || event.key === "-") {
      const half = ((this.series.until - this.series.since) * (event.key === "+" ? 0.5 : 2)) / 2;
      const middle = plot.cursor.idx === null || plot.cursor.idx === undefined ? (this.series.since + this.series.until) / 2 : plot.data[0][at];
      this.show(middle - half, middle + half);
    } else return;
    event.preventDefault();
  }

  point(at) {
    const { plot } = this;
    plot.setCursor({ left: plot.valToPos(plot.data[0][at], "x"), top: plot.over.clientHeight / 2 });
    document.getElementById("said").textContent = `${clock(plot.data[0][at])}: ${this.said(at)}`;
  }
}
