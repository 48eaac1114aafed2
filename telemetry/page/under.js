// What lies under a plot's lines: the range each point covers, the range that was expected, and what was before.

import { style } from "./scales.js";

export function under(plot, content) {
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  const across = plot.data[0].map((time) => plot.valToPos(time, "x", true));
  content.lines.forEach((line, index) => {
    const colour = style(`--line-${(index % 9) + 1}`);
    if (line.expected) area(plot, across, line.expected, style("--expected"), 1);
    if (line.low) area(plot, across, line, colour, 0.16);
    if (line.before) before(plot, across, line.before, colour);
  });
  ctx.restore();
}

function area(plot, across, { low, high }, colour, alpha) {
  const { ctx } = plot;
  ctx.beginPath();
  for (const [from, to] of stretches(high)) {
    for (let at = from; at <= to; at++) ctx.lineTo(across[at], y(plot, high[at]));
    for (let at = to; at >= from; at--) ctx.lineTo(across[at], y(plot, low[at]));
    ctx.closePath();
    if (to < high.length - 1) ctx.moveTo(across[to], y(plot, high[to]));
  }
  ctx.globalAlpha = alpha;
  ctx.fillStyle = colour;
  ctx.fill();
}

function before(plot, across, values, colour) {
  const { ctx } = plot;
  ctx.beginPath();
  for (const [from, to] of stretches(values)) {
    ctx.moveTo(across[from], y(plot, values[from]));
    for (let at = from + 1; at <= to; at++) ctx.lineTo(across[at], y(plot, values[at]));
  }
  ctx.globalAlpha = 0.45;
  ctx.strokeStyle = colour;
  ctx.lineWidth = 1.25 * devicePixelRatio;
  ctx.setLineDash([4 * devicePixelRatio, 3 * devicePixelRatio]);
  ctx.stroke();
  ctx.setLineDash([]);
}

// From where to where there are values.
function* stretches(values) {
  let from = -1;
  for (let at = 0; at <= values.length; at++) {
    const there = at < values.length && values[at] !== null;
    if (there && from < 0) from = at;
    if (!there && from >= 0) {
      yield [from, at - 1];
      from = -1;
    }
  }
}

// A logarithmic axis has no place for zero: its bottom.
const y = (plot, value) => (plot.scales.y.distr === 3 && value <= 0 ? plot.bbox.top + plot.bbox.height : plot.valToPos(value, "y", true));
