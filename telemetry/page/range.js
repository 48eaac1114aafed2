// Which times are shown: the last minutes to days, or from one time to another, beside what was before.

import { element, within } from "./elements.js";
import { moment } from "./format.js";

const PRESETS = [
  [300, "5 min"], [900, "15 min"], [3600, "1 h"], [21600, "6 h"], [86400, "24 h"], [604800, "7 d"], [2592000, "30 d"],
];
const COMPARED = [["", "nothing"], ["3600", "an hour before"], ["86400", "yesterday"], ["604800", "a week before"]];

export class Range {
  // `change` takes the address' parameters that change.
  constructor(parent, change) {
    this.presets = within("div", "segments");
    this.presets.setAttribute("role", "group");
    this.presets.setAttribute("aria-label", "Time range");
    for (const [seconds, text] of PRESETS) {
      const button = element("button", text);
      button.type = "button";
      button.dataset.seconds = seconds;
      button.addEventListener("click", () => change({ range: seconds, from: null, to: null }));
      this.presets.append(button);
    }
    this.form = this.makeForm(change);
    this.details = within("details", "custom", element("summary", "From, to"), this.form);
    this.details.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !this.details.open) return;
      this.details.open = false;
      this.details.firstChild.focus();
    });
    parent.append(this.presets, this.details);
  }

  makeForm(change) {
    const form = element("form");
    this.from = field(form, "From", "datetime-local");
    this.to = field(form, "To", "datetime-local");
    this.compare = within("select", "", ...COMPARED.map(([value, text]) => {
      const option = element("option", text);
      option.value = value;
      return option;
    }));
    form.append(within("label", "", element("span", "Compare with"), this.compare));
    const problem = element("p", "", "problem");
    problem.setAttribute("role", "alert");
    form.append(problem, element("button", "Show", "main"));
    for (const input of [this.from, this.to]) input.step = 1;
    this.compare.addEventListener("change", () => change({ compare: this.compare.value || null }));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const [from, to] = [this.from, this.to].map((input) => Date.parse(input.value) / 1000);
      problem.textContent = from < to ? "" : "From must lie before To.";
      if (!(from < to)) return;
      this.details.open = false;
      change({ range: null, from, to });
    });
    return form;
  }

  show({ from, to, seconds, live, compare }) {
    for (const button of this.presets.children) button.setAttribute("aria-pressed", String(live && Number(button.dataset.seconds) === seconds));
    const compared = COMPARED.find(([value]) => value && Number(value) === compare)?.[1];
    this.details.classList.toggle("on", !live || Boolean(compared));
    const said = [live ? "From, to" : `${moment(from)} – ${moment(to)}`, compared].filter(Boolean).join(" · ");
    if (this.details.firstChild.textContent !== said) this.details.firstChild.textContent = said;
    if (this.details.contains(document.activeElement)) return; // somebody is typing
    const end = live ? Date.now() / 1000 : to;
    this.from.value = local(live ? end - seconds : from);
    this.to.value = local(end);
    this.compare.value = compare ? String(compare) : "";
  }
}

function field(form, text, type) {
  const input = element("input");
  input.type = type;
  input.required = true;
  form.append(within("label", "", element("span", text), input));
  return input;
}

// As `datetime-local` wants it: in the time zone of who looks.
function local(seconds) {
  const time = new Date(seconds * 1000);
  return new Date(time.getTime() - time.getTimezoneOffset() * 60000).toISOString().slice(0, 19);
}
