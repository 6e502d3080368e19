// The Recipes tab: a list to search, one recipe at a time beside it, and a form to import others.
const root = element.querySelector(".recipes");
const LARGEST_FILE = 1_000_000; // bytes
let value = { recipes: [], problem: "", chosen: null, report: [], errors: [] };
let json = "";
let open = ""; // the form that is open in the detail: rename, delete or nothing

const ask = (what, more = {}) => {
  const { chosen } = value;
  trigger("ask", { do: what, id: chosen?.id ?? null, other: chosen?.other?.id ?? null, ...more });
};

// What stands on the Merge tab: the loader keeps it in this tab of the browser
const onMergeTab = () => {
  try {
    const { recipe, name } = JSON.parse(sessionStorage.getItem("blockmerge-draft"));
    return { text: recipe, name };
  } catch {
    return {}; // nothing yet
  }
};

// The list
const search = set(make("input"), { type: "search", placeholder: say("recipes.search"), "aria-label": say("recipes.search") });
const list = set(make("ul", "list"), { "aria-label": say("recipes.list") });
const empty = make("p", "hint");
const problem = make("p", "hint");
const importing = button(say("recipes.import"), "import-open");
set(importing, { "aria-expanded": "false" });
const keeping = button(say("recipes.keep_merge"), "keep-merge");
keeping.addEventListener("click", () => ask("keep", onMergeTab()));
const shelf = make("section", "shelf card-box", search, make("div", "find", keeping, importing), list, empty, problem);

const entry = (recipe) => {
  const words = make("span", "words", plain("b", "", recipe.name), plain("span", "", recipe.pair), make("span", "", moment(recipe.saved)));
  if (recipe.note) words.append(plain("span", "note", recipe.note));
  const node = set(make("button", "entry", thumbnail(recipe.weights), words), { type: "button", "data-id": recipe.id });
  node.addEventListener("click", () => ask("choose", { id: recipe.id, other: null }));
  return make("li", "", node);
};
const matches = ({ name, note, pair }) => `${name}\n${note}\n${pair}`.toLowerCase().includes(search.value.trim().toLowerCase());
const showList = () => {
  const found = value.recipes.filter(matches);
  const focused = list.contains(document.activeElement) ? document.activeElement.dataset.id : null;
  list.replaceChildren(...found.map(entry));
  for (const node of list.querySelectorAll(".entry")) set(node, { "aria-current": node.dataset.id === value.chosen?.id ? "true" : null });
  if (focused) list.querySelector(`[data-id="${focused}"]`)?.focus({ preventScroll: true });
  empty.hidden = found.length > 0;
  empty.textContent = value.recipes.length ? say("recipes.none_match") : say("recipes.empty");
  problem.hidden = !value.problem;
  problem.textContent = value.problem;
};
search.addEventListener("input", showList);

// The form to import
const text = set(make("textarea"), { rows: 6, spellcheck: "false" });
const file = set(make("input"), { type: "file", accept: ".yaml,.yml,.json,.txt" });
const take = button(say("recipes.import_do"), "import", "", "btn primary");
const leave = button(say("recipes.cancel"), "import-close", "", "btn bare");
const wrong = set(make("p", "bad"), { role: "alert" });
const form = make("form", "import card-box", make("h2", "", say("recipes.import_title")), make("p", "hint left", say("recipes.import_help")),
  field(say("recipes.import_text"), text), field(say("recipes.import_file"), file), wrong, make("div", "row", take, leave));
take.type = "submit";
form.hidden = true;
const openImport = (on) => {
  form.hidden = !on;
  set(importing, { "aria-expanded": String(on) });
  wrong.textContent = "";
  if (on) text.focus();
  else importing.focus();
};
importing.addEventListener("click", () => openImport(form.hidden));
leave.addEventListener("click", () => openImport(false));
file.addEventListener("change", async () => {
  const [chosen] = file.files;
  if (!chosen) return;
  const large = chosen.size > LARGEST_FILE;
  wrong.textContent = large ? say("recipes.too_large") : "";
  if (!large) text.value = await chosen.text();
});
form.addEventListener("submit", (event) => {
  event.preventDefault();
  ask("import", { text: text.value, name: file.files[0]?.name.replace(/\.\w+$/, "") ?? "" });
});

// One recipe
const detail = make("section", "detail card-box");
const heading = (chosen) => {
  const compare = set(make("select", "btn"), { "data-act": "compare", "aria-label": say("recipes.compare") });
  compare.append(set(make("option", "", chosen.other ? say("recipes.compare_none") : say("recipes.compare")), { value: "" }));
  for (const { id, name } of value.recipes)
    if (id !== chosen.id) compare.append(set(make("option", "", name), { value: id, selected: id === chosen.other?.id }));
  compare.addEventListener("change", () => ask("compare", { other: compare.value || null }));
  const actions = make("div", "actions", button(say("recipes.rename"), "rename", "", "btn bare"), button(say("recipes.delete"), "delete", "", "btn bare"));
  if (value.recipes.length > 1) actions.append(compare);
  if (chosen.result) actions.append(button(say("recipes.try"), "try", "", "btn"));
  actions.append(button(say("recipes.use"), "use", "", "btn primary"));
  return make("div", "head", plain("h2", "", chosen.name), actions);
};
const renaming = (chosen) => {
  const name = set(make("input"), { type: "text", value: chosen.name, maxlength: 120, required: true });
  const note = set(make("input"), { type: "text", value: chosen.note, maxlength: 1000 });
  const node = make("form", "change", field(say("recipes.name"), name), field(say("recipes.note"), note),
    make("div", "row", set(button(say("recipes.save"), "rename-save", "", "btn primary"), { type: "submit" }), button(say("recipes.cancel"), "close", "", "btn bare")));
  node.addEventListener("submit", (event) => {
    event.preventDefault();
    open = "";
    ask("rename", { name: name.value, note: note.value });
  });
  return node;
};
const deleting = (chosen) => {
  const question = set(plain("p", "", say("recipes.delete_question", { name: chosen.name })), { role: "alert" });
  return make("div", "change", question, make("div", "row", button(say("recipes.delete"), "delete-do", "", "btn danger"), button(say("recipes.keep"), "close", "", "btn bare")));
};
const FORMS = { rename: renaming, delete: deleting };

const legend = ({ name, other }) => {
  if (!other) return [];
  const mine = make("span", "key", make("i", "mine"), plain("span", "", name));
  const theirs = make("span", "key", make("i", "theirs"), plain("span", "", other.name));
  return [make("p", "legend", mine, theirs, make("span", "", other.words))];
};
const ticks = (chosen) => {
  const count = chosen.weights.length;
  if (!chosen.layers) return [[say("recipes.depth_first"), 0], [say("recipes.depth_last"), count - 1]];
  const step = 2 ** Math.ceil(Math.log2(Math.max(1, count / 10)));
  const marks = Array.from({ length: Math.ceil(count / step) }, (_, i) => i * step).filter((i) => i < count - step / 2);
  return [...new Set([...marks, count - 1])].map((i) => [String(i), i]);
};
const plot = (chosen) => {
  const [first, last] = [chosen.weights[0], chosen.weights.at(-1)].map((w) => w.toFixed(2));
  const scale = make("div", "scale", make("span", "b", make("b", "", "1.00"), plain("span", "", say("recipes.top", { name: chosen.b }))),
    make("span", "a", plain("span", "", say("recipes.bottom", { name: chosen.a })), make("b", "", "0.00")));
  const axis = make("div", "axis");
  for (const [label, i] of ticks(chosen)) {
    const tick = make("span", "", label);
    tick.style.left = `${((i + 0.5) / chosen.weights.length) * 100}%`;
    axis.append(tick);
  }
  set(axis, { "aria-hidden": "true" });
  return make("div", "plot", scale, make("div", "area", curve(chosen.weights, chosen.other?.weights ?? [], say("recipes.curve", { first, last })), axis));
};
const line = (kind, words) => make("p", `said ${kind}`, icon(kind), plain("span", "", words));
const checks = (chosen) => {
  const nodes = chosen.formula.length ? [make("p", "formula", ...chosen.formula.map(([name, words]) => plain("span", name, words)))] : [];
  if (chosen.problems.length) nodes.push(line("warn", say("recipes.cannot_plan")), ...chosen.problems.map((words) => plain("p", "said", words)));
  return [...nodes, ...chosen.notes.map((words) => line("warn", words))];
};
const files = (chosen) => {
  const row = make("div", "row foot", button(say("recipes.copy_link"), "link"), button(say("recipes.yaml"), "yaml"), button(say("recipes.json"), "json"));
  if (chosen.mergekit) row.append(button(say("recipes.mergekit"), "mergekit"));
  row.append(make("span", "depth", chosen.depth));
  const [title, ...reasons] = chosen.unsaid;
  const why = title ? [make("p", "hint left", [title, ...reasons].join(" "))] : [];
  const link = set(make("input", "link"), { type: "text", readonly: true, hidden: true, "aria-label": say("recipes.link_text") });
  return [row, link, ...why];
};
const linkOf = (chosen) => {
  const url = new URL(location.origin + location.pathname);
  url.searchParams.set("tab", "merge");
  url.searchParams.set("recipe", chosen.link);
  return url.href;
};
const showDetail = () => {
  const { chosen } = value;
  const focused = detail.contains(document.activeElement) ? document.activeElement.dataset.act : null;
  const errors = form.hidden ? value.errors : []; // else they stand in the form
  detail.hidden = !value.recipes.length && !errors.length;
  const told = [...errors.map((words) => set(line("bad", words), { role: "alert" })), ...value.report.map(([kind, words]) => line(kind, words))];
  if (!chosen) detail.replaceChildren(...told, make("p", "hint", say("recipes.choose")));
  else {
    const saved = make("span", "", say("recipes.saved", { time: moment(chosen.saved) }));
    detail.replaceChildren(...told, heading(chosen), ...(open ? [FORMS[open](chosen)] : []),
      make("p", "about", plain("span", "", chosen.about), " ", saved), ...(chosen.note ? [plain("p", "note", chosen.note)] : []),
      ...legend(chosen), plot(chosen), ...checks(chosen), ...files(chosen));
  }
  if (focused) detail.querySelector(`[data-act=${focused}]`)?.focus({ preventScroll: true });
};
const openForm = (name) => {
  const before = open;
  open = name;
  showDetail();
  const first = detail.querySelector(".change input, .change button");
  if (name) first?.focus();
  else detail.querySelector(`[data-act=${before}]`)?.focus();
};
const file_name = (ending) => `${value.chosen.name.replace(/[^\p{L}\p{N}._ -]+/gu, "-").slice(0, 80) || "recipe"}${ending}`;
const ACTS = {
  use: () => ask("use"),
  try: () => ask("try"),
  rename: () => openForm("rename"),
  delete: () => openForm("delete"),
  close: () => openForm(""),
  "delete-do": () => { open = ""; ask("delete"); },
  link: (node) => { copyText(linkOf(value.chosen), detail.querySelector(".link")); said(node, say("recipes.copied")); },
  yaml: () => save(file_name(".yaml"), value.chosen.yaml),
  json: () => save(file_name(".json"), value.chosen.json),
  mergekit: () => save(file_name(".mergekit.yaml"), value.chosen.mergekit),
};
detail.addEventListener("click", (event) => {
  const node = event.target.closest("button[data-act]");
  if (node) ACTS[node.dataset.act]?.(node);
});
detail.addEventListener("keydown", (event) => { if (event.key === "Escape" && open) openForm(""); });

const load = () => {
  if (!props.value?.recipes) return;
  if (props.value.first && json) {
    props.value = value; // the address was quicker, and names a recipe
    return;
  }
  const fresh = JSON.stringify(props.value);
  if (fresh === json) return;
  json = fresh;
  const before = value.chosen?.id;
  value = props.value;
  if (value.chosen?.id !== before) open = "";
  if (value.imported && !form.hidden) {
    text.value = file.value = "";
    openImport(false);
  } else if (!form.hidden) wrong.textContent = value.errors.join(" ");
  showList();
  showDetail();
  root.dataset.ready = "";
};
root.append(shelf, make("div", "side", form, detail));
showList();
watch("value", load);
load();
