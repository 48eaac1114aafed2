// Incidents as a list: state, what was seen, when.

import { href } from "../address.js";
import { badge, element, link, renew } from "../elements.js";
import { moment } from "../format.js";

const NONE = "None. Every signal is compared with what was usual before.";
const ENDINGS = { returned: "ended", accepted: "accepted", left: "ended: all its processes left" };

export function stateOf(incident) {
  if (incident.state !== "open") return ENDINGS[incident.ended_by] ?? "ended";
  return incident.silenced ? "silenced" : incident.acknowledged ? "acknowledged" : "open";
}

export function showIncidents(list, incidents, none = NONE) {
  if (!incidents.length) {
    renew(list, [none], () => "none", (text) => element("li", text, "soft"));
    return;
  }
  renew(list, incidents.slice(0, 50), (incident) => incident.id, () => element("li"), (item, incident) => {
    const said = [incident.title, stateOf(incident), incident.ended_s, href("incident")].join("\n");
    if (item.dataset.said === said) return;
    item.dataset.said = said;
    const open = incident.state === "open";
    item.replaceChildren(
      badge(stateOf(incident), open && !incident.silenced),
      link(incident.title, href("incident", [incident.id])),
      element("time", `${moment(incident.started_s)} – ${open ? "now" : moment(incident.ended_s)}`),
    );
  });
}

// The signals that were unusual, as bands for the plots of a service.
export const bandsOf = (incidents, service) =>
  incidents.flatMap((incident) => incident.evidence).filter((each) => each.service === service).map((each) => ({ ...each, id: each.alert }));
