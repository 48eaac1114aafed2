// One service: its values now, its plots, the processes that report for it, how its model was made.

import { href, query } from "../address.js";
import { ask } from "../ask.js";
import { badge, element, fill, link, panel, renew, table, within } from "../elements.js";
import { ago, format, moment } from "../format.js";
import { Plots } from "../plots.js";
import { artifactPanel } from "./artifact.js";
import { showCards } from "./cards.js";
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
  const alerts = panel("Alerts");
  const list = element("ol", undefined, "events");
  alerts.append(list);
  const traces = panel("Sampled traces");
  const spans = table(["trace", "name", "duration", "time", "status"]);
  traces.append(spans);
  root.append(services, within("div", "title", title, about), cards, parent, processes.panel, artifact.panel, alerts, traces);
  const plots = new Plots(parent);

  return {
    load: (span) => ask(`api/series?${query(span, { service: name, points: plots.points() })}`),
    show(content, common) {
      const service = common.services.find((each) => each.name === name);
      showServices(services, common.services, name);
      about.textContent = described(service, common.now);
      showCards(cards, service, content.last, common.span);
      const mine = common.alerts.filter((alert) => alert.service === name);
      plots.update(content, { bands: mine });
      processes.show(content.instances, content.now);
      artifact.show(content.artifact);
      showAlerts(list, mine);
      traces.hidden = !content.traces.length;
      fill(spans, content.traces.slice(0, 12).map(traceRow));
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
    made.lastChild.textContent = service.num_firing ? "alert firing" : service.num_instances ? rate : "ended";
    made.classList.toggle("alerting", service.num_firing > 0);
    if (service.name === chosen) made.setAttribute("aria-current", "page");
    else made.removeAttribute("aria-current");
  });
}

function showAlerts(list, alerts) {
  if (!alerts.length) {
    renew(list, [""], () => "none", () => element("li", "None. Latency and errors are compared with what was usual before."));
    return;
  }
  renew(list, alerts.slice(0, 50), (alert) => alert.id, () => element("li"), (item, alert) => {
    const firing = alert.state === "firing";
    const until = firing ? "now" : moment(alert.resolved_s);
    item.replaceChildren(
      badge(alert.state, firing),
      element("span", alert.sentence),
      element("time", `${moment(alert.started_s)} – ${until}`),
    );
  });
}

function traceRow(span) {
  const id = element("code", span.trace_id.slice(0, 16));
  id.title = span.trace_id;
  const status = element("span", span.failed ? "error" : "ok", span.failed ? "bad" : "");
  return { key: span.trace_id + span.span_id, cells: [id, span.name, format(span.duration_s, "s"), moment(span.start_s), status] };
}
