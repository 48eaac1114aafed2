// A table of processes.

import { href } from "../address.js";
import { element, fill, link, panel, table } from "../elements.js";
import { ago, format } from "../format.js";

const CELLS = {
  process: (row) => link(row.instance || "unnamed", href("process", [row.service, row.instance])),
  service: (row) => link(row.service, href("model", [row.service])),
  node: (row) => (row.node ? link(row.node, href("node", [row.node])) : "–"),
  version: (row) => row.version || "–",
  "requests/s": (row) => format(row.throughput, "/s"),
  CPU: (row) => format(row.cpu, "%"),
  memory: (row) => format(row.memory, "By"),
  reported: (row, now) => (row.alive ? "now" : element("span", `ended ${ago(now - row.seen)} ago`, "soft")),
};

export function processTable(title, headings) {
  const made = panel(title);
  const rows = table(headings);
  made.append(rows);
  return {
    panel: made,
    show(processes, now) {
      made.hidden = !processes.length;
      fill(rows, processes.map((row) => ({
        key: `${row.service}\n${row.instance}`,
        cells: headings.map((heading) => CELLS[heading](row, now)),
      })));
    },
  };
}
