// Searches for traces: by service, name, duration and failure, within the times that are shown.

import { changed, go, href } from "../address.js";
import { ask } from "../ask.js";
import { element, fill, link, panel, table, within } from "../elements.js";
import { format, moment } from "../format.js";

const FIELDS = ["service", "name", "min_duration", "failed"];

export function mount(root) {
  const form = element("form", undefined, "said");
  const service = element("select");
  service.append(option("", "any"));
  const name = input("text");
  const least = input("number");
  least.min = 0;
  least.step = "any";
  const failed = element("select");
  failed.append(option("", "any"), option("true", "failed"), option("false", "did not fail"));
  const labelled = [["Service", service], ["Name of the span", name], ["At least, ms", least], ["Status", failed]];
  form.append(...labelled.map(([text, field]) => within("label", "", element("span", text), field)), element("button", "Search", "main"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    go(changed({ service: service.value, name: name.value, min_duration: least.value ? least.value / 1000 : null, failed: failed.value }));
  });
  const search = panel("Search");
  search.append(form);
  const found = panel("Spans", "The latest first.");
  const none = element("p", "None is kept that fits. A tenth of all requests and every failed or slow one are traced.", "note");
  const rows = table(["trace", "service", "name", "duration", "of the longest", "time", "status"]);
  found.append(none, rows);
  root.append(within("div", "title", element("h2", "Traces")), search, found);

  return {
    load(span, params, now) {
      const query = new URLSearchParams({ since: span.live ? now - span.seconds : span.from, limit: 200 });
      if (!span.live) query.set("until", span.to);
      for (const field of FIELDS) if (params.get(field)) query.set(field, params.get(field));
      if (!form.contains(document.activeElement)) {
        offer(service, params.get("service"));
        name.value = params.get("name") ?? "";
        least.value = params.get("min_duration") ? params.get("min_duration") * 1000 : "";
        failed.value = params.get("failed") ?? "";
      }
      return ask(`api/traces?${query}`);
    },
    show({ spans }, common) {
      for (const each of common.services) offer(service, each.name, false);
      none.hidden = spans.length > 0;
      rows.hidden = !spans.length;
      const longest = Math.max(...spans.map((span) => span.duration_s), 1e-9);
      fill(rows, spans.map((span) => ({ key: `${span.trace_id} ${span.span_id}`, cells: cellsOf(span, longest) })));
    },
  };
}

function cellsOf(span, longest) {
  const bar = within("span", "bar-of", element("i"));
  bar.firstChild.style.width = `${Math.max(1, (span.duration_s / longest) * 100)}%`;
  return [
    link(span.trace_id.slice(0, 16), href("trace", [span.trace_id]), "code"),
    link(span.service, href("model", [span.service])),
    span.name,
    format(span.duration_s, "s"),
    bar,
    moment(span.start_s),
    element("span", span.failed ? "error" : "ok", span.failed ? "bad" : ""),
  ];
}

function input(type) {
  const made = element("input");
  made.type = type;
  made.maxLength = 256;
  return made;
}

function option(value, text) {
  const made = element("option", text);
  made.value = value;
  return made;
}

// A choice, which is made where `chosen`; what is searched for is offered though it no longer reports.
function offer(select, value, chosen = true) {
  if (value && ![...select.options].some((each) => each.value === value)) select.append(option(value, value));
  if (chosen) select.value = value ?? "";
}
