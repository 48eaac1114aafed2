// One incident: its probable cause, what was seen where and when, the evidence plotted, what people say of it.

import { href, query } from "../address.js";
import { ask, tell } from "../ask.js";
import { badge, element, fill, link, panel, renew, table, within } from "../elements.js";
import { format, lasting, moment } from "../format.js";
import { shows } from "../marks.js";
import { Plots } from "../plots.js";
import { form, silenceForm } from "./forms.js";
import { bandsOf, stateOf } from "./incident-list.js";

const LEAST_BEFORE = 600; // seconds shown before an incident began

export function mount(root, [id]) {
  const [title, about] = [element("h2", `Incident ${id}`), element("p")];
  const causes = panel("Probable cause", "What changed shortly before, the most probable first.");
  const suspects = element("ol", undefined, "events");
  causes.append(suspects);
  const evidence = within("section", "evidence");
  evidence.setAttribute("aria-label", "Evidence");
  const timeline = panel("Timeline");
  const events = element("ol", undefined, "events");
  timeline.append(events);
  const signals = panel("Signals");
  const rows = table(["service", "signal", "process", "worst", "expected", "last", "runbook"]);
  signals.append(rows);
  const say = panel("Say");
  root.append(within("div", "title", title, about), causes, evidence, timeline, signals, say);
  const groups = new Map(); // by service, its heading and plots
  let forms = "";

  return {
    async load(span, params) {
      const incident = await ask(`api/incidents/${encodeURIComponent(id)}`);
      const shown = params.has("from") ? span : around(incident);
      const points = [...groups.values()][0]?.plots.points() ?? 400;
      const series = await Promise.all(incident.services.map((service) =>
        ask(`api/series?${query(shown, { service, points })}`).catch((error) => {
          if (error.status === 404) return null; // it has reported nothing for as long as anything is kept
          throw error;
        })));
      return { incident, series: series.filter(Boolean) };
    },
    show({ incident, series }) {
      title.textContent = incident.title;
      const open = incident.state === "open";
      about.replaceChildren(badge(stateOf(incident), open && !incident.silenced), ` ${lasted(incident)}`);
      showCauses(suspects, incident);
      for (const content of series) showEvidence(content, incident);
      showTimeline(events, incident);
      fill(rows, incident.evidence.map(cellsOf));
      const wanted = `${open} ${incident.acknowledged?.by}`;
      if (forms !== wanted) say.replaceChildren(say.firstChild, ...formsOf(incident));
      forms = wanted;
    },
    missing(message) {
      about.textContent = message;
    },
    close() {
      for (const group of groups.values()) group.plots.close();
    },
  };

  function showEvidence(content, incident) {
    const mine = incident.evidence.filter((each) => each.service === content.service);
    let group = groups.get(content.service);
    if (!group) {
      const parent = within("section", "plots");
      parent.setAttribute("aria-label", `Evidence of ${content.service}`);
      evidence.append(within("h3", "", link(content.service, href("model", [content.service]))), parent);
      group = { plots: new Plots(parent) };
      groups.set(content.service, group);
    }
    const plots = content.plots.filter((plot) => mine.some((each) => shows(plot.key, each.signal)));
    group.plots.update({ ...content, plots: plots.length ? plots : content.plots.slice(0, 3) }, {
      bands: bandsOf([incident], content.service),
      changes: incident.causes,
    });
  }
}

// From a while before it began until a while after it ended, or now.
function around({ started_s: started, fired_s: fired, ended_s: ended }) {
  const margin = Math.max(LEAST_BEFORE, 0.3 * ((ended ?? fired) - started));
  return { from: started - margin, to: ended === null ? null : ended + margin, live: false };
}

function lasted({ started_s: from, ended_s: to }) {
  return to === null ? `since ${moment(from)}` : `${moment(from)} – ${moment(to)}, ${lasting(to - from)}`;
}

function showCauses(list, { causes, started_s: started }) {
  if (!causes.length) {
    renew(list, ["none"], (text) => text, () => element("li", "Nothing that is known changed before it began.", "soft"));
    return;
  }
  renew(list, causes, (cause) => `${cause.time_s} ${cause.text}`, (cause) => {
    const made = element("li");
    const early = started - cause.time_s;
    const when = `${moment(cause.time_s)}, ${lasting(Math.abs(early))} ${early >= 0 ? "before" : "after"} the first unusual value`;
    made.append(badge(cause.kind, false), element("span", [cause.service, cause.text].filter(Boolean).join(": ")), element("time", when));
    return made;
  });
}

function showTimeline(list, incident) {
  const events = [
    ...incident.causes.map((cause) => [cause.time_s, "change", [cause.service, cause.text].filter(Boolean).join(": ")]),
    ...incident.evidence.flatMap((each) => [
      [each.started_s, "unusual", `${each.service}: first unusual value of ${named(each)}`],
      [each.fired_s, "alert", each.sentence],
      ...(each.resolved_s === null ? [] : [[each.resolved_s, "over", `${each.service}: ${named(each)} is over`]]),
    ]),
  ];
  const { acknowledged } = incident;
  if (acknowledged) events.push([acknowledged.at_s, "acknowledged", [acknowledged.by, acknowledged.note].filter(Boolean).join(": ")]);
  if (incident.ended_s !== null) events.push([incident.ended_s, "end", stateOf(incident)]);
  events.sort((a, b) => a[0] - b[0]);
  renew(list, events, (event) => event.join("\n"), ([time, kind, text]) => {
    const made = element("li");
    made.append(badge(kind, kind === "alert"), element("span", text), element("time", moment(time)));
    return made;
  });
}

const UNITS = {
  latency: "s", queue: "s", inference: "s", train_step: "s", slow_replica: "s", memory: "By", cpu: "%", throughput: "/s",
  server_errors: "%", client_errors: "%", failing_replica: "%", cascade: "%", teacher: "%",
};
const named = (each) => each.signal.replaceAll("_", " ") + (each.instance ? ` of ${each.instance}` : "");

function cellsOf(each) {
  const unit = UNITS[each.signal] ?? "";
  const [low, high] = each.expected;
  return {
    key: each.alert,
    cells: [
      link(each.service, href("model", [each.service])),
      each.signal.replaceAll("_", " "),
      each.instance ? link(each.instance, href("process", [each.service, each.instance])) : "all",
      format(each.worst, unit),
      `${format(low, unit)} – ${format(high, unit)}`,
      format(each.last, unit),
      link("what to do", each.runbook),
    ],
  };
}

// What can be said of it now.
function formsOf(incident) {
  const path = `api/incidents/${incident.id}`;
  const [first] = incident.evidence;
  const forms = [];
  const add = (heading, note, made) => forms.push(within("div", "saying", element("h4", heading), element("p", note, "note"), made));
  if (!incident.acknowledged) {
    const fields = [["by", "Your name"], ["note", "Note", { required: false }]];
    add("Acknowledge", "Others see that you are looking at it.", form("Acknowledge", fields, (values) => tell(`${path}/acknowledge`, values)));
  }
  if (incident.state === "open") {
    const fields = [["by", "Your name"], ["why", "Why"]];
    add("Accept", "What its signals are now is normal from now on; the incident ends.", form("Accept as normal", fields, (values) => tell(`${path}/accept`, values)));
  }
  add("Silence", "It is recorded and shown, but nobody is told of it.", silenceForm({ service: first?.service, signal: first?.signal }));
  return forms;
}
