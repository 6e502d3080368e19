// The job list: value -> DOM. Nodes are kept by job, so that focus, scrolling and what is being typed stay where they are.
const SEGMENT_ICONS = { done: "done", now: "run", next: "next" };
const root = element.querySelector(".jobs");
const cards = new Map(); // job number -> {node, main, slot, log, json, spoken, form}
let value = null;

const ask = (what, more = {}) => trigger("ask", { do: what, ...more });
const part = (text) => {
  if (typeof text === "string") return text;
  if ("time" in text) return moment(text.time);
  if ("code" in text) return make("code", "", text.code);
  if (!/^https?:\/\//.test(text.address)) return text.text;
  return set(plain("a", "", text.text), { href: text.address, target: "_blank", rel: "noopener", "aria-label": say("publish.opens", { name: text.text }) });
};

// Above the list: whose jobs, which of them, and a batch
const search = set(make("input"), { type: "search", placeholder: say("jobs.filter"), "aria-label": say("jobs.filter") });
const states = set(make("select", "btn"), { "aria-label": say("jobs.states") });
for (const [state, label] of [["", say("jobs.any_state")], ["waiting", "Waiting"], ["running", say("jobs.running")], ["done", "Done"],
  ["needs_sign_in", "Needs sign-in"], ["failed", "Failed"], ["cancelled", "Cancelled"]])
  states.append(set(make("option", "", label), { value: state }));
const scopes = ["mine", "all"].map((scope) => set(make("button", "", say(`jobs.${scope}`)), { type: "button", role: "radio", "data-scope": scope }));
const scope = set(make("span", "choice", ...scopes), { role: "radiogroup", "aria-label": say("jobs.scope") });
const batch = set(button(say("jobs.batch"), "batch"), { "aria-expanded": "false" });
let everyone = true;
let late = 0;
const filter = () => ask("filter", { text: search.value.slice(0, 300), state: states.value });
search.addEventListener("input", () => { clearTimeout(late); late = setTimeout(filter, 250); });
states.addEventListener("change", filter);
scope.addEventListener("click", (event) => {
  const chosen = event.target.dataset.scope;
  if (chosen) { everyone = chosen === "all"; showOthers(); }
});
scope.addEventListener("keydown", (event) => {
  if (!event.key.startsWith("Arrow")) return;
  event.preventDefault();
  everyone = !everyone;
  showOthers();
  scopes[Number(everyone)].focus();
});
const head = make("div", "head", make("h2", "", say("jobs.title")), make("span", "help", say("jobs.help")), make("div", "tools", batch, scope, states, search));
const note = set(make("p", "note"), { role: "status", hidden: true });
const answer = set(make("p", "answer"), { role: "status" });
const wrong = set(make("p", "note"), { role: "alert", hidden: true });
const list = make("div", "cards");
const others = set(make("ul", "others"), { "aria-label": say("jobs.someone") });
const empty = set(make("p", "hint"), { hidden: true });
const count = make("p", "hint small");
const spoken = set(make("p", "spoken"), { "aria-live": "polite" });

// A batch: the models of one job, and a tick for each shape
const base = make("select", "btn");
const ticks = SHAPES.map(({ name, title, weights }) => {
  const input = set(make("input", "tick"), { type: "checkbox", value: name });
  return { input, node: make("label", "shape", thumbnail(weights), make("span", "", input, title)) };
});
const shapes = make("fieldset", "shapes", make("legend", "", say("jobs.batch_shapes")), ...ticks.map(({ node }) => node));
const batchForm = make("form", "card-box batch", make("h3", "", say("jobs.batch_title")), make("p", "hint left", say("jobs.batch_help")),
  field(say("jobs.batch_job"), base), shapes,
  make("div", "row", set(button(say("jobs.batch_do"), "batch-do", "", "btn primary"), { type: "submit" }), button(say("jobs.batch_cancel"), "batch-close", "", "btn bare")));
batchForm.hidden = true;
const openBatch = (on) => {
  batchForm.hidden = !on;
  set(batch, { "aria-expanded": String(on) });
  if (on) {
    base.replaceChildren(...value.cards.map(({ id, title }) => set(make("option", "", `#${id} ${title}`), { value: id })));
    base.focus();
  } else batch.focus();
};
batch.addEventListener("click", () => openBatch(batchForm.hidden));
batchForm.addEventListener("submit", (event) => {
  event.preventDefault();
  ask("batch", { job: Number(base.value), shapes: ticks.filter(({ input }) => input.checked).map(({ input }) => input.value) });
});
batchForm.querySelector("[data-act=batch-close]").addEventListener("click", () => openBatch(false));

// A card
const link = (label, address, id) => set(make("a", "btn", label), { href: address, "aria-label": `${label}, ${say("jobs.job", { id })}` });
const NAMES = { cancel: "btn", stop_publish: "btn", publish: "btn", retry: "btn primary", edit: "btn", download: "btn", log: "btn bare", up: "btn bare", down: "btn bare", use: "btn bare" };
const act = (card, [what, label], name = what === "cancel" && card.kind === "wait" ? "btn bare" : NAMES[what] ?? "btn bare") => {
  if (what === "files") return set(link(label, card.files, card.id), { target: "_blank", class: name });
  if (what === "download") return set(link(label, `${card.files}all.tar`, card.id), { class: name });
  if (what === "compare") return comparing(card, label);
  const node = button(label, what, say("jobs.job", { id: card.id }), name);
  if (what === "log") set(node, { "aria-expanded": String(Boolean(value.logs[card.id])) });
  return node;
};
const comparing = (card, label) => {
  const chosen = value.compared?.job === card.id ? value.compared.other : "";
  const node = set(make("select", "btn bare"), { "data-act": "compare", "aria-label": `${label}, ${say("jobs.job", { id: card.id })}` });
  node.append(set(make("option", "", chosen ? say("jobs.compare_none") : label), { value: "" }));
  for (const { id, title } of value.cards)
    if (id !== card.id) node.append(set(make("option", "", `#${id} ${title}`), { value: id, selected: id === chosen }));
  return node;
};
const facts = (card) => {
  const items = make("dl", "facts");
  for (const [label, text] of card.facts) items.append(make("div", "", make("dt", "", label), make("dd", "", ...text.map(part))));
  return items;
};
const segments = (card) => {
  const items = make("ul", "stages");
  for (const { state, share, title, detail } of card.segments) {
    const item = make("li", state, make("b", "", icon(SEGMENT_ICONS[state]), title), make("span", "", detail));
    item.style.setProperty("--share", share);
    items.append(item);
  }
  return items;
};
const progress = (card) => {
  const bar = set(make("div", "spoken"), {
    role: "progressbar", "aria-label": say("jobs.spoken", card), "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": card.percent,
  });
  return make("div", "progress", facts(card), segments(card), bar);
};
const content = (card, known) => {
  const top = make("div", "line", plain("h3", "", card.title), ...card.about.map((words) => plain("span", "about", words)));
  const state = make("span", `state ${card.kind}`, icon(card.kind), card.state);
  const words = make("div", "text", top, make("div", "line", state, make("span", "info", make("bdi", "", ...card.line.map(part)))));
  if (card.path) words.append(plain("code", "path", card.path));
  const acts = make("div", "actions");
  if (card.more.length) acts.append(set(button(say("jobs.more"), "more", say("jobs.job", { id: card.id }), "btn bare"), { "aria-expanded": String(known.more) }));
  acts.append(...card.acts.map((named) => act(card, named)));
  const below = card.notes.map((text) => make("p", "remark", ...(card.kind === "bad" ? [] : [icon("warn")]), plain("span", "", text)));
  if (card.segments.length) below.push(progress(card));
  const more = known.more ? [make("div", "more-acts", ...card.more.map((named) => act(card, named, "btn bare")))] : [];
  return [make("span", "number", say("jobs.number", card)), thumbnail(card.weights), words, acts, ...more, ...(below.length ? [make("div", "below", ...below)] : [])];
};

// What opens under a card stays while the card changes
const closed = (known, focus = true) => {
  const before = known.form;
  known.form = "";
  known.dialog = null;
  if (before === "publish") ask("offer");
  known.slot.replaceChildren();
  if (focus) known.main.querySelector(`[data-act=${before}]`)?.focus({ preventScroll: true });
};
const question = (known, what, sentence) => {
  const text = set(make("p", "", sentence), { role: "alert" });
  const yes = button(say(`jobs.${what === "delete_files" ? "delete" : "forget"}_do`), "yes", "", "btn danger");
  const no = button(say("jobs.keep"), "no", "", "btn bare");
  yes.addEventListener("click", () => { ask(what, { job: known.card.id }); closed(known); });
  no.addEventListener("click", () => closed(known));
  known.slot.replaceChildren(make("div", "change", text, make("div", "row", yes, no)));
  no.focus();
};
const editing = (known) => {
  const { card } = known;
  const name = set(make("input"), { type: "text", value: card.name, maxlength: 96, required: true });
  const recipe = set(make("textarea", "", card.recipe), { rows: 12, spellcheck: "false" });
  const leave = button(say("jobs.edit_cancel"), "no", "", "btn bare");
  const form = make("form", "change", field(say("jobs.edit_name"), name), field(say("jobs.edit_recipe"), recipe),
    make("div", "row", set(button(say("jobs.edit_save"), "edit-save", "", "btn primary"), { type: "submit" }), leave));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    ask("edit", { job: card.id, name: name.value, text: recipe.value });
  });
  leave.addEventListener("click", () => closed(known));
  known.slot.replaceChildren(form);
  name.focus();
};
const publishing = (known) => {
  for (const other of cards.values()) if (other !== known && other.form === "publish") closed(other, false);
  known.dialog = null;
  known.slot.replaceChildren(set(make("p", "change", say("publish.asking")), { role: "status" }));
  ask("offer", { job: known.card.id });
};
const FORMS = {
  edit: editing,
  publish: publishing,
  delete_files: (known) => question(known, "delete_files", say("jobs.delete_question", known.card)),
  forget: (known) => question(known, "forget", say("jobs.forget_question", known.card)),
};
const open = (known, what) => {
  if (known.form === what) return closed(known);
  known.form = what;
  return FORMS[what](known);
};
const showLog = (known) => {
  const lines = value.logs[known.card.id];
  if (!lines) return known.log.replaceChildren();
  const text = lines.join("\n") || say("jobs.log_empty");
  let box = known.log.firstChild;
  if (!box) {
    box = set(make("pre", "log"), { tabindex: 0, role: "region", "aria-label": say("jobs.log_label", known.card) });
    known.log.append(box);
  }
  if (box.textContent === text) return;
  const atEnd = box.scrollTop + box.clientHeight >= box.scrollHeight - 8;
  box.textContent = text;
  if (atEnd) box.scrollTop = box.scrollHeight;
};
const showCompared = (known) => {
  const compared = value.compared?.job === known.card.id ? value.compared : null;
  const json = JSON.stringify(compared);
  if (known.compared === json) return;
  known.compared = json;
  if (!compared) return known.curves.replaceChildren();
  const { mine, theirs, words } = compared;
  const key = (kind, { name }) => make("span", "key", make("i", kind), plain("span", "", name));
  known.curves.replaceChildren(make("p", "legend", key("mine", mine), key("theirs", theirs), make("span", "", words)), curve(mine.weights, theirs.weights, words));
};

const show = (card) => {
  let known = cards.get(card.id);
  if (!known) {
    known = { main: make("div", "main"), slot: make("div", "slot"), log: make("div"), curves: make("div"), json: "", spoken: "", form: "", more: false };
    known.node = make("article", "job", known.main, known.slot, known.curves, known.log);
    known.node.dataset.job = card.id;
    known.node.addEventListener("click", (event) => clicked(event, known));
    known.node.addEventListener("change", (event) => {
      if (event.target.dataset.act !== "compare") return;
      const other = Number(event.target.value);
      ask("compare", { job: known.card.id, ...(other ? { other } : {}) });
    });
    known.node.addEventListener("keydown", (event) => { if (event.key === "Escape" && known.form) closed(known); });
    cards.set(card.id, known);
  }
  known.card = card;
  if (known.form && !FORMS_FOR(card).includes(known.form)) closed(known, false);
  showLog(known);
  showCompared(known);
  const numbers = known.more ? value.cards.map(({ id, title }) => [id, title]) : [];
  const json = JSON.stringify([card, known.more, Boolean(value.logs[card.id]), value.compared?.job === card.id && value.compared.other, numbers]);
  if (known.json === json) return known.node;
  const focused = known.main.contains(document.activeElement) ? document.activeElement.dataset.act : null;
  known.node.setAttribute("aria-label", say("jobs.card", card));
  known.main.replaceChildren(...content(card, known));
  if (focused) known.main.querySelector(`[data-act=${focused}]`)?.focus({ preventScroll: true });
  if (known.json && known.spoken !== card.spoken) spoken.textContent = card.spoken;
  known.json = json;
  known.spoken = card.spoken;
  return known.node;
};
const FORMS_FOR = (card) => [...card.acts, ...card.more].map(([what]) => what);

const copy = (node, known) => {
  copyText(known.card.path, { set value(_) {}, select: () => getSelection().selectAllChildren(known.node.querySelector(".path")) });
  said(node, say("jobs.copied"));
};
const clicked = (event, known) => {
  const node = event.target.closest("button[data-act]");
  if (!node || !known.main.contains(node)) return;
  const what = node.dataset.act;
  if (what === "more") {
    known.more = !known.more;
    show(known.card);
  } else if (what === "copy_path") copy(node, known);
  else if (what === "log") ask("log", { job: known.card.id, on: !value.logs[known.card.id] });
  else if (FORMS[what]) open(known, what);
  else {
    if (what === "cancel" || what === "stop_publish") node.disabled = true;
    ask(what, { job: known.card.id });
  }
};

const showOthers = () => {
  const { lines, more } = value.others;
  scope.hidden = !lines.length;
  scopes.forEach((node) => set(node, { "aria-checked": String((node.dataset.scope === "all") === everyone), tabindex: (node.dataset.scope === "all") === everyone ? 0 : -1 }));
  const shown = everyone && !value.filtered ? [...lines, ...(more ? [more] : [])] : [];
  others.replaceChildren(...shown.map((words, i) => make("li", "", icon(i < lines.length ? "wait" : "next"), i < lines.length ? `${say("jobs.someone")}, ${words}` : words)));
  others.hidden = !shown.length;
};
let answered = 0;
const showAnswer = () => {
  const told = value.answer;
  if (!told || told.at === answered) return;
  answered = told.at;
  wrong.hidden = !told.wrong;
  wrong.textContent = told.wrong ?? "";
  answer.textContent = told.told ?? "";
  if (told.asked === "batch") openBatch(false);
  if (told.asked === "publish" && cards.get(told.job)?.form === "publish") closed(cards.get(told.job));
  if (told.asked === "edit" && cards.has(told.job)) closed(cards.get(told.job));
  if (told.wrong) for (const node of root.querySelectorAll("[data-act=cancel]:disabled, [data-act=stop_publish]:disabled")) node.disabled = false;
};
const showDialog = () => {
  const known = cards.get(value.offer?.job);
  if (known?.form === "publish") showOffer(known, value.offer, () => closed(known));
};
const showNamed = () => {
  const known = cards.get(value.named);
  if (!known) return;
  known.node.scrollIntoView({ block: "nearest" });
  for (const { node } of cards.values()) node.classList.toggle("named", node === known.node);
};

const load = () => {
  if (!props.value?.cards) return;
  value = props.value;
  const nodes = value.cards.map(show);
  for (const [job, { node }] of cards) if (!nodes.includes(node)) { node.remove(); cards.delete(job); }
  nodes.forEach((node, i) => { if (list.children[i] !== node) list.insertBefore(node, list.children[i] ?? null); });
  note.hidden = !value.note;
  if (note.textContent !== value.note) note.textContent = value.note;
  empty.hidden = nodes.length > 0;
  empty.textContent = value.empty;
  count.hidden = !value.count;
  count.textContent = value.count;
  batch.hidden = !nodes.length;
  for (const node of [states, search]) node.hidden = !nodes.length && !value.filtered;
  showOthers();
  showDialog();
  showAnswer();
  if (value.named) showNamed();
  root.dataset.ready = "";
};
root.append(head, note, wrong, answer, batchForm, list, others, empty, count, spoken);
watch("value", load);
load();
