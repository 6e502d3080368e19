// Puts the pieces together. Nodes are built when the structure changes, painted on every draw.
const root = element.querySelector(".equaliser");
let built = "";

const build = () => {
  buildToolbar();
  buildAbove();
  parts.tray = set(make("div", "tray"), { role: "dialog", "aria-label": "Shape" });
  parts.tray.addEventListener("keydown", pressTray);
  parts.plots = make("div", "plots");
  listenToPointer(parts.plots);
  parts.plots.addEventListener("keydown", pressKey);
  buildReadout();
  parts.outside = make("div", "outside");
  for (const panel of ["groups", "table", "text"]) parts[panel] = make("div", panel);
  const phoneRow = buildPhoneRow();
  sizes.disconnect();
  buildPlots();
  buildOutside();
  buildEnds();
  root.replaceChildren(parts.toolbar, parts.tray, parts.above, parts.plots, parts.table, parts.text, parts.readout, phoneRow, parts.groups, parts.outside);
};
const PAINTS = [paintToolbar, paintTray, paintAbove, paintBars, paintReadout, paintPhoneRow, paintGroups, paintTable, paintText, paintOutside];
const draw = () => {
  if (!grid) return drawGhost();
  const wanted = JSON.stringify([structure(grid), grid.a, grid.b, view.each, view.beyond, phone.matches,
    grid.stacks.map((stack) => Object.keys(stack.lines))]);
  if (built !== wanted) {
    const focused = root.contains(document.activeElement) && document.activeElement.closest(".bar");
    build();
    built = wanted;
    if (view.tray) buildTray();
    if (focused) focusBar();
  }
  for (const paint of PAINTS) paint();
  root.dataset.ready = "";
};
const drawGhost = () => {
  if (built === "ghost") return;
  built = "ghost";
  lanes = [];
  sizes.disconnect();
  const scale = make("div", "gutter",
    place_(make("span", "in-b below", make("b", "", "1.00"), make("span", "name", "all B")), 0), place_(make("span", "", "0.50"), 50),
    place_(make("span", "in-a above", make("span", "name", "all A"), make("b", "", "0.00")), 100));
  const bars = make("div", "ghost", ...range(30).map(() => make("i")));
  const lane = make("div", "lane empty", bars, make("p", "note", "One bar per layer appears here once both models are chosen."));
  root.replaceChildren(make("div", "toolbar", make("h2", "", "Weights")), make("div", "plot", make("div", "gutters", scale), make("div", "field", lane)));
  root.dataset.ready = "";
};
const place_ = (node, top) => {
  node.style.top = `${top}%`;
  return node;
};

root.addEventListener("keydown", pressUndo);
root.addEventListener("copy", copyWeights);
root.addEventListener("paste", pasteWeights);
root.addEventListener("focusout", () => { if (late) finish(); });
phone.addEventListener("change", draw);
watch("value", load);
load();
