// What the lists of jobs and recipes are made of. Names and sentences come from users: textContent and setAttribute only.
const ICONS = {
  run: "M3 8h10M9 4l4 4-4 4",
  wait: "M8 2a6 6 0 100 12A6 6 0 008 2zM8 5v3.2l2 1.3",
  done: "M3 8.5l3.2 3L13 4.5",
  ok: "M3 8.5l3.2 3L13 4.5",
  bad: "M8 1.8a6.2 6.2 0 100 12.4A6.2 6.2 0 008 1.8zM8 5v3.5M8 10.8v.1",
  off: "M4 4l8 8M12 4l-8 8",
  next: "M8 5.5a2.5 2.5 0 100 5 2.5 2.5 0 000-5z",
  warn: "M8 2.5L14.2 13H1.800zM8 6.5v3M8 11.2v.1",
  lock: "M4 7.5h8v6H4zM5.5 7.5V5.3a2.5 2.5 0 015 0v2.2",
};

const make = (tag, name, ...children) => {
  const node = document.createElement(tag);
  if (name) node.className = name;
  node.append(...children);
  return node;
};
const set = (node, attributes) => {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === false) node.removeAttribute(name);
    else node.setAttribute(name, value === true ? "" : value);
  }
  return node;
};
const draw = (tag, attributes, ...children) => {
  const node = set(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes);
  node.append(...children);
  return node;
};
const icon = (name) => draw("svg", { class: "i", viewBox: "0 0 16 16", "aria-hidden": "true" }, draw("path", { d: ICONS[name] }));
// A text of a user: marks that turn the writing direction end with it
const plain = (tag, name, text) => make(tag, name, make("bdi", "", text));

const two = (number) => String(number).padStart(2, "0");
const moment = (seconds) => {
  const then = new Date(seconds * 1000);
  const clock = `${two(then.getHours())}:${two(then.getMinutes())}`;
  if (then.toDateString() === new Date().toDateString()) return clock;
  return `${then.toLocaleDateString("en-GB", { day: "numeric", month: "short" })} ${clock}`;
};

const steps = (weights) => weights.map((w, i) => `${i ? "V" : "M0,"}${(1 - w).toFixed(4)}H${i + 1}`).join("");
// A small picture of weights; those beyond 0 to 1 end at its edge
const thumbnail = (weights) => {
  if (!weights.length) return make("span", "picture");
  const line = steps(weights.map((w) => Math.min(1, Math.max(0, w))));
  return draw("svg", { class: "picture", viewBox: `0 0 ${weights.length} 1`, preserveAspectRatio: "none", "aria-hidden": "true" },
    draw("path", { class: "fill", d: `${line}V1H0Z` }),
    // Inset, so that the line at 0 and at 1 keeps its width
    draw("g", { transform: "translate(0 .05) scale(1 .9)" }, draw("path", { class: "line", d: line })));
};

// A larger one: each column a layer, a line over them, and perhaps a second line, dashed. Words beside it say the rest.
const curve = (weights, other, label) => {
  const all = [...weights, ...other, 0, 1];
  const [low, high] = [Math.min(...all), Math.max(...all)];
  const at = (w) => (high - w) / (high - low);
  const path = (line) => line.map((w, i) => `${i ? "V" : "M0,"}${at(w).toFixed(4)}H${((i + 1) * weights.length) / line.length}`).join("");
  const gap = weights.length > 80 ? 0 : 0.06;
  const bar = (w, i) => draw("rect", {
    class: w === 0 ? "all-a" : w === 1 ? "all-b" : "bar", x: i + gap / 2, width: 1 - gap,
    y: w === 0 ? at(0) - 0.016 : Math.min(at(w), at(0)), height: w === 0 ? 0.016 : Math.abs(at(w) - at(0)),
  });
  const grid = [0.25, 0.5, 0.75].map((w) => draw("path", { class: "grid", d: `M0,${at(w)}H${weights.length}` }));
  return draw("svg", { class: "curve", viewBox: `0 0 ${weights.length} 1`, preserveAspectRatio: "none", role: "img", "aria-label": label },
    ...weights.map(bar), ...grid, draw("path", { class: "line", d: path(weights) }),
    ...(other.length ? [draw("path", { class: "other", d: path(other) })] : []));
};

const button = (label, act, about = "", name = "btn") => {
  const node = set(make("button", name, label), { type: "button", "data-act": act });
  if (about) node.setAttribute("aria-label", `${label}, ${about}`);
  return node;
};
const field = (label, input) => make("label", "field", make("span", "", label), input);
// Hands a text to the person as a file, without the server
const save = (name, text) => {
  const link = set(make("a"), { href: URL.createObjectURL(new Blob([text], { type: "text/plain" })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
};
const copyText = async (text, source) => {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  source.value = text; // without https there is no clipboard but this
  source.select();
  document.execCommand("copy");
};
const said = (node, text) => {
  const before = node.textContent;
  node.textContent = text;
  setTimeout(() => { node.textContent = before; }, 2000);
};
