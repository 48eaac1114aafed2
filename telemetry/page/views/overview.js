// All services and their state, and the nodes they run on.

import { href, query } from "../address.js";
import { ask } from "../ask.js";
import { element, fill, link, panel, renew, table, within } from "../elements.js";
import { ago, format } from "../format.js";
import { spark } from "./spark.js";

export function mount(root) {
  const services = within("section", "tiles");
  services.setAttribute("aria-label", "Services");
  const nodes = panel("Nodes");
  const rows = table(["node", "processes", "services", "CPU", "memory"]);
  nodes.append(rows);
  root.append(within("div", "title", element("h2", "Overview")), services, nodes);
  return {
    load: (span) => ask(`api/overview?${query(span)}`),
    show(content) {
      renew(services, sorted(content.services), (service) => service.name, tile, (made, service) => update(made, service, content.now));
      nodes.hidden = !content.nodes.length;
      fill(rows, content.nodes.map((node) => ({
        key: node.node,
        cells: [
          link(node.node, href("node", [node.node])),
          String(node.num_instances),
          node.services.join(", "),
          format(node.cpu, "%"),
          format(node.memory, "By"),
        ],
      })));
    },
  };
}

// What most needs a look: where alerts fire, then deployments before trainings, then what still reports.
function sorted(services) {
  const rank = (service) => [service.num_firing > 0, service.num_instances > 0, service.last.throughput != null];
  return services.toSorted((a, b) => {
    const [left, right] = [rank(a), rank(b)];
    const at = left.findIndex((value, index) => value !== right[index]);
    return at < 0 ? (a.name < b.name ? -1 : 1) : right[at] - left[at];
  });
}

function tile(service) {
  const made = link("", "", "tile");
  const state = element("small", "", "state");
  made.append(within("div", "head", element("strong", service.name), state), element("small", "", "about"), element("div", undefined, "figures"));
  return made;
}

export function stateOf(service) {
  if (service.num_firing) return ["bad", "incident"];
  return service.num_instances ? ["good", "reporting"] : ["ended", "ended"];
}

function update(made, service, now) {
  const [state, text] = stateOf(service);
  made.href = href("model", [service.name]);
  made.dataset.state = state;
  made.querySelector(".state").textContent = text;
  const many = `${service.num_instances} ${service.num_instances === 1 ? "instance" : "instances"}`;
  const instances = service.num_instances ? many : `last report ${ago(now - service.seen)} ago`;
  const version = service.versions.length ? `version ${service.versions.join(", ")}` : "";
  made.querySelector(".about").textContent = [version, instances, service.roles.join(", ").replaceAll("_", " ")].filter(Boolean).join(" · ");
  const { last, sparks } = service;
  const figures = [];
  const figure = (label, signal, unit) => {
    figures.push(within("div", "figure", element("span", label), element("b", format(last[signal], unit)), spark(sparks[signal])));
  };
  if (last.throughput != null || sparks.throughput) {
    figure("requests/s", "throughput", "/s");
    figure("p95 latency", "latency_p95", "s");
    figure("server errors", "server_error_ratio", "%");
  } else if (last.train_loss != null || sparks.train_loss) {
    figure("loss", "train_loss", "");
    figure("samples/s", "train_samples", "/s");
  } else {
    figure("CPU", "cpu", "%");
    figure("memory", "memory", "By");
  }
  made.querySelector(".figures").replaceChildren(...figures);
}
