// Questions and answers: fetched while they are written, value -> DOM. Text comes from models: textContent only.
const EVERY = 120; // ms between two looks while an answer is written
const SELDOM = 10000; // ms otherwise: models are let go meanwhile
const STORED = "blockmerge.try";
const root = element.querySelector(".answers");
const [latest, earlier] = root.querySelectorAll(".rounds");
const details = root.querySelector(".earlier");
const held = root.querySelector(".held");
root.querySelector(".empty").textContent = say("try.empty");
const nodes = new Map(); // number of a round -> {node, json}
let version = -1, busy = false, again = false, timer = 0;

const make = (tag, name, ...children) => {
  const node = document.createElement(tag);
  if (name) node.className = name;
  node.append(...children);
  return node;
};
const button = (label, act, values = {}) => {
  const node = make("button", "btn", label);
  node.type = "button";
  Object.assign(node.dataset, { act, ...values });
  return node;
};
const set = (node, text) => { if (node.textContent !== text) node.textContent = text; };

const newKey = () => [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
const readKey = () => {
  try {
    const known = localStorage.getItem(STORED);
    if (/^[0-9a-f]{32}$/.test(known)) return known;
    const made = newKey();
    localStorage.setItem(STORED, made);
    return made;
  } catch { return newKey(); } // a browser that stores nothing forgets the conversation with the page
};
const key = readKey();

const column = (place) => {
  const mark = make("span", "mark"), name = make("h3", "name"), text = make("p", "text");
  const line = make("p", "line"), notes = make("div", "notes"), foot = make("span", "count"), best = make("span", "best");
  const node = make("article", "column", make("header", "", mark, name, best), make("div", "body", text, line, notes), make("div", "bottom", foot));
  node.dataset.place = place;
  return node;
};
const fill = (node, value, vote, number) => {
  node.dataset.kind = value.kind;
  node.dataset.state = value.state;
  node.setAttribute("aria-label", value.name);
  set(node.querySelector(".mark"), value.mark);
  set(node.querySelector(".name"), value.kind === "merged" ? say("try.merged_name", { name: value.name }) : value.name);
  set(node.querySelector(".best"), value.best ? say("try.your_choice") : "");
  set(node.querySelector(".text"), value.text);
  set(node.querySelector(".line"), value.line);
  const notes = node.querySelector(".notes");
  if (notes.children.length !== value.notes.length) notes.replaceChildren(...value.notes.map((note) => make("p", "note", note)));
  set(node.querySelector(".count"), value.foot);
  const bottom = node.querySelector(".bottom"), offered = bottom.querySelector(".btn");
  if (vote && !offered) bottom.append(button(say("try.best"), "vote", { round: number, place: node.dataset.place }));
  if (!vote && offered) offered.remove();
};
const round = (value) => {
  const head = make("div", "asked", make("p", "prompt"), make("p", "settings"), make("div", "actions"));
  const tabs = make("div", "switch");
  tabs.setAttribute("role", "group");
  tabs.setAttribute("aria-label", say("try.which"));
  const node = make("section", "round", head, tabs, make("div", "columns", ...value.columns.map((_, i) => column(i))), make("p", "voted"));
  value.columns.forEach((one, i) => tabs.append(button("", "show", { place: i })));
  node.dataset.round = value.number;
  node.dataset.shown = value.columns.findIndex((one) => one.kind === "merged" || one.kind === "hidden");
  return node;
};
const update = (node, value) => {
  set(node.querySelector(".prompt"), value.prompt);
  set(node.querySelector(".settings"), value.settings);
  set(node.querySelector(".voted"), value.voted);
  node.dataset.open = value.open;
  const actions = node.querySelector(".asked .actions");
  const wanted = value.open ? "stop" : value.vote ? "vote" : "";
  if (actions.dataset.wanted !== wanted) {
    actions.dataset.wanted = wanted;
    actions.replaceChildren(...(wanted === "stop" ? [button(say("try.stop"), "stop")]
      : wanted === "vote" ? [button(say("try.equal"), "vote", { round: value.number })] : []));
  }
  const columns = node.querySelectorAll(".column"), tabs = node.querySelectorAll(".switch .btn");
  value.columns.forEach((one, i) => {
    fill(columns[i], one, value.vote, value.number);
    set(tabs[i], one.kind === "merged" ? say("try.merged_tab") : one.kind === "hidden" ? one.name : `${one.mark} ${one.name}`);
  });
  show(node, Number(node.dataset.shown));
};
const show = (node, place) => {
  node.dataset.shown = place;
  node.querySelectorAll(".column").forEach((one, i) => one.classList.toggle("shown", i === place));
  node.querySelectorAll(".switch .btn").forEach((one, i) => one.setAttribute("aria-pressed", i === place));
};

const draw = (view) => {
  for (const value of view.rounds) {
    let known = nodes.get(value.number);
    if (!known) nodes.set(value.number, (known = round(value)));
    const before = known.dataset.open;
    update(known, value);
    if (before === "true" && !value.open) set(root.querySelector(".spoken"), say(value.vote ? "try.all_there_vote" : "try.all_there"));
  }
  for (const [number, node] of nodes) if (!view.order.includes(number)) { node.remove(); nodes.delete(number); }
  view.order.forEach((number, i) => {
    const node = nodes.get(number), home = i ? earlier : latest, place = i ? i - 1 : 0;
    if (home.children[place] !== node) home.insertBefore(node, home.children[place] ?? null);
  });
  details.hidden = view.order.length < 2;
  set(details.querySelector("summary"), say("try.earlier", { count: view.order.length - 1 }));
  root.querySelector(".empty").hidden = view.order.length > 0;
  set(held, view.held);
  const actions = root.querySelector(".foot .actions");
  const wanted = [...(view.order.length ? ["clear"] : []), ...(view.holds ? ["free"] : [])].join();
  if (actions.dataset.wanted !== wanted) {
    actions.dataset.wanted = wanted;
    actions.replaceChildren(...(view.order.length ? [button(say("try.clear"), "clear")] : []), ...(view.holds ? [button(say("try.free"), "free")] : []));
  }
  root.dataset.open = view.open;
  root.dataset.ready = "";
};

const later = (time) => {
  clearTimeout(timer);
  // A tab that is not shown looks again when it is.
  timer = setTimeout(() => (root.offsetParent || time < SELDOM ? look() : later(SELDOM)), time);
};
// One look at a time; a look that is asked for meanwhile follows it.
const look = async () => {
  if (busy) { again = true; return; }
  busy = true;
  try {
    const view = await server.look({ key, since: version });
    version = view.version;
    draw(view);
    later(view.open ? EVERY : again ? 0 : SELDOM);
  } catch { later(2000); } // the server is away for a moment
  again = busy = false;
};
const act = async (name, values) => {
  const said = await server[name]({ key, ...values });
  if (said) set(root.querySelector(".spoken"), said);
  look();
};
root.addEventListener("click", ({ target }) => {
  const node = target.closest("[data-act]");
  if (!node) return;
  const { act: name, round: number, place } = node.dataset;
  if (name === "show") { show(node.closest(".round"), Number(place)); return; }
  node.disabled = true;
  const values = name === "vote" ? { round: Number(number), place: place === undefined ? null : Number(place) } : {};
  act(name, values).finally(() => { node.disabled = false; });
});
document.addEventListener("keydown", (event) => {
  if (!root.isConnected || !root.offsetParent) return; // another tab is shown
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && event.target.closest("#try-prompt")) {
    event.preventDefault();
    document.querySelector("#generate").click();
  }
  if (event.key === "Escape" && root.dataset.open === "true") act("stop");
});
watch("value", look);
props.value = { key };
trigger("open");
look();
