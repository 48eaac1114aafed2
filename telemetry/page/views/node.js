// One node: what runs on it and what that takes.

import { query } from "../address.js";
import { ask } from "../ask.js";
import { element, within } from "../elements.js";
import { Plots } from "../plots.js";
import { processTable } from "./processes.js";

export function mount(root, [node]) {
  const about = element("p");
  const parent = within("section", "plots");
  parent.setAttribute("aria-label", "Over time");
  const processes = processTable("Processes on it", ["process", "service", "version", "requests/s", "CPU", "memory", "reported"]);
  root.append(within("div", "title", element("h2", node), about), parent, processes.panel);
  const plots = new Plots(parent);
  return {
    load: (span) => ask(`api/node?${query(span, { node, points: plots.points() })}`),
    show(content) {
      const alive = content.processes.filter((each) => each.alive).length;
      about.textContent = `node · ${alive} ${alive === 1 ? "process" : "processes"}`;
      plots.update(content, {});
      processes.show(content.processes, content.now);
    },
    missing(message) {
      about.textContent = message;
    },
    close: () => plots.close(),
  };
}
