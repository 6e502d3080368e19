// What can be done to a whole selection, by button or by letter.
const bulk = { weight: 0.5 };
const BULK_STEP = 0.05;

const buildBulk = () => {
  bulk.where = make("b", "where");
  bulk.count = make("span", "quiet");
  bulk.field = weightField("bulk-weight", {
    digits: 2,
    read: () => bulk.weight,
    keep: (weight) => {
      bulk.weight = weight;
      draw();
    },
    leave: (how) => {
      if (how === "enter") setAll();
      focusBar();
    },
  });
  set(bulk.field.input, { "aria-label": "Weight for the selection" });
  const act = (name, label, title, run) => set(button(name, run, "btn", label), { title });
  bulk.node = set(
    make(
      "div",
      "bulk",
      bulk.where,
      bulk.count,
      make("i", "between"),
      bulk.field.input,
      act("set", "Set", "Set all selected layers to this weight", setAll),
      act("times", "×", "Multiply the selected weights by this number", multiply),
      act("minus", "−0.05", "Less in all selected layers", () => shift(-BULK_STEP)),
      act("plus", "+0.05", "More in all selected layers", () => shift(BULK_STEP)),
      make("i", "between"),
      act("line", "Line", "A straight line between the ends (L)", drawLine),
      act("smooth", "Smooth", "Even out (S)", smooth),
      act("mirror", "Mirror", "Left to right (M)", mirror),
      make("i", "between"),
      button("clear", clearSelection, "btn bare", "Clear selection"),
    ),
    { role: "toolbar", "aria-label": "Edit the selection" },
  );
  return bulk.node;
};
const paintBulk = () => {
  bulk.node.hidden = !view.selection;
  if (!view.selection) return;
  const [from, to] = view.selection;
  const count = to - from + 1;
  write(bulk.where, from === to ? `Layer ${from}` : `Layers ${from}–${to}`);
  write(bulk.count, view.message || `${count} selected`);
  bulk.count.classList.toggle("wrong", Boolean(view.message));
  showField(bulk.field);
};

const edit = (next) => {
  change(selected(), next);
  finish();
};
const setAll = () => edit(() => bulk.weight);
const multiply = () => edit((old) => old * bulk.weight);
const shift = (by) => edit((old) => old + by);
const drawLine = () => {
  const [from, to] = view.selection;
  const weights = line();
  const ends = straight(weights[from], weights[to], to - from);
  edit((_, layer) => ends[layer - from]);
};
// Half of itself and a quarter of each neighbour; the first and the last layer of a stack are their own neighbour
const smooth = () => edit((old, layer, all) => ((all[layer - 1] ?? old) + 2 * old + (all[layer + 1] ?? old)) / 4);
const mirror = () => {
  const [from, to] = view.selection;
  edit((_, layer, all) => all[from + to - layer]);
};
const clearSelection = () => {
  view.selection = null;
  draw();
  focusBar();
};
