// What a model gets and answers now beside what it did when it was made: distributions, data quality, agreement with
// its teacher, accuracy.

import { changed, href } from "../address.js";
import { ask } from "../ask.js";
import { bars } from "./bars.js";
import { badge, element, fill, link, panel, renew, table, within } from "../elements.js";
import { format } from "../format.js";

export function mount(root, [service]) {
  const services = within("nav", "services");
  services.setAttribute("aria-label", "Services");
  const about = element("p");
  const cards = within("section", "cards");
  cards.setAttribute("aria-label", "Now");
  const distributions = within("section", "plots");
  distributions.setAttribute("aria-label", "Distributions");
  const problems = panel("Data quality", "Rows that are not as the manifest says.");
  const counts = table(["column", "problem", "rows"]);
  problems.append(counts);
  const segments = panel("Segments", "Where the model is least right.");
  const slices = table(["segment", "rows", "accuracy", "interval", "how sure"]);
  segments.append(slices);
  const title = service ? `Drift of ${service}` : "Drift";
  root.append(services, within("div", "title", element("h2", title), about), cards, distributions, problems, segments);

  return {
    load: () => (service ? ask(`api/drift/${encodeURIComponent(service)}`) : Promise.resolve({ versions: [], why: "" })),
    show(content, common) {
      showServices(services, common.services, service);
      const wanted = common.params.get("version");
      const version = content.versions.find((each) => each.version === wanted) ?? content.versions[0];
      showVersions(about, content, version, service);
      renew(cards, cardsOf(version), (card) => card.label, makeCard, updateCard);
      renew(distributions, version?.distributions ?? [], (each) => each.name, makeFigure, updateFigure);
      problems.hidden = !version?.problems.length;
      fill(counts, (version?.problems ?? []).map((each) => ({
        key: `${each.column} ${each.problem}`,
        cells: [each.column, each.problem.replaceAll("_", " "), format(each.rows, "")],
      })));
      segments.hidden = !version?.segments.length;
      fill(slices, (version?.segments ?? []).map((each) => ({
        key: `${each.name} ${each.value}`,
        cells: [
          `${each.name} ${each.value}`,
          format(each.rows, ""),
          format(each.accuracy, "%"),
          `${format(each.low, "%")} – ${format(each.high, "%")}`,
          each.is_worse ? badge("worse than the rest", true) : "",
        ],
      })));
    },
    missing(message) {
      about.textContent = message;
    },
  };
}

function showServices(nav, services, chosen) {
  const models = services.filter((service) => service.last.throughput != null || service.name === chosen);
  const make = (service) => {
    const made = link("", "");
    made.append(element("strong", service.name));
    return made;
  };
  renew(nav, models, (service) => service.name, make, (made, service) => {
    made.href = href("drift", [service.name]);
    if (service.name === chosen) made.setAttribute("aria-current", "page");
    else made.removeAttribute("aria-current");
  });
}

function showVersions(about, { versions, why }, shown, service) {
  if (!service) about.textContent = "of which model?";
  else if (!shown) about.textContent = why;
  else {
    const links = versions.map((each) => (each === shown ? `version ${each.version}` : link(`version ${each.version}`, changed({ version: each.version }))));
    about.replaceChildren(...links.flatMap((each, at) => (at ? [" · ", each] : [each])), why ? ` · ${why}` : "");
  }
}

function cardsOf(version) {
  if (!version) return [];
  const drifted = version.distributions.filter((each) => each.is_drifted);
  const cards = [{
    label: "Distributions",
    value: drifted.length ? `${drifted.length} drifted` : "none drifted",
    note: `of ${version.distributions.length} that are watched`,
    bad: drifted.length > 0,
  }];
  for (const [label, share] of [["Agrees with its teacher", version.fidelity], ["Accuracy", version.accuracy]]) {
    if (!share || !share.rows) continue;
    const interval = `${format(share.low, "%")} – ${format(share.high, "%")} of ${format(share.rows, "")} rows`;
    cards.push({ label, value: format(share.value, "%"), note: `${interval} · expected ${format(share.expected, "%")}`, bad: share.has_fallen });
  }
  return cards;
}

function makeCard({ label }) {
  return within("div", "card", element("span", label), element("strong"), element("small"));
}

function updateCard(made, { value, note, bad }) {
  made.className = bad ? "card bad" : "card";
  made.children[1].textContent = value;
  made.children[2].textContent = note;
}

function makeFigure({ name }) {
  const made = within("figure", "plot drift", element("h3", name.replaceAll("_", " ")), element("p", "", "note"), element("div"));
  made.dataset.plot = name;
  return made;
}

function updateFigure(made, each) {
  const said = `${each.rows} ${each.psi} ${each.evidence} ${each.is_drifted}`;
  if (made.dataset.said === said) return;
  made.dataset.said = said;
  const [, note, drawing] = made.children;
  const evidence = each.is_drifted ? "surely drifted" : `evidence ${format(Math.max(0, each.evidence / each.needed), "%")} of what is needed`;
  note.textContent = `PSI ${format(each.psi, "")}, by chance at most ${format(each.psi_expected, "")} · ${evidence} · ${format(each.rows, "")} rows`;
  made.classList.toggle("alerting", each.is_drifted);
  drawing.replaceChildren(bars(each.name, each.bounds, each.reference, each.window));
}
