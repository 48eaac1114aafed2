// How the model that is served was made: each step's quality, size and latency, compared with the teacher.

import { element, fill, panel, table } from "../elements.js";
import { format } from "../format.js";

export function artifactPanel() {
  const made = panel("Artifact", "Measured when it was made; compared with the teacher.");
  let headings = "";
  let rows = null;
  return {
    panel: made,
    show(steps) {
      made.hidden = !steps.length;
      if (!steps.length) return;
      const batches = [...new Set(steps.flatMap((step) => Object.keys(step.latency)))].sort((a, b) => a - b);
      const metric = steps.find((step) => step.metric)?.metric ?? "quality";
      const wanted = ["step", metric, "size", ...batches.map((batch) => (batch ? `latency, batch ${batch}` : "latency"))];
      if (headings !== wanted.join("\n")) {
        rows?.remove();
        rows = table(wanted);
        made.append(rows);
        headings = wanted.join("\n");
      }
      fill(rows, cellsOf(steps, batches));
    },
  };
}

function cellsOf(steps, batches) {
  const teacher = steps.find(({ step }) => step === "teacher");
  const served = steps.filter(({ step }) => step !== "teacher" && step !== "control").at(-1);
  const ratio = (from, to, word) => (from && to && from !== to ? element("small", `${format(from / to, "")}× ${word}`) : "");
  return steps.map((step) => {
    const { value, low, high } = step.quality;
    const interval = low != null && high != null ? element("small", `${format(low * 100, "")}–${format(high * 100, "")}`) : "";
    const latencies = batches.map((batch) => [format(step.latency[batch], "s"), ratio(teacher?.latency[batch], step.latency[batch], "faster")]);
    return {
      key: step.step,
      className: step === served ? "served" : "",
      cells: [step.step, [format(value, "%"), interval], [format(step.size, "By"), ratio(teacher?.size, step.size, "smaller")], ...latencies],
    };
  });
}
