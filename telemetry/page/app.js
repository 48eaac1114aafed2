// The page: shows the view that the address names, and asks the JSON API beside it again every two seconds.

import { changed, current, go, href, relink, times } from "./address.js";
import { ask } from "./ask.js";
import { element, link, renew } from "./elements.js";
import { ago } from "./format.js";
import { Range } from "./range.js";
import { showBanners } from "./views/banners.js";

const REFRESH_MS = 2000;
// Each is a module of its own, loaded when it is first shown.
const VIEWS = new Set(["overview", "model", "process", "node", "incidents", "incident", "traces", "trace", "drift", "trainings", "slos"]);
// In the bar: a view, its name there, and the room of the collector that must answer for it to be offered.
const BAR = [
  ["overview", "Overview"],
  ["incidents", "Incidents", "incidents"],
  ["traces", "Traces", "traces"],
  ["drift", "Drift", "drift"],
  ["trainings", "Trainings"],
  ["slos", "SLOs", "slos"],
];
const $ = (id) => document.getElementById(id);
const range = new Range($("times"), (params) => go(changed(params)));
// The scripts of the page have run, uPlot among them, which comes while the first view is asked for.
const ready = document.readyState === "loading" || document.readyState === "interactive" ? new Promise((done) => addEventListener("DOMContentLoaded", done, { once: true })) : null;
let shown = null; // {path, view}
let rooms = [];
let ahead = 0; // seconds that the collector's clock is ahead of the browser's
let heard = null;
let due = 0;
let timer = 0;
let turn = 0;

// What an address names; an old link names a service alone.
function address() {
  const found = current();
  return VIEWS.has(found.view) ? found : { ...found, view: "model", names: [found.view] };
}

async function mounted({ view, names }) {
  const path = [view, ...names].join("\n");
  if (shown?.path === path) return shown.view;
  const { mount } = await import(`./views/${view}.js`);
  if (shown?.path === path) return shown.view;
  shown?.view.close?.();
  const root = element("div");
  $("view").replaceChildren(root);
  shown = { path, view: mount(root, names) };
  scrollTo(0, 0);
  return shown.view;
}

async function refresh() {
  clearTimeout(timer);
  const mine = ++turn;
  const where = address();
  const span = times(where.params);
  let view = null;
  range.show(span);
  showBar(where.view, rooms);
  try {
    const wanted = Date.now() >= due;
    const asked = [ask("api/services"), ask("api/incidents")];
    view = await mounted(where);
    const [summary, book, content] = await Promise.all([...asked, wanted ? view.load(span, where.params, Date.now() / 1000 + ahead) : null, ready]);
    if (mine !== turn) return;
    const known = { ...summary, incidents: book.incidents, silences: book.silences, span, params: where.params };
    $("empty").hidden = summary.services.length > 0;
    $("view").hidden = summary.services.length === 0;
    rooms = summary.rooms;
    ahead = summary.now - Date.now() / 1000;
    showBar(where.view, rooms);
    showBanners($("banners"), known);
    showFooter(summary);
    if (content) {
      view.show(content, known);
      due = Date.now() + (span.live ? Math.min(Math.max(REFRESH_MS - 100, span.seconds / 1.8), 30000) : 30000);
    }
    heard = Date.now();
    status(span.live ? "live" : "still", span.live ? "live" : "a fixed time");
  } catch (error) {
    if (mine !== turn) return;
    if (error.status === 404 && view?.missing) view.missing(error.message);
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

function showBar(view, rooms) {
  const offered = BAR.filter(([name, , room]) => !room || rooms.includes(room) || name === view);
  renew($("bar"), offered, ([name]) => name, ([name, text]) => link(text, href(name)), (made, [name]) => {
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
addEventListener("hashchange", () => {
  relink();
  now();
});
addEventListener("told", now);
document.addEventListener("visibilitychange", () => document.hidden || now());
refresh();
