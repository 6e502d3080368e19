// Building blocks. Names come from users and from the Hub: they are set as text or as attributes, never as HTML.
const parts = {}; // the nodes that stay, by name
const ICONS = {
  undo: "M6 3L3 6l3 3M3 6h6.5a3.5 3.5 0 010 7H7",
  redo: "M10 3l3 3-3 3M13 6H6.5a3.5 3.5 0 000 7H9",
  down: "M4 6l4 4 4-4",
  right: "M6 4l4 4-4 4",
  link: "M6.5 9.5l3-3M7 4.5l1-1a3.2 3.2 0 014.5 4.5l-1 1M9 11.5l-1 1A3.2 3.2 0 013.5 8l1-1",
  apart: "M7 4.5l1-1a3.2 3.2 0 014.5 4.5l-1 1M9 11.5l-1 1A3.2 3.2 0 013.5 8l1-1",
};

const set = (node, attributes) => {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === false) node.removeAttribute(name);
    else node.setAttribute(name, value === true ? "" : value);
  }
  return node;
};
const make = (tag, name, ...children) => {
  const node = document.createElement(tag);
  if (name) node.className = name;
  node.append(...children);
  return node;
};
const svg = (tag, attributes, ...children) => {
  const node = set(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes);
  node.append(...children);
  return node;
};
const icon = (name) =>
  svg("svg", { class: "icon", viewBox: "0 0 16 16", "aria-hidden": "true" }, svg("path", { d: ICONS[name] }));
const write = (node, text) => {
  if (node.textContent !== text) node.textContent = text;
};

const button = (act, run, name, ...children) => {
  const node = set(make("button", name, ...children), { type: "button", "data-act": act });
  node.addEventListener("click", run);
  return node;
};
const iconButton = (act, label, run, name = "bare") =>
  set(button(act, run, `btn only ${name}`, icon(act)), { "aria-label": label, title: label });

const checkbox = (act, label, run) => {
  const input = set(make("input", "tick"), { type: "checkbox", "data-act": act });
  const text = make("span", "", label);
  input.addEventListener("change", () => run(input.checked));
  return { node: make("label", "check", input, text), input, text };
};

// One of several; the arrow keys choose, as in every group of radio buttons
const choice = (label, options, choose) => {
  const nodes = options.map(([value, text, help = ""]) => {
    const node = set(make("button", "", text), { type: "button", role: "radio", "data-choice": value, title: help || null });
    node.addEventListener("click", () => choose(value));
    return node;
  });
  const group = set(make("span", "choice", ...nodes), { role: "radiogroup", "aria-label": label });
  group.addEventListener("keydown", (event) => moveChoice(event, nodes));
  const show = (value) =>
    nodes.forEach((node) => {
      const chosen = node.dataset.choice === String(value);
      set(node, { "aria-checked": String(chosen), tabindex: chosen ? 0 : -1 });
    });
  return { node: group, show };
};
const STEPS = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 };
const moveChoice = (event, nodes) => {
  const step = STEPS[event.key];
  if (!step || event.ctrlKey || event.metaKey) return;
  const next = nodes[(nodes.indexOf(document.activeElement) + step + nodes.length) % nodes.length];
  next.focus();
  next.click();
  event.preventDefault();
  event.stopPropagation();
};
