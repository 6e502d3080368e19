// The Settings tab: groups of facts, the choice of colours, part folders that nobody owns, and downloaded models.
const root = element.querySelector(".sheet");
const THEME = "blockmerge-theme"; // in this browser; the header applies it
const THEMES = ["system", "light", "dark"];
let asking = ""; // the folder or model whose question is open
let value = null;

const kept = () => {
  try {
    return localStorage.getItem(THEME) ?? "system";
  } catch {
    return "system"; // a browser that keeps nothing
  }
};
const themes = THEMES.map((theme) => set(make("button", "", say(`settings.theme_${theme}`)), { type: "button", role: "radio", "data-theme": theme }));
const choose = (theme) => {
  document.dispatchEvent(new CustomEvent(THEME, { detail: theme }));
  themes.forEach((node) => set(node, { "aria-checked": String(node.dataset.theme === theme), tabindex: node.dataset.theme === theme ? 0 : -1 }));
};
const group = set(make("span", "choice", ...themes), { role: "radiogroup", "aria-label": say("settings.theme") });
group.addEventListener("click", ({ target }) => { if (target.dataset.theme) choose(target.dataset.theme); });
group.addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
  if (!step) return;
  event.preventDefault();
  const next = themes[(themes.indexOf(document.activeElement) + step + themes.length) % themes.length];
  next.focus();
  choose(next.dataset.theme);
});

const card = (title, ...children) => make("section", "group card-box", make("h2", "", title), ...children);
const facts = ({ title, help, paths, rows }) => {
  const items = make("dl");
  for (const [label, text] of rows) items.append(make("dt", "", label), plain("dd", "", text));
  return card(title, ...(help ? [make("p", "help", help)] : []), ...(paths.length ? [make("div", "paths", ...paths.map((path) => plain("code", "", path)))] : []), ...(rows.length ? [items] : []));
};
// A list of folders or models that can be deleted; `kind` names its texts, and `does` is the wish that is sent
const LISTS = [{ kind: "left", does: "delete" }, { kind: "cached", does: "delete_cached" }];
const keyOf = (kind, name) => `${kind} ${name}`;
const listRow = ({ kind, does }, { name, size, changed, needed }) => {
  const named = (node) => set(node, { "data-key": keyOf(kind, name), "data-name": name, "data-does": does });
  const text = needed ? say(`settings.${kind}_in_use`, { size }) : say(`settings.${kind}_size`, { size, time: moment(changed) });
  const about = make("div", "", plain("code", "", name), make("small", "", text));
  if (needed) return make("div", "left", about);
  if (asking !== keyOf(kind, name)) return make("div", "left", about, named(button(say(`settings.${kind}_delete`), "delete", name)));
  const question = set(plain("p", "", say(`settings.${kind}_question`, { name, size })), { role: "alert" });
  return make("div", "change", question, make("div", "row", named(button(say(`settings.${kind}_do`), "do", "", "btn danger")), button(say(`settings.${kind}_keep`), "keep", "", "btn bare")));
};
const lists = () => {
  const shown = LISTS.filter(({ kind }) => value[kind]);
  if (!shown.length) return [];
  const answer = set(make("p", `answer ${value.wrong ? "bad" : ""}`, value.wrong || value.told), { role: value.wrong ? "alert" : "status" });
  const cards = shown.map((list) => {
    const rows = value[list.kind].map((entry) => listRow(list, entry));
    return card(say(`settings.${list.kind}`), make("p", "help", say(`settings.${list.kind}_help`)), ...(rows.length ? rows : [make("p", "help", say(`settings.${list.kind}_none`))]));
  });
  return [...cards, answer];
};
const show = () => {
  const focused = root.contains(document.activeElement) ? document.activeElement.dataset.theme : null;
  root.replaceChildren(card(say("settings.looks"), group), ...value.groups.map(facts), ...lists());
  if (focused) group.querySelector(`[data-theme=${focused}]`).focus({ preventScroll: true });
};
root.addEventListener("click", ({ target }) => {
  const node = target.closest("button[data-act]");
  if (!node) return;
  const { act, key, name, does } = node.dataset;
  if (act === "do") trigger("ask", { do: does, name });
  asking = act === "delete" ? key : "";
  show();
  root.querySelector(asking ? "[data-act=keep]" : "[data-act=delete]")?.focus();
});
const load = () => {
  if (!props.value?.groups) return;
  value = props.value;
  show();
  root.dataset.ready = "";
};
choose(kept());
watch("value", load);
load();
