// The job list: value -> DOM. Nodes are kept by job, so that focus and scrolling stay where they are.
// Names, paths and sentences come from users: textContent and setAttribute only.
const ICONS = {
  run: "M3 8h10M9 4l4 4-4 4",
  wait: "M8 2a6 6 0 100 12A6 6 0 008 2zM8 5v3.2l2 1.3",
  done: "M3 8.5l3.2 3L13 4.5",
  bad: "M8 1.8a6.2 6.2 0 100 12.4A6.2 6.2 0 008 1.8zM8 5v3.5M8 10.8v.1",
  off: "M4 4l8 8M12 4l-8 8",
  next: "M8 5.5a2.5 2.5 0 100 5 2.5 2.5 0 000-5z",
  warn: "M8 2.5L14.2 13H1.800zM8 6.5v3M8 11.2v.1",
};
const SEGMENT_ICONS = { done: "done", now: "run", next: "next" };
const root = element.querySelector(".jobs");
const cards = new Map(); // job number -> {node, json, spoken}

const make = (tag, name, ...children) => {
  const node = document.createElement(tag);
  if (name) node.className = name;
  node.append(...children);
  return node;
};
const draw = (tag, attributes, ...children) => {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
};
const icon = (name) => draw("svg", { class: "i", viewBox: "0 0 16 16", "aria-hidden": "true" }, draw("path", { d: ICONS[name] }));

const two = (number) => String(number).padStart(2, "0");
const moment = (seconds) => {
  const then = new Date(seconds * 1000);
  const clock = `${two(then.getHours())}:${two(then.getMinutes())}`;
  if (then.toDateString() === new Date().toDateString()) return clock;
  return `${then.toLocaleDateString("en-GB", { day: "numeric", month: "short" })} ${clock}`;
};
const part = (value) => (typeof value === "string" ? value : "time" in value ? moment(value.time) : make("code", "", value.code));

const thumbnail = (weights) => {
  const steps = weights.map((w, i) => `${i ? "V" : "M0,"}${(1 - Math.min(1, Math.max(0, w))).toFixed(4)}H${i + 1}`).join("");
  if (!steps) return make("span", "picture");
  return draw("svg", { class: "picture", viewBox: `0 0 ${weights.length} 1`, preserveAspectRatio: "none", "aria-hidden": "true" },
    draw("path", { class: "fill", d: `${steps}V1H0Z` }),
    // Inset, so that the line at 0 and at 1 keeps its width
    draw("g", { transform: "translate(0 .05) scale(1 .9)" }, draw("path", { class: "line", d: steps })));
};

const button = (label, act, job) => {
  const node = make("button", "btn", label);
  node.type = "button";
  node.dataset.act = act;
  node.setAttribute("aria-label", `${label}, job ${job}`);
  return node;
};
const link = (label, address, job) => {
  const node = make("a", "btn", label);
  node.href = address;
  node.setAttribute("aria-label", `${label}, job ${job}`);
  return node;
};
const actions = (card) => {
  const list = make("div", "actions");
  if (card.cancel) list.append(button(card.cancel, "cancel", card.id));
  if (card.path) list.append(button("Copy path", "copy", card.id));
  if (card.files) {
    const files = link("Files", card.files, card.id);
    files.target = "_blank";
    list.append(files, link("Download", `${card.files}all.tar`, card.id));
  }
  return list;
};

const facts = (card) => {
  const list = make("dl", "facts");
  for (const [label, value] of card.facts) list.append(make("div", "", make("dt", "", label), make("dd", "", ...value.map(part))));
  return list;
};
const segments = (card) => {
  const list = make("ul", "stages");
  for (const { state, share, title, detail } of card.segments) {
    const item = make("li", state, make("b", "", icon(SEGMENT_ICONS[state]), title), make("span", "", detail));
    item.style.setProperty("--share", share);
    list.append(item);
  }
  return list;
};
const progress = (card) => {
  const node = make("div", "progress", facts(card), segments(card));
  const bar = make("div", "bar-value");
  bar.setAttribute("role", "progressbar");
  bar.setAttribute("aria-label", `Job ${card.id}, ${card.state}`);
  bar.setAttribute("aria-valuemin", 0);
  bar.setAttribute("aria-valuemax", 100);
  bar.setAttribute("aria-valuenow", card.percent);
  node.append(bar);
  return node;
};

const content = (card) => {
  const title = make("h3", "", card.title);
  const head = make("div", "line", title, ...card.about.map((text) => make("span", "about", text)));
  const state = make("span", `state ${card.kind}`, icon(card.kind), card.state);
  const line = make("span", "info", ...card.line.map(part));
  const text = make("div", "text", head, make("div", "line", state, line));
  if (card.path) text.append(make("code", "path", card.path));
  const below = card.notes.map((note) => make("p", "remark", ...(card.kind === "bad" ? [] : [icon("warn")]), make("span", "", note)));
  if (card.segments.length) below.push(progress(card));
  const parts = [make("span", "number", `#${card.id}`), thumbnail(card.weights), text, actions(card)];
  return below.length ? [...parts, make("div", "below", ...below)] : parts;
};

const show = (card) => {
  const json = JSON.stringify(card);
  let known = cards.get(card.id);
  if (!known) {
    const node = make("article", "job");
    node.dataset.job = card.id;
    known = { node, json: "", spoken: "" };
    cards.set(card.id, known);
  }
  if (known.json === json) return known.node;
  const focused = known.node.contains(document.activeElement) ? document.activeElement.dataset.act : null;
  known.node.setAttribute("aria-label", `Job ${card.id}, ${card.title}, ${card.state}`);
  known.node.replaceChildren(...content(card));
  if (focused) known.node.querySelector(`[data-act=${focused}]`)?.focus({ preventScroll: true });
  if (known.json && known.spoken !== card.spoken) root.querySelector(".spoken").textContent = card.spoken;
  known.json = json;
  known.spoken = card.spoken;
  return known.node;
};

const load = () => {
  if (!props.value?.cards) return;
  const nodes = props.value.cards.map(show);
  const list = root.querySelector(".cards");
  for (const [job, { node }] of cards) if (!nodes.includes(node)) { node.remove(); cards.delete(job); }
  nodes.forEach((node, i) => { if (list.children[i] !== node) list.insertBefore(node, list.children[i] ?? null); });
  const note = root.querySelector(".note");
  note.hidden = !props.value.note;
  if (note.textContent !== props.value.note) note.textContent = props.value.note;
  root.querySelector(".empty").hidden = nodes.length > 0;
  root.dataset.ready = "";
};

const copy = async (node, path) => {
  if (navigator.clipboard) await navigator.clipboard.writeText(path.textContent);
  else { // without https there is no clipboard but this
    getSelection().selectAllChildren(path);
    document.execCommand("copy");
  }
  node.textContent = "Copied";
  setTimeout(() => { node.textContent = "Copy path"; }, 2000);
};
root.addEventListener("click", (event) => {
  const node = event.target.closest("[data-act]");
  const job = node?.closest(".job");
  if (!job) return;
  if (node.dataset.act === "copy") copy(node, job.querySelector(".path"));
  else {
    node.disabled = true;
    trigger("cancel", { job: Number(job.dataset.job) });
  }
});
watch("value", load);
load();
