// The toolbar, and the row between it and the bars: a hint, a complaint, or what can be done to a selection.
const PANELS = ["bars", "sliders", "table", "text"];

const buildToolbar = () => {
  parts.picture = make("span", "mini");
  parts.label = make("span", "label");
  parts.shape = set(
    button(
      "shape",
      () => (view.tray ? closeTray(false) : openTray()),
      "btn shape",
      parts.picture,
      parts.label,
      icon("down"),
    ),
    { "aria-haspopup": "dialog" },
  );
  parts.undo = iconButton("undo", say("grid.undo"), undo);
  parts.redo = iconButton("redo", say("grid.redo"), redo);
  parts.each = choice(
    say("grid.edit"),
    ["all", "each"].map((which) => [which, say(`grid.edit_${which}`), say(`grid.edit_${which}_help`)]),
    (value) => setEach(value === "each"),
  );
  parts.panel = choice(
    say("grid.view"),
    PANELS.map((panel) => [panel, say(`grid.view_${panel}`), say(`grid.view_${panel}_help`)]),
    (value) => {
      view.panel = value;
      draw();
    },
  );
  parts.beyond = checkbox("beyond", say("grid.beyond"), setBeyond);
  parts.beyond.node.title = say("grid.beyond_help");
  const tools = make(
    "span",
    "row end",
    parts.beyond.node,
    parts.undo,
    parts.redo,
    set(button("reset", reset, "btn bare", say("grid.reset")), { title: say("grid.reset_help") }),
    set(button("keys", showHelp, "btn bare", say("grid.keys")), { title: say("grid.keys_help"), "aria-haspopup": "dialog" }),
  );
  parts.toolbar = make(
    "div",
    "toolbar",
    make("h2", "", say("grid.title")),
    parts.shape,
    parts.each.node,
    parts.panel.node,
    tools,
  );
};
const paintToolbar = () => {
  write(parts.label, grid.shape);
  parts.shape.title = grid.shape;
  const weights = line();
  const drawn = JSON.stringify(weights);
  if (parts.picture.dataset.drawn !== drawn) parts.picture.replaceChildren(thumbnail(weights, 16));
  parts.picture.dataset.drawn = drawn;
  parts.each.show(view.each ? "each" : "all");
  parts.panel.show(view.panel);
  parts.beyond.node.hidden = !grid.wide;
  parts.beyond.input.checked = view.beyond;
  parts.undo.disabled = !past.length && before === null;
  parts.redo.disabled = !future.length;
};

const buildAbove = () => {
  parts.hint = make("span", "hint");
  parts.hint.setAttribute("role", "status");
  parts.names = make("span", "ends");
  parts.above = make("div", "above", parts.hint, buildBulk(), parts.names);
};
const paintAbove = () => {
  parts.above.hidden = view.tray !== null;
  paintBulk();
  const bars = phone.matches || view.panel === "bars";
  if (!bars) bulk.node.hidden = true;
  parts.hint.hidden = bars && view.selection !== null;
  write(parts.hint, view.message || say(`grid.hint_${view.each && bars ? "linked" : bars ? "bars" : view.panel}`));
  parts.hint.classList.toggle("wrong", Boolean(view.message));
};
