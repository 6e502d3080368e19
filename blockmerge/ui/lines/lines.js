// Lines of text: value -> DOM. Names and sentences come from users: textContent and setAttribute only.
const ICONS = {
  ok: "M3 8.5l3.2 3L13 4.5",
  bad: "M8 1.8a6.2 6.2 0 100 12.4A6.2 6.2 0 008 1.8zM8 5v3.5M8 10.8v.1",
  warn: "M8 2.5L14.2 13H1.800zM8 6.5v3M8 11.2v.1",
};
const root = element.querySelector(".lines");
let shown = "";
let unfolded = false; // what a person opened stays open

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
const button = (act) => {
  const node = make("button", "act", act.label);
  node.type = "button";
  node.addEventListener("click", () => {
    if (act.at) document.querySelector(`#${act.at} :is(input, textarea)`)?.focus();
    else trigger("mend", { do: act.do });
  });
  return node;
};
const line = ({ kind, parts, acts, inside, open }) => {
  const text = make("span", "text", ...parts.map(([name, part]) => make("span", name, make("bdi", "", part))));
  if (!inside.length) return make("div", `line ${kind}`, ...(ICONS[kind] ? [icon(kind)] : []), text, ...acts.map(button));
  const fold = make("details", `fold ${kind}`, make("summary", "", text), make("div", "inside", ...inside.map(line)));
  fold.open = open || unfolded;
  fold.firstChild.addEventListener("click", () => { unfolded = !fold.open; });
  return fold;
};

const load = () => {
  const lines = props.value || []; // before the first value Gradio gives an empty text
  const value = JSON.stringify(lines);
  if (value === shown) return; // what is read out, or has the focus, stays as it is
  shown = value;
  root.hidden = lines.length === 0;
  root.classList.toggle("problem", lines.some(({ kind }) => kind === "bad"));
  root.replaceChildren(...lines.map(line));
  root.dataset.ready = "";
};
watch("value", load);
load();
