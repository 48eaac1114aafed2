// From where to where the values of a plot go, and which of them get a label.

// Colours by their names in the style sheet, read once for each scheme.
const colours = new Map();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => colours.clear());

export function style(name) {
  if (!colours.has(name)) colours.set(name, getComputedStyle(document.documentElement).getPropertyValue(name).trim());
  return colours.get(name);
}

// Durations spread over decades: one slow second must not flatten all the others.
export const logarithmic = (content) => content.unit === "s";

// All that is drawn of a plot: its lines, the range each point covers, what was expected and what was before.
function* columns(content) {
  for (const line of content.lines) {
    for (const column of [line.values, line.low, line.high, line.before]) if (column) yield column;
  }
}

// Whole decades around what there is, but no more than can be read.
const MOST_DECADES = 6;
export function decades(content) {
  let [least, largest] = [Infinity, 0];
  for (const column of columns(content)) {
    for (const value of column) {
      if (value === null || value <= 0) continue;
      if (value < least) least = value;
      if (value > largest) largest = value;
    }
  }
  if (largest === 0) return { min: 1e-3, max: 1 };
  const high = Math.ceil(Math.log10(largest));
  const low = Math.max(Math.floor(Math.log10(least)), high - MOST_DECADES);
  return { min: 10 ** low, max: 10 ** Math.max(high, low + 1) };
}

// From zero, with room above; the errors' axis covers at least 5 %, so that one error is no mountain.
export function fromZero(content) {
  let low = 0;
  let high = content.key === "errors" ? 0.05 : content.unit === "%" ? 0.1 : 0;
  for (const column of columns(content)) {
    for (const value of column) {
      if (value === null) continue;
      if (value > high) high = value;
      if (value < low) low = value;
    }
  }
  return { min: low * 1.1, max: high === 0 ? 1 : high * 1.1 };
}

// The splits that get a line and a label: of a logarithmic axis the decades.
export const marked = (splits, content) =>
  logarithmic(content) ? splits.map((value) => (Math.abs(Math.log10(value) - Math.round(Math.log10(value))) < 1e-6 ? value : null)) : splits;

// Only points without neighbours need a mark: a line between others shows the rest.
export function isolated(plot, series) {
  const values = plot.data[series];
  const alone = [];
  for (let at = 0; at < values.length; at++) {
    if (values[at] !== null && (values[at - 1] ?? null) === null && (values[at + 1] ?? null) === null) alone.push(at);
  }
  return alone;
}
