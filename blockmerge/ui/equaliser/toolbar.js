// The toolbar, and the row between it and the bars: a hint, a complaint, or what can be done to a selection.
const HINTS = {
  bars: "Drag to paint. Shift-drag draws a straight line, Shift-click selects, double-click types a value.",
  sliders: "The field beside a group sets all its layers.",
  table: "Paste one column or several out of a spreadsheet into any field.",
  text: "Checked while you type. What a text does not name stays as it is.",
};
const LINKED_HINT =
  "Linked modules move together; a chain takes one out. Drag to paint, Shift-drag for a line, Shift-click selects.";

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
  parts.undo = iconButton("undo", "Undo", undo);
  parts.redo = iconButton("redo", "Redo", redo);
  parts.each = choice(
    "Edit",
    [
      ["all", "All modules"],
      ["each", "Each module"],
    ],
    (value) => setEach(value === "each"),
  );
  parts.panel = choice(
    "View",
    [
      ["bars", "Bars"],
      ["sliders", "Sliders"],
      ["table", "Table"],
      ["text", "Text"],
    ],
    (value) => {
      view.panel = value;
      draw();
    },
  );
  parts.beyond = checkbox("beyond", "Allow beyond 0–1", setBeyond);
  const tools = make(
    "span",
    "row end",
    parts.beyond.node,
    parts.undo,
    parts.redo,
    button("reset", reset, "btn bare", "Reset"),
  );
  parts.toolbar = make(
    "div",
    "toolbar",
    make("h2", "", "Weights"),
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
  write(parts.hint, view.message || (view.each && bars ? LINKED_HINT : HINTS[bars ? "bars" : view.panel]));
  parts.hint.classList.toggle("wrong", Boolean(view.message));
};
