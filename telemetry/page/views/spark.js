// A small line without axes, beside a value.

const SVG = "http://www.w3.org/2000/svg";
const [WIDTH, HEIGHT] = [100, 26];

export function spark(values = []) {
  const made = document.createElementNS(SVG, "svg");
  made.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  made.setAttribute("preserveAspectRatio", "none");
  made.setAttribute("aria-hidden", "true");
  made.setAttribute("class", "spark");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", drawn(values));
  made.append(path);
  return made;
}

function drawn(values) {
  const largest = values.reduce((most, value) => (value !== null && value > most ? value : most), 0) || 1;
  let path = "";
  let pen = "M";
  values.forEach((value, at) => {
    if (value === null) {
      pen = "M";
      return;
    }
    const [x, y] = [(at / Math.max(1, values.length - 1)) * WIDTH, HEIGHT - 1 - (value / largest) * (HEIGHT - 3)];
    path += `${pen}${x.toFixed(1)} ${y.toFixed(1)}`;
    pen = "L";
  });
  return path;
}
