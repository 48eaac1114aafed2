// One process: a replica, a train worker, a stage. All that it reports, each metric a plot.

import { href, query } from "../address.js";
import { ask } from "../ask.js";
import { element, link, within } from "../elements.js";
import { ago } from "../format.js";
import { Plots } from "../plots.js";
import { bandsOf } from "./incident-list.js";

export function mount(root, [service, instance]) {
  const about = element("p");
  const parent = within("section", "plots");
  parent.setAttribute("aria-label", "Over time");
  const back = link(service, href("model", [service]));
  root.append(within("p", "path", back, " /"), within("div", "title", element("h2", instance), about), parent);
  const plots = new Plots(parent);
  return {
    load: (span) => ask(`api/process?${query(span, { service, instance, points: plots.points() })}`),
    show(content, common) {
      const { process } = content;
      back.href = href("model", [service]);
      const said = [
        process.version ? `version ${process.version}` : "",
        process.role.replaceAll("_", " "),
        process.alive ? "reporting" : `ended, last report ${ago(content.now - process.seen)} ago`,
      ];
      about.replaceChildren(said.filter(Boolean).join(" · "));
      if (process.node) about.append(" · ", link(process.node, href("node", [process.node])));
      plots.update(content, { bands: bandsOf(common.incidents, service) });
    },
    missing(message) {
      about.textContent = message;
    },
    close: () => plots.close(),
  };
}
