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
  set(bulk.field.input, { "aria-label": say("grid.bulk_weight") });
  const act = (name, run) => set(button(name, run, "btn", say(`grid.${name}`)), { title: say(`grid.${name}_help`) });
  bulk.node = set(
    make(
      "div",
      "bulk",
      bulk.where,
      bulk.count,
      make("i", "between"),
      bulk.field.input,
      act("set", setAll),
      act("times", multiply),
      act("minus", () => shift(-BULK_STEP)),
      act("plus", () => shift(BULK_STEP)),
      make("i", "between"),
      act("line", drawLine),
      act("smooth", smooth),
      act("mirror", mirror),
      make("i", "between"),
      button("clear", clearSelection, "btn bare", say("grid.clear")),
    ),
    { role: "toolbar", "aria-label": say("grid.bulk") },
  );
  return bulk.node;
};
const paintBulk = () => {
  bulk.node.hidden = !view.selection;
  if (!view.selection) return;
  const [from, to] = view.selection;
  const count = to - from + 1;
  write(bulk.where, layersText(from, to));
  write(bulk.count, view.message || say("grid.selected", { count }));
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
