// One trace as a waterfall: each span below the one it is a part of, its time as a bar; what it says is a click away.

import { href } from "../address.js";
import { ask } from "../ask.js";
import { element, link, panel, renew, within } from "../elements.js";
import { format, moment } from "../format.js";

export function mount(root, [id]) {
  const about = element("p");
  const spans = panel("Spans");
  const waterfall = element("ol", undefined, "waterfall");
  spans.append(waterfall);
  const logs = panel("Log records");
  const records = element("ol", undefined, "events");
  logs.append(records);
  root.append(
    within("p", "path", link("Traces", href("traces")), " /"),
    within("div", "title", element("h2", `Trace ${id.slice(0, 16)}`), about),
    spans,
    logs,
  );
  return {
    load: () => ask(`api/traces/${encodeURIComponent(id)}`),
    show(content) {
      const start = Math.min(...content.spans.map((span) => span.start_s));
      const end = Math.max(...content.spans.map((span) => span.start_s + span.duration_s));
      about.textContent = content.spans.length
        ? `${moment(start)} · ${format(end - start, "s")} · ${content.spans.length} ${content.spans.length === 1 ? "span" : "spans"}`
        : "none of its spans is kept";
      spans.hidden = !content.spans.length;
      const place = { start, length: Math.max(end - start, 1e-9) };
      renew(waterfall, ordered(content.spans), ({ span }) => span.span_id, (each) => row(each, place));
      logs.hidden = !content.logs.length;
      renew(records, content.logs.toReversed(), (record) => `${record.time_s} ${record.span_id} ${record.body}`, logRow);
    },
    missing(message) {
      about.textContent = message;
    },
  };
}

// Parents before their children, children by their start; what has no parent here stands alone.
function ordered(spans) {
  const known = new Set(spans.map((span) => span.span_id));
  const children = new Map();
  for (const span of spans) {
    const parent = known.has(span.parent_id) && span.parent_id !== span.span_id ? span.parent_id : "";
    children.set(parent, [...(children.get(parent) ?? []), span]);
  }
  const rows = [];
  const seen = new Set();
  const walk = (parent, depth) => {
    for (const span of children.get(parent) ?? []) {
      if (seen.has(span.span_id)) continue;
      seen.add(span.span_id);
      rows.push({ span, depth });
      walk(span.span_id, depth + 1);
    }
  };
  walk("", 0);
  for (const span of spans) if (!seen.has(span.span_id)) rows.push({ span, depth: 0 }); // parents in a circle
  return rows;
}

function row({ span, depth }, { start, length }) {
  const name = within("span", "what", element("b", span.name), element("small", span.service));
  name.style.paddingLeft = `${Math.min(depth, 12) * 14}px`;
  const bar = element("i", undefined, span.failed ? "failed" : "");
  bar.style.left = `${((span.start_s - start) / length) * 100}%`;
  bar.style.width = `${(span.duration_s / length) * 100}%`;
  const took = element("span", `${format(span.duration_s, "s")}${span.failed ? ", error" : ""}`, span.failed ? "took bad" : "took");
  const details = within("details", "", within("summary", "", name, within("span", "when", bar), took), said(span, start));
  return within("li", "", details);
}

function said(span, start) {
  const list = element("dl");
  const add = (term, ...content) => list.append(element("dt", term), within("dd", "", ...content));
  add("service", link(span.service, href("model", [span.service])), span.version ? ` version ${span.version}` : "");
  if (span.instance) add("process", link(span.instance, href("process", [span.service, span.instance])));
  add("starts", `${format(span.start_s - start, "s")} after the trace`);
  add("kind", span.kind);
  if (span.message) add("status", span.message);
  for (const [name, value] of Object.entries(span.attributes)) add(name, String(value));
  for (const event of span.events) {
    const more = Object.entries(event.attributes).map(([name, value]) => `${name}: ${value}`).join(", ");
    add(`${format(event.time_s - span.start_s, "s")} ${event.name}`, more);
  }
  for (const other of span.links) add("linked to", link(other.trace_id, href("trace", [other.trace_id]), "code"));
  return list;
}

function logRow(record) {
  const bad = record.severity >= 17;
  const made = element("li");
  made.append(element("span", record.severity_text || String(record.severity), bad ? "badge on" : "badge"), element("span", record.body), element("time", moment(record.time_s)));
  return made;
}
