// Numbers as people read them.

const digits = (value) => {
  const size = Math.abs(value);
  if (size >= 100) return Math.round(value).toLocaleString("en-US");
  return String(Number(value.toFixed(size >= 10 ? 1 : 2)));
};

const scaled = (value, units) => {
  const size = Math.abs(value);
  const [factor, unit] = units.find(([least]) => size >= least) ?? units.at(-1);
  return `${digits(value / factor)}\u00a0${unit}`;
};

const SECONDS = [[1, "s"], [1e-3, "ms"], [1e-6, "µs"], [1e-9, "ns"]];
const BYTES = [[2 ** 40, "TiB"], [2 ** 30, "GiB"], [2 ** 20, "MiB"], [2 ** 10, "KiB"], [1, "B"]];

export function format(value, unit) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (value === 0) return unit === "%" ? "0\u00a0%" : unit === "s" ? "0\u00a0s" : unit === "By" ? "0\u00a0B" : "0";
  if (unit === "s") return scaled(value, SECONDS);
  if (unit === "By") return scaled(value, BYTES);
  if (unit === "%") return `${digits(value * 100)}\u00a0%`;
  if (unit === "" && Math.abs(value) < 0.01) return value.toPrecision(2);
  return digits(value);
}

// The y axis splits at round numbers of the unit that is shown: 256 MiB, not 268.4.
export function increments(unit) {
  if (unit !== "By") return undefined;
  return Array.from({ length: 44 }, (_, power) => 2 ** power);
}

export const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString([], { hour12: false });

const DAY = { month: "short", day: "numeric" };
const MINUTE = { hour12: false, hour: "2-digit", minute: "2-digit" };

// With the day, where it is another than today.
export function moment(seconds) {
  const time = new Date(seconds * 1000);
  const today = time.toDateString() === new Date().toDateString();
  return today ? clock(seconds) : `${time.toLocaleDateString([], DAY)}, ${clock(seconds)}`;
}

// A label on an axis of time, `step` seconds from the next: midnights are days.
export function when(seconds, step, first) {
  const time = new Date(seconds * 1000);
  const midnight = time.getHours() + time.getMinutes() === 0;
  if (step >= 86400 || (midnight && !first)) return time.toLocaleDateString([], DAY);
  return time.toLocaleTimeString([], MINUTE);
}

export function ago(seconds) {
  if (seconds < 90) return `${Math.max(0, Math.round(seconds))} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return seconds < 172800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86400)} d`;
}

// How long something took, in its two largest units.
export function lasting(seconds) {
  const parts = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const at = Math.max(0, parts.findIndex(([length]) => seconds >= length));
  const [length, unit] = parts[seconds < 1 ? 3 : at];
  const whole = Math.floor(seconds / length);
  const [shorter, name] = parts[at + 1] ?? [1, ""];
  const rest = name ? Math.round((seconds - whole * length) / shorter) : 0;
  return rest ? `${whole} ${unit} ${rest} ${name}` : `${whole} ${unit}`;
}
