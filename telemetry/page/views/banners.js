// What is wrong now, above every view: one banner for an incident, however many alerts it raised.

import { href } from "../address.js";
import { element, link, renew, within } from "../elements.js";
import { ago } from "../format.js";

export function showBanners(parent, { incidents, now }) {
  const open = incidents.filter((incident) => incident.state === "open" && !incident.silenced);
  parent.hidden = !open.length;
  renew(parent, open, (incident) => incident.id, make, (made, incident) => {
    const [title, about] = made.children;
    const [cause] = incident.causes;
    const said = [
      `for ${ago(now - incident.started_s)}`,
      cause ? `shortly after: ${cause.text}` : "",
      incident.acknowledged ? `${incident.acknowledged.by} is looking at it` : "",
    ].filter(Boolean).join(" · ");
    title.href = href("incident", [incident.id]);
    if (title.textContent !== incident.title) title.textContent = incident.title;
    if (about.textContent !== said) about.textContent = said;
    made.classList.toggle("known", Boolean(incident.acknowledged));
  });
}

function make() {
  const about = element("small");
  about.setAttribute("aria-live", "off"); // the time goes on; only a new banner is news
  return within("p", "", link("", ""), about);
}
