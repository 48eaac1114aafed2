// What changed, the latest first.

import { href } from "../address.js";
import { badge, element, link, renew } from "../elements.js";
import { moment } from "../format.js";

export function showChanges(list, changes) {
  if (!changes.length) {
    renew(list, ["none"], (text) => text, () => element("li", "Nothing.", "soft"));
    return;
  }
  const latest = changes.toReversed().slice(0, 100);
  renew(list, latest, (change) => `${change.time_s} ${change.service} ${change.text}`, (change) => {
    const made = element("li");
    const about = change.service ? link(change.service, href("model", [change.service])) : "";
    made.append(badge(change.kind, false), about, element("span", change.text), element("time", moment(change.time_s)));
    return made;
  });
}
