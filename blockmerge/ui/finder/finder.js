// The search of the Hub: asked a moment after the last letter, answered by a list of names.
const root = element.querySelector(".finder");
const PAUSE = 350; // milliseconds without a letter
const FEWEST = 3;
let timer = 0;

const input = set(make("input", "field"), { type: "search", "aria-label": say("hub.search"), placeholder: say("hub.search"), title: say("hub.search_hint"), maxlength: 200, spellcheck: "false", autocomplete: "off" });
const told = set(make("p", "help"), { role: "status" });
const list = make("ul", "found");
root.append(input, make("div", "panel", told, list));

const wanted = () => input.value.trim();
const row = ({ name, note }) => {
  const act = (what, label) => set(button(label, what), { "data-name": name, "aria-label": `${label}: ${name}` });
  return make("li", "", make("span", "what", plain("b", "", name), make("small", "", note)),
    make("span", "acts", act("a", say("hub.use_a")), act("b", say("hub.use_b")), act("recipe", say("hub.its_recipe"))));
};
const show = () => {
  const { query = "", found = [], problem = "" } = props.value || {};
  const is_current = query === wanted() && query;
  list.replaceChildren(...(is_current ? found.map(row) : []));
  told.textContent = is_current || !query ? problem : "";
};
const ask = () => {
  if (wanted().length >= FEWEST) {
    told.textContent = say("hub.searching");
    trigger("search", wanted());
  }
};
input.addEventListener("input", () => {
  clearTimeout(timer);
  timer = setTimeout(ask, PAUSE);
  list.replaceChildren();
  told.textContent = "";
});
input.addEventListener("keydown", ({ key }) => {
  if (key !== "Enter") return;
  clearTimeout(timer);
  ask();
});
root.addEventListener("click", ({ target }) => {
  const node = target.closest("button[data-act]");
  if (!node) return;
  const { act, name } = node.dataset;
  if (act === "recipe") trigger("recipe", { name });
  else trigger("use", { name, key: act });
});
watch("value", show);
show();
root.dataset.ready = "";
