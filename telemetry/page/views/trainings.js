// Training runs: what trains now and what has trained.

import { href, query } from "../address.js";
import { ask } from "../ask.js";
import { badge, element, fill, link, panel, table, within } from "../elements.js";
import { ago, format } from "../format.js";
import { spark } from "./spark.js";

const isTraining = (service) => service.roles.includes("train_worker") || service.last.train_loss != null;

export function mount(root) {
  const runs = panel("Runs", "Loss, step time and each worker's share are a click away.");
  const rows = table(["run", "state", "workers", "loss", "over time", "step", "samples/s"]);
  const none = element("p", "No training has reported within what is kept. `python -m optimization RECIPE` does so by itself.", "note");
  runs.append(none, rows);
  root.append(within("div", "title", element("h2", "Trainings")), runs);
  return {
    load: (span) => ask(`api/overview?${query(span)}`),
    show(content) {
      const trainings = content.services.filter(isTraining);
      none.hidden = trainings.length > 0;
      rows.hidden = !trainings.length;
      fill(rows, trainings.map((service) => ({
        key: service.name,
        cells: [
          link(service.name, href("model", [service.name])),
          service.num_instances ? badge("training", false) : element("span", `ended ${ago(content.now - service.seen)} ago`, "soft"),
          String(service.num_instances),
          format(service.last.train_loss, ""),
          spark(service.sparks.train_loss),
          format(service.last.train_step, "s"),
          format(service.last.train_samples, "/s"),
        ],
      })));
    },
  };
}
