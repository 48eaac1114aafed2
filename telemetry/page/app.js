// The page: asks the JSON API beside it every two seconds and shows the answer. Whatever senders chose, such as names,
// only ever becomes text.

import { ago, clock, format } from "./format.js";
import { Plots } from "./plots.js";

const REFRESH_MS = 2000;
const $ = (id) => document.getElementById(id);
const plots = new Plots($("plots"));
const chosen = { service: decodeURIComponent(location.hash.slice(1)), seconds: 300 };
let answered = null;
let timer = 0;
let turn = 0;

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

async function ask(path) {
  const answer = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(8000) });
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

async function refresh() {
  clearTimeout(timer);
  const mine = ++turn;
  try {
    const [summary, book] = await Promise.all([ask("api/services"), ask("api/alerts")]);
    const services = summary.services;
    const service = services.find(({ name }) => name === chosen.service) ?? favourite(services);
    const series = service && (await ask(`api/series?service=${encodeURIComponent(service.name)}&since=${summary.now - chosen.seconds}`));
    if (mine !== turn) return;
    show(summary, service, series, book.alerts);
    answered = Date.now();
    status("live", "live");
  } catch (error) {
    if (mine !== turn) return;
    status("lost", answered ? `connection lost ${ago((Date.now() - answered) / 1000)} ago` : "connection lost");
  }
  timer = setTimeout(refresh, REFRESH_MS);
}

// What most needs a look: where alerts fire, then deployments before trainings, then what reported last.
function favourite(services) {
  const rank = (service) => [service.num_firing > 0, service.last.throughput != null, service.num_instances > 0, service.seen];
  return services.toSorted((a, b) => {
    const [left, right] = [rank(a), rank(b)];
    const at = left.findIndex((value, index) => value !== right[index]);
    return at < 0 ? 0 : right[at] - left[at];
  })[0];
}

function status(state, text) {
  $("status").dataset.state = state;
  $("status").textContent = text;
}

function show(summary, service, series, alerts) {
  $("empty").hidden = Boolean(service);
  $("service").hidden = !service;
  $("footer").textContent = [
    summary.num_refused ? `${summary.num_refused.toLocaleString("en-US")} data points were refused; the senders' logs say why.` : "",
    summary.num_skewed ? `The clock of ${summary.num_skewed === 1 ? "a sender" : `${summary.num_skewed} senders`} is wrong; the collector's is used instead.` : "",
  ].join(" ").trim();
  showFiring(alerts);
  if (!service) {
    $("services").replaceChildren();
    return;
  }
  chosen.service = service.name;
  showServices(summary.services);
  showTitle(service, summary.now);
  showCards(service, series.last);
  plots.update(series, alerts);
  showArtifact(series.artifact);
  showAlerts(alerts.filter((alert) => alert.service === service.name));
  showTraces(series.traces);
}

function showFiring(alerts) {
  const firing = alerts.filter((alert) => alert.state === "firing");
  const texts = firing.map((alert) => alert.sentence);
  if ($("firing").dataset.texts === texts.join("\n")) return;
  $("firing").dataset.texts = texts.join("\n");
  $("firing").hidden = !firing.length;
  $("firing").replaceChildren(...texts.map((text) => element("p", text)));
}

function showServices(services) {
  const existing = new Map([...$("services").children].map((button) => [button.dataset.name, button]));
  const buttons = services.map((service) => {
    const button = existing.get(service.name) ?? serviceButton(service.name);
    const { last } = service;
    const training = last.train_loss != null ? `loss ${format(last.train_loss, "")}` : "idle";
    const rate = last.throughput != null ? `${format(last.throughput, "/s")} req/s` : training;
    button.lastChild.textContent = service.num_firing ? "alert firing" : service.num_instances ? rate : "ended";
    button.classList.toggle("alerting", service.num_firing > 0);
    button.setAttribute("aria-pressed", String(service.name === chosen.service));
    return button;
  });
  const same = buttons.length === $("services").children.length && buttons.every((button, at) => button === $("services").children[at]);
  if (!same) $("services").replaceChildren(...buttons);
}

function serviceButton(name) {
  const button = element("button");
  button.type = "button";
  button.dataset.name = name;
  button.append(element("strong", name), element("small"));
  button.addEventListener("click", () => {
    chosen.service = name;
    history.replaceState(null, "", `#${encodeURIComponent(name)}`);
    refresh();
  });
  return button;
}

function showTitle(service, now) {
  const instances = `${service.num_instances} ${service.num_instances === 1 ? "instance" : "instances"}`;
  const state = service.num_instances ? instances : `ended, last report ${ago(now - service.seen)} ago`;
  const version = service.versions.length ? `version ${service.versions.join(", ")}` : "";
  $("name").textContent = service.name;
  $("about").textContent = [version, state, service.roles.join(", ").replaceAll("_", " ")].filter(Boolean).join(" · ");
}

// The values now come with the plots, so that a card and its plot's legend say the same.
function showCards({ num_instances: numInstances }, last) {
  const cards = [];
  const card = (label, value, unit, note = "", bad = false) => {
    const made = element("div", undefined, bad ? "card bad" : "card");
    made.append(element("span", label), element("strong", format(value, unit)), element("small", note));
    cards.push(made);
  };
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
  const each = numInstances > 1 ? `${numInstances} instances together` : "";
  card("CPU", last.cpu, "%", each);
  card("Memory", last.memory, "By", each);
  if (last.gpu != null) card("GPU", last.gpu, "%", `memory ${format(last.gpu_memory, "By")}`);
  $("cards").replaceChildren(...cards);
}

function row(cells, heading = false) {
  const made = element("tr");
  cells.forEach((content, at) => {
    const cell = element(heading || at === 0 ? "th" : "td");
    cell.append(...[content].flat().filter((part) => part !== ""));
    made.append(cell);
  });
  return made;
}

function fill(section, headings, rows) {
  section.hidden = !rows.length;
  const [head, body] = [element("thead"), element("tbody")];
  head.append(row(headings, true));
  body.append(...rows);
  section.querySelector("table").replaceChildren(head, body);
}

function showArtifact(steps) {
  const batches = [...new Set(steps.flatMap((step) => Object.keys(step.latency)))].sort((a, b) => a - b);
  const teacher = steps.find(({ step }) => step === "teacher");
  const served = steps.filter(({ step }) => step !== "teacher" && step !== "control").at(-1);
  const ratio = (from, to, word) => (from && to && from !== to ? element("small", `${format(from / to, "")}× ${word}`) : "");
  const rows = steps.map((step) => {
    const { value, low, high } = step.quality;
    const interval = low != null && high != null ? element("small", `${format(low * 100, "")}–${format(high * 100, "")}`) : "";
    const smaller = ratio(teacher?.size, step.size, "smaller");
    const latencies = batches.map((batch) => {
      const faster = ratio(teacher?.latency[batch], step.latency[batch], "faster");
      return [format(step.latency[batch], "s"), faster];
    });
    const made = row([step.step, [format(value, "%"), interval], [format(step.size, "By"), smaller], ...latencies]);
    if (step === served) made.className = "served";
    return made;
  });
  const metric = steps.find((step) => step.metric)?.metric ?? "quality";
  fill($("artifact"), ["step", metric, "size", ...batches.map((batch) => (batch ? `latency, batch ${batch}` : "latency"))], rows);
}

function showAlerts(alerts) {
  const items = alerts.slice(0, 50).map((alert) => {
    const item = element("li");
    const firing = alert.state === "firing";
    const until = firing ? "now" : clock(alert.resolved_s);
    item.append(element("span", alert.state, firing ? "badge on" : "badge"), element("span", alert.sentence));
    item.append(element("time", `${clock(alert.started_s)} – ${until}`));
    return item;
  });
  $("alerts").querySelector("ol").replaceChildren(...(items.length ? items : [element("p", "None. Latency and errors are compared with what was usual before.")]));
}

function showTraces(spans) {
  const rows = spans.slice(0, 12).map((span) => {
    const made = row([element("code", span.trace_id.slice(0, 16)), span.name, format(span.duration_s, "s"), clock(span.start_s), span.failed ? "error" : "ok"]);
    made.firstChild.title = span.trace_id;
    if (span.failed) made.lastChild.className = "bad";
    return made;
  });
  fill($("traces"), ["trace", "name", "duration", "time", "status"], rows);
}

function chooseRange(seconds) {
  chosen.seconds = seconds;
  for (const button of $("ranges").children) button.setAttribute("aria-pressed", String(Number(button.dataset.seconds) === seconds));
  refresh();
}

for (const button of $("ranges").children) button.addEventListener("click", () => chooseRange(Number(button.dataset.seconds)));
document.addEventListener("visibilitychange", () => document.hidden || refresh());
chooseRange(chosen.seconds);
