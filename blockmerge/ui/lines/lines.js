// Lines of text: value -> DOM. Names and sentences come from users: textContent and setAttribute only.
const ICONS = {
  ok: "M3 8.5l3.2 3L13 4.5",
  bad: "M8 1.8a6.2 6.2 0 100 12.4A6.2 6.2 0 008 1.8zM8 5v3.5M8 10.8v.1",
  warn: "M8 2.5L14.2 13H1.800zM8 6.5v3M8 11.2v.1",
};
const root = element.querySelector(".lines");

const make = (tag, name, ...children) => {
  const node = document.createElement(tag);
  if (name) node.className = name;
  node.append(...children);
  return node;
};
const icon = (kind) => {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", "i");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", ICONS[kind]);
  svg.append(path);
  return svg;
};
const line = ({ kind, parts }) => {
  const text = make("span", "text", ...parts.map(([name, part]) => make("span", name, part)));
  return make("div", `line ${kind}`, ...(ICONS[kind] ? [icon(kind)] : []), text);
};

const load = () => {
  const lines = props.value || []; // before the first value Gradio gives an empty text
  root.hidden = lines.length === 0;
  root.classList.toggle("problem", lines.some(({ kind }) => kind === "bad"));
  root.replaceChildren(...lines.map(line));
  root.dataset.ready = "";
};
watch("value", load);
load();
