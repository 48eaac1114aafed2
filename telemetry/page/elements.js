// Makes what is shown. Whatever senders chose, such as names, only ever becomes text.

export function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

export function within(name, className, ...children) {
  const made = element(name, undefined, className);
  made.append(...children);
  return made;
}

export function link(text, href, className) {
  const made = element("a", text, className);
  made.href = href;
  return made;
}

export function panel(title, note) {
  const made = within("section", "panel", element("h3", title));
  made.setAttribute("aria-label", title);
  if (note) made.append(element("p", note, "note"));
  return made;
}

// Children by their keys: those that stay are changed in place, so that the focus stays where it was. Of items with the
// same key each is told apart by its place among them.
export function renew(parent, items, key, make, update = () => {}) {
  const existing = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  const times = new Map();
  const children = items.map((item) => {
    const plain = String(key(item));
    const before = times.get(plain) ?? 0;
    times.set(plain, before + 1);
    const name = before ? `${plain} ${before}` : plain;
    const child = existing.get(name) ?? make(item);
    child.dataset.key = name;
    update(child, item);
    return child;
  });
  const same = children.length === parent.children.length && children.every((child, at) => child === parent.children[at]);
  if (!same) parent.replaceChildren(...children);
}

// A table whose rows are arrays of cells (text, an element, or an array of them) under the headings.
export function table(headings) {
  const [made, head, body] = [element("table"), element("thead"), element("tbody")];
  const row = element("tr");
  for (const heading of headings) {
    const cell = element("th", heading);
    cell.scope = "col";
    row.append(cell);
  }
  head.append(row);
  made.append(head, body);
  const scroll = within("div", "scroll", made);
  scroll.tabIndex = 0;
  scroll.setAttribute("role", "group");
  scroll.setAttribute("aria-label", "table");
  return scroll;
}

export function fill(scroll, rows) {
  const body = scroll.querySelector("tbody");
  renew(body, rows, (row) => row.key, () => element("tr"), (made, { cells, className }) => {
    made.className = className ?? "";
    const said = JSON.stringify(cells.map((cell) => [cell].flat().map(outline)));
    if (made.dataset.said === said) return;
    made.dataset.said = said;
    made.replaceChildren(...cells.map((content, at) => {
      const cell = within(at === 0 ? "th" : "td", "", ...[content].flat().filter((part) => part !== ""));
      if (at === 0) cell.scope = "row";
      return cell;
    }));
  });
}

const outline = (part) => (part instanceof Element ? part.outerHTML : part);

export const badge = (text, on) => element("span", text, on ? "badge on" : "badge");
