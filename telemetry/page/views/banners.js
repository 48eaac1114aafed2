// What is wrong now, above every view.

import { href } from "../address.js";
import { element, link, renew, within } from "../elements.js";

export function showBanners(parent, { alerts }) {
  const firing = alerts.filter((alert) => alert.state === "firing");
  parent.hidden = !firing.length;
  renew(parent, firing, (alert) => alert.id, () => element("p"), (made, alert) => {
    if (made.textContent === alert.sentence) return;
    made.replaceChildren(link(alert.sentence, href("model", [alert.service])));
  });
}
