// Incidents as shaded bands over a plot, changes as lines, slow requests as points that lead to their traces.

import { href } from "./address.js";
import { clock, format } from "./format.js";
import { element, link } from "./elements.js";

// The signals that a plot shows, where they are called otherwise than it is.
const SIGNALS = {
  latency: ["latency", "slow_replica"],
  errors: ["server_errors", "client_errors", "failing_replica"],
  waiting: ["queue", "inference"],
  cascade: ["cascade", "teacher"],
  step: ["train_step"],
  throughput: ["throughput", "absence"],
};
// Objectives are of requests: how many fail and how long they take.
const OF_OBJECTIVES = ["latency", "errors"];

export function shows(key, signal) {
  if (signal.startsWith("objective:")) return OF_OBJECTIVES.includes(key);
  return (SIGNALS[key] ?? [key]).includes(signal);
}

export function place(over, key, series, { bands = [], changes = [] }) {
  for (const mark of over.querySelectorAll(".band, .change")) mark.remove();
  const span = series.until - series.since;
  const part = (seconds) => `${((seconds - series.since) / span) * 100}%`;
  for (const band of bands) {
    const from = Math.max(band.started_s, series.since);
    const to = Math.min(band.resolved_s ?? series.now, series.until);
    if (to <= from) continue;
    const made = element("div", undefined, shows(key, band.signal) ? "band" : "band other");
    made.dataset.alert = band.id;
    made.style.left = part(from);
    made.style.width = `${((to - from) / span) * 100}%`;
    over.prepend(made);
  }
  for (const change of changes) {
    if (change.time_s < series.since || change.time_s > series.until) continue;
    const made = element("div", undefined, "change");
    made.title = `${clock(change.time_s)} ${change.text}`;
    made.style.left = part(change.time_s);
    over.prepend(made);
  }
}

// Of latency's own plot; by keyboard the list of sampled traces leads there.
export function placeSlow(plot, content, series, slow = []) {
  for (const mark of plot.over.querySelectorAll(".slow")) mark.remove();
  if (content.key !== "latency") return;
  for (const { time, value, trace_id } of slow) {
    if (time < series.since || time > series.until) continue;
    const made = link("", href("trace", [trace_id]), "slow");
    made.tabIndex = -1;
    made.title = `${clock(time)}: ${format(value, content.unit)}, show its trace`;
    made.setAttribute("aria-label", made.title);
    made.style.left = `${plot.valToPos(time, "x")}px`;
    made.style.top = `${Math.max(0, plot.valToPos(value, "y"))}px`;
    plot.over.append(made);
  }
}
