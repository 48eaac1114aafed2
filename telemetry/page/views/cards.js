// The values now; they come with the plots, so that a card, a plot's legend and the end of its line say the same.

import { element, renew } from "../elements.js";
import { format, lasting, moment } from "../format.js";

export function showCards(parent, service, last, span, fullIn) {
  parent.setAttribute("aria-label", span.live ? "Now" : `At ${moment(span.to)}`);
  renew(parent, cards(service, last, span.live ? fullIn : null), (card) => card.label, make, (made, { value, note, bad }) => {
    made.className = bad ? "card bad" : "card";
    made.children[1].textContent = value;
    made.children[2].textContent = note;
  });
}

function make({ label }) {
  const made = element("div", undefined, "card");
  made.append(element("span", label), element("strong"), element("small"));
  return made;
}

function cards(service, last, fullIn) {
  const made = [];
  const card = (label, value, unit, note = "", bad = false) => made.push({ label, value: format(value, unit), note, bad });
  const serving = last.throughput != null || last.latency_p95 != null;
  if (serving || last.train_loss == null) {
    card("Requests per second", last.throughput, "/s", last.samples != null ? `${format(last.samples, "/s")} samples/s` : "");
    card("p95 latency", last.latency_p95, "s", `p50 ${format(last.latency_p50, "s")} · p99 ${format(last.latency_p99, "s")}`);
    const errors = last.server_error_ratio;
    card("Server errors", errors, "%", `client errors ${format(last.client_error_ratio, "%")}`, errors >= 0.05);
  }
  if (last.train_loss != null || last.train_step != null) {
    card("Loss", last.train_loss, "");
    card("Step time", last.train_step, "s", `p95 ${format(last.train_step_p95, "s")}`);
    card("Training samples per second", last.train_samples, "/s");
  }
  const each = service?.num_instances > 1 ? `${service.num_instances} instances together` : "";
  if (last.cpu != null) card("CPU", last.cpu, "%", each);
  if (last.memory != null) card("Memory", last.memory, "By", each);
  if (last.saturation != null) {
    const note = fullIn == null ? "of the fullest process" : `full in ${lasting(fullIn)} if the last hour goes on`;
    card("Saturation", last.saturation, "%", note, last.saturation >= 0.95);
  }
  if (last.cost_per_1000 != null) card("Cost of 1,000 requests", last.cost_per_1000, "");
  if (last.gpu != null) card("GPU", last.gpu, "%", `memory ${format(last.gpu_memory, "By")}`);
  return made;
}
