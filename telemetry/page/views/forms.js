// What a person says about an incident: each is a form that is sent as JSON.

import { tell } from "../ask.js";
import { element, within } from "../elements.js";

const NAME = "trimtab.name"; // under which this browser remembers who sits before it
export const who = () => localStorage.getItem(NAME) ?? "";

// A form of labelled fields: `fields` are [name, label, options], `send` takes their values.
export function form(text, fields, send) {
  const made = element("form", undefined, "said");
  for (const [name, label, options = {}] of fields) {
    const input = options.choices ? select(options.choices) : element("input");
    input.name = name;
    input.required = options.required ?? true;
    if (name === "by") input.value = who();
    else if (options.value) input.value = options.value;
    if (!options.choices) input.maxLength = 500;
    made.append(within("label", "", element("span", label), input));
  }
  const problem = element("p", "", "problem");
  problem.setAttribute("role", "alert");
  made.append(element("button", text, "main"), problem);
  made.addEventListener("submit", async (event) => {
    event.preventDefault();
    const values = Object.fromEntries(new FormData(made));
    localStorage.setItem(NAME, values.by);
    try {
      await send(values);
      problem.textContent = "";
      dispatchEvent(new Event("told"));
    } catch (error) {
      problem.textContent = error.message;
    }
  });
  return made;
}

function select(choices) {
  return within("select", "", ...choices.map(([value, text]) => {
    const option = element("option", text);
    option.value = value;
    return option;
  }));
}

const HOW_LONG = [["3600", "1 hour"], ["14400", "4 hours"], ["86400", "1 day"], ["604800", "7 days"]];

export const silenceForm = ({ service = "*", signal = "*" }) =>
  form("Silence", [
    ["service", "Service", { value: service }],
    ["signal", "Signal", { value: signal }],
    ["for_s", "For", { choices: HOW_LONG }],
    ["by", "Your name"],
    ["why", "Why"],
  ], ({ for_s: seconds, ...values }) => tell("api/silences", { ...values, for_s: Number(seconds) }));
