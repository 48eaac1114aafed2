// What is shown is in the address, #model/digits?range=900&compare=86400: a link is a view, and back goes back.

const KEPT = ["range", "from", "to", "compare"];
export const DEFAULT_RANGE = 900;

export const current = () => parsed(location.hash);

function parsed(hash) {
  const [path, query = ""] = hash.slice(1).split("?");
  const [view, ...names] = path.split("/").map(decoded);
  return { view: view || "overview", names, params: new URLSearchParams(query) };
}

// The address of another view, at the same times.
export function href(view, names = [], params = {}) {
  const query = new URLSearchParams();
  const now = current().params;
  for (const name of KEPT) if (now.has(name)) query.set(name, now.get(name));
  return written(view, names, query, params);
}

// All links on the page lead to the times that are shown now, also those that were made before.
export function relink() {
  for (const link of document.querySelectorAll('a[href^="#"]:not(.skip)')) {
    const { view, names, params } = parsed(link.hash);
    for (const name of KEPT) params.delete(name);
    link.href = href(view, names, Object.fromEntries(params));
  }
}

// The address of the same view with other parameters; null takes one away.
export function changed(params) {
  const { view, names, params: now } = current();
  return written(view, names, new URLSearchParams(now), params);
}

export const go = (address) => (location.hash = address);

function written(view, names, query, params) {
  for (const [name, value] of Object.entries(params)) value === null || value === "" ? query.delete(name) : query.set(name, value);
  const path = [view, ...names].map(encodeURIComponent).join("/");
  return `#${path}${query.size ? `?${query}` : ""}`;
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

// The times that the address names: a range that ends now, or from one time to another.
export function times(params) {
  const [from, to] = [number(params.get("from")), number(params.get("to"))];
  const compare = number(params.get("compare"));
  if (from !== null && to !== null && from < to) return { from, to, seconds: to - from, live: false, compare };
  const seconds = Math.min(Math.max(number(params.get("range")) ?? DEFAULT_RANGE, 10), 400 * 86400);
  return { seconds, live: true, compare };
}

export function query({ from, to, seconds, live, compare }, more = {}) {
  const made = new URLSearchParams(live ? { range: seconds } : { since: from });
  if (to) made.set("until", to);
  if (compare) made.set("compare", compare);
  for (const [name, value] of Object.entries(more)) made.set(name, value);
  return made;
}

function number(text) {
  const value = Number(text);
  return text === null || text === "" || !Number.isFinite(value) ? null : value;
}
