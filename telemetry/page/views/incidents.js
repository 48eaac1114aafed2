// All incidents that are remembered, what changed, and what nobody is told of.

import { ask, tell } from "../ask.js";
import { element, fill, panel, table, within } from "../elements.js";
import { moment } from "../format.js";
import { showChanges } from "./changes.js";
import { showIncidents } from "./incident-list.js";
import { silenceForm, who } from "./forms.js";

export function mount(root) {
  const [open, ended] = [panel("Open"), panel("Ended")];
  const [opens, endeds] = [element("ol", undefined, "events"), element("ol", undefined, "events")];
  open.append(opens);
  ended.append(endeds);
  const silences = panel("Silences", "Alerts that match are recorded and shown, but nobody is told of them.");
  const rows = table(["service", "signal", "process", "until", "by", "why", "end it"]);
  const form = silenceForm({});
  silences.append(rows, form);
  const changes = panel("Changes", "What became different; the first to suspect.");
  const changed = element("ol", undefined, "events");
  changes.append(changed);
  root.append(within("div", "title", element("h2", "Incidents")), open, ended, silences, changes);

  const lift = (silence) => {
    const button = element("button", "Lift");
    button.type = "button";
    button.addEventListener("click", async () => {
      await tell(`api/silences/${silence.id}/lift`, { by: who() || "the page" });
      dispatchEvent(new Event("told"));
    });
    return button;
  };

  return {
    load: () => ask("api/changes?since=0"),
    show(content, common) {
      showIncidents(opens, common.incidents.filter((each) => each.state === "open"));
      showIncidents(endeds, common.incidents.filter((each) => each.state !== "open"), "None that is remembered.");
      rows.hidden = !common.silences.length;
      fill(rows, common.silences.map((silence) => ({
        key: silence.id,
        cells: [silence.service, silence.signal, silence.instance, moment(silence.until_s), silence.by, silence.why, lift(silence)],
      })));
      showChanges(changed, content.changes);
    },
  };
}
