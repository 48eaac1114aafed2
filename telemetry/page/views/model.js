// One service: its values now, its plots, the processes that report for it, how its model was made.

import { href, query } from "../address.js";
import { ask } from "../ask.js";
import { element, fill, link, panel, renew, table, within } from "../elements.js";
import { ago, format, moment } from "../format.js";
import { Plots } from "../plots.js";
import { artifactPanel } from "./artifact.js";
import { showCards } from "./cards.js";
import { showChanges } from "./changes.js";
import { bandsOf, showIncidents } from "./incident-list.js";
import { processTable } from "./processes.js";

export function mount(root, [name]) {
  const services = within("nav", "services");
  services.setAttribute("aria-label", "Services");
  const [title, about] = [element("h2", name), element("p")];
  const cards = within("section", "cards");
  cards.setAttribute("aria-label", "Now");
  const parent = within("section", "plots");
  parent.setAttribute("aria-label", "Over time");
  const processes = processTable("Processes", ["process", "node", "version", "requests/s", "CPU", "memory", "reported"]);
  const artifact = artifactPanel();
  const [incidents, changes] = [panel("Incidents"), panel("Changes")];
  const [list, changed] = [element("ol", undefined, "events"), element("ol", undefined, "events")];
  incidents.append(list);
  changes.append(changed);
  const [rollouts, decisions] = [panel("Rollouts", "Each decision on a version, and why."), element("ol", undefined, "events")];
  rollouts.append(decisions);
  const traces = panel("Sampled traces");
  const spans = table(["trace", "name", "duration", "time", "status"]);
  traces.append(spans);
  root.append(services, within("div", "title", title, about), cards, parent, processes.panel, artifact.panel, incidents, rollouts, changes, traces);
  const plots = new Plots(parent);

  return {
    async load(span) {
      const asked = ask(`api/series?${query(span, { service: name, points: plots.points() })}`);
      const [series, { changes: all }] = await Promise.all([asked, ask("api/changes?since=0")]);
      return { ...series, changes: all.filter((change) => !change.service || change.service === name) };
    },
    show(content, common) {
      const service = common.services.find((each) => each.name === name);
      showServices(services, common.services, name);
      about.textContent = described(service, common.now);
      showCards(cards, service, content.last, common.span, content.full_in_s);
      const mine = common.incidents.filter((incident) => incident.services.includes(name));
      plots.update(content, { bands: bandsOf(mine, name), changes: content.changes, slow: content.slow });
      processes.show(content.instances, content.now);
      artifact.show(content.artifact);
      showIncidents(list, mine);
      const recent = content.changes.filter((change) => change.time_s >= content.since && change.time_s <= content.until);
      changes.hidden = !recent.length;
      showChanges(changed, recent);
      const decided = content.changes.filter((change) => change.kind === "rollout");
      rollouts.hidden = !decided.length;
      showChanges(decisions, decided);
      traces.hidden = !content.traces.length;
      fill(spans, content.traces.slice(0, 12).map((span) => traceRow(span, common.rooms.includes("traces"))));
    },
    missing(message) {
      about.textContent = message;
    },
    close: () => plots.close(),
  };
}

function described(service, now) {
  if (!service) return "";
  const instances = `${service.num_instances} ${service.num_instances === 1 ? "instance" : "instances"}`;
  const state = service.num_instances ? instances : `ended, last report ${ago(now - service.seen)} ago`;
  const version = service.versions.length ? `version ${service.versions.join(", ")}` : "";
  return [version, state, service.roles.join(", ").replaceAll("_", " ")].filter(Boolean).join(" · ");
}

function showServices(nav, services, chosen) {
  const make = (service) => {
    const made = link("", "");
    made.append(element("strong", service.name), element("small"));
    return made;
  };
  renew(nav, services, (service) => service.name, make, (made, service) => {
    const { last } = service;
    const training = last.train_loss != null ? `loss ${format(last.train_loss, "")}` : "idle";
    const rate = last.throughput != null ? `${format(last.throughput, "/s")} req/s` : training;
    made.href = href("model", [service.name]);
    made.lastChild.textContent = service.num_firing ? "incident" : service.num_instances ? rate : "ended";
    made.classList.toggle("alerting", service.num_firing > 0);
    if (service.name === chosen) made.setAttribute("aria-current", "page");
    else made.removeAttribute("aria-current");
  });
}

function traceRow(span, linked) {
  const shown = span.trace_id.slice(0, 16);
  const id = linked ? link(shown, href("trace", [span.trace_id]), "code") : element("code", shown);
  id.title = span.trace_id;
  const status = element("span", span.failed ? "error" : "ok", span.failed ? "bad" : "");
  return { key: span.trace_id + span.span_id, cells: [id, span.name, format(span.duration_s, "s"), moment(span.start_s), status] };
}
