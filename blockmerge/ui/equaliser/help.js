// The list of keys, by the button beside Reset or by "?" while a bar has the focus.
const KEYS = ["walk", "nudge", "page", "ends", "type", "lanes", "select", "select_all", "corners",
  "letters", "undo", "copy", "escape", "queue"];

const buildHelp = () => {
  const rows = KEYS.map((key) => make("tr", "", set(make("th", "", say(`grid.key_${key}`)), { scope: "row" }), make("td", "", say(`grid.key_${key}_does`))));
  const close = button("close-keys", () => parts.help.close(), "btn main", say("grid.close"));
  const title = make("h3", "", say("grid.keys"));
  parts.help = make("dialog", "keys", title, make("table", "", make("tbody", "", ...rows)), make("p", "row end", close));
  set(parts.help, { "aria-label": say("grid.keys") });
  // what is pressed here is not for the bars, nor for the page
  parts.help.addEventListener("keydown", (event) => event.stopPropagation());
};
const showHelp = () => {
  if (!parts.help.isConnected) root.append(parts.help);
  parts.help.showModal();
};
