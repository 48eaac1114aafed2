// The page: shows the view that the address names, and asks the JSON API beside it again every two seconds.

import { changed, current, go, href, times } from "./address.js";
import { ask } from "./ask.js";
import { element, link, renew } from "./elements.js";
import { ago } from "./format.js";
import { Range } from "./range.js";
import { showBanners } from "./views/banners.js";
import { mount as incident } from "./views/incident.js";
import { mount as incidents } from "./views/incidents.js";
import { mount as model } from "./views/model.js";
import { mount as node } from "./views/node.js";
import { mount as overview } from "./views/overview.js";
import { mount as process } from "./views/process.js";
import { mount as trainings } from "./views/trainings.js";

const REFRESH_MS = 2000;
const VIEWS = { overview, model, process, node, incidents, incident, trainings };
// In the bar: a view and its name there.
const BAR = [
  ["overview", "Overview"],
  ["incidents", "Incidents"],
  ["trainings", "Trainings"],
];
const $ = (id) => document.getElementById(id);
const range = new Range($("times"), (params) => go(changed(params)));
let shown = null; // {view, root, path}
let heard = null;
let due = 0;
let timer = 0;
let turn = 0;

// What an address names; an old link names a service alone.
function address() {
  const found = current();
  return found.view in VIEWS ? found : { ...found, view: "model", names: [found.view] };
}

function mounted({ view, names }) {
  const path = [view, ...names].join("\n");
  if (shown?.path !== path) {
    shown?.view.close?.();
    const root = element("div");
    $("view").replaceChildren(root);
    shown = { path, name: view, view: VIEWS[view](root, names), root };
    scrollTo(0, 0);
  }
  return shown.view;
}

async function refresh() {
  clearTimeout(timer);
  const mine = ++turn;
  const where = address();
  const span = times(where.params);
  const view = mounted(where);
  range.show(span);
  showBar(where.view);
  try {
    const wanted = Date.now() >= due;
    const [summary, book, content] = await Promise.all([ask("api/services"), ask("api/incidents"), wanted ? view.load(span, where.params) : null]);
    if (mine !== turn) return;
    const common = { ...summary, incidents: book.incidents, silences: book.silences, span };
    $("empty").hidden = summary.services.length > 0;
    $("view").hidden = summary.services.length === 0;
    showBanners($("banners"), common);
    showFooter(summary);
    if (content) {
      view.show(content, common);
      due = Date.now() + (span.live ? Math.min(Math.max(REFRESH_MS - 100, span.seconds / 1.8), 30000) : 30000);
    }
    heard = Date.now();
    status(span.live ? "live" : "still", span.live ? "live" : "a fixed time");
  } catch (error) {
    if (mine !== turn) return;
    if (error.status === 404 && view.missing) view.missing(error.message);
    status("lost", error.status ? error.message : heard ? `connection lost ${ago((Date.now() - heard) / 1000)} ago` : "connection lost");
  }
  timer = setTimeout(refresh, REFRESH_MS);
}

function now() {
  due = 0;
  refresh();
}

function status(state, text) {
  if ($("status").dataset.state === state && $("status").textContent === text) return;
  $("status").dataset.state = state;
  $("status").textContent = text;
}

function showBar(view) {
  renew($("bar"), BAR, ([name]) => name, ([name, text]) => link(text, href(name)), (made, [name]) => {
    made.href = href(name);
    if (name === view) made.setAttribute("aria-current", "page");
    else made.removeAttribute("aria-current");
  });
}

function showFooter(summary) {
  $("footer").textContent = [
    summary.num_refused ? `${summary.num_refused.toLocaleString("en-US")} data points were refused; the senders' logs say why.` : "",
    summary.num_skewed ? `The clock of ${summary.num_skewed === 1 ? "a sender" : `${summary.num_skewed} senders`} is wrong; the collector's is used instead.` : "",
  ].join(" ").trim();
}

// Not by the address, which says what is shown.
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  $("view").focus();
});
addEventListener("hashchange", now);
addEventListener("told", now);
document.addEventListener("visibilitychange", () => document.hidden || now());
refresh();
