// Objectives: how much of each error budget is left of 30 days, and how fast it is spent.

import { href } from "../address.js";
import { ask } from "../ask.js";
import { badge, element, fill, link, panel, table, within } from "../elements.js";
import { format, lasting } from "../format.js";

export function mount(root) {
  const objectives = panel("Objectives", "A burn of 1 spends the budget in 30 days; 14.4 for an hour, or 6 for six hours, is told at once.");
  const none = element("p", "None is set: name some under `slos` in the collector's settings.", "note");
  let headings = "";
  let rows = null;
  objectives.append(none);
  root.append(within("div", "title", element("h2", "SLOs")), objectives);
  return {
    load: () => ask("api/slos"),
    show({ slos }) {
      none.hidden = slos.length > 0;
      if (!slos.length) return;
      const windows = slos[0].burns.map((burn) => burn.window_s);
      const wanted = ["service", "objective", "budget left", "of 30 days", ...windows.map((window) => `burn, ${lasting(window)}`), "told as"];
      if (headings !== wanted.join("\n")) {
        rows?.remove();
        rows = table(wanted);
        objectives.append(rows);
        headings = wanted.join("\n");
      }
      fill(rows, slos.map(rowOf));
    },
  };
}

function rowOf(slo) {
  const promise = slo.latency_s === null ? "answered without an error" : `answered within ${format(slo.latency_s, "s")}`;
  const gauge = within("span", "bar-of", element("i", undefined, slo.left <= 0 ? "spent" : ""));
  gauge.firstChild.style.width = `${Math.min(Math.max(slo.left, 0), 1) * 100}%`;
  return {
    key: `${slo.service} ${slo.name}`,
    cells: [
      link(slo.service, href("model", [slo.service])),
      [slo.name, element("small", `${format(slo.share, "%")} ${promise}`)],
      element("span", format(slo.left, "%"), slo.left <= 0 ? "bad" : ""),
      gauge,
      ...slo.burns.map(({ burn }) => element("span", format(burn, ""), burn >= 14.4 ? "bad" : "")),
      slo.severity ? badge(slo.severity, slo.severity === "page") : "",
    ],
  };
}
