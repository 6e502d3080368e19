// Puts the pieces together: a frame that is built once, plots and fields for each structure, and paint on every draw.
const root = element.querySelector(".equaliser");
const FRAME = ["toolbar", "tray", "above", "plots", "table", "text", "readout", "phoneRow", "groups", "outside"];
let built = "";

const buildFrame = () => {
  buildToolbar();
  buildHelp();
  buildAbove();
  buildReadout();
  buildPhoneRow();
  parts.tray = set(make("div", "tray"), { role: "dialog", "aria-label": say("grid.shape") });
  parts.tray.addEventListener("keydown", pressTray);
  for (const name of ["plots", "table", "text", "groups", "outside"]) parts[name] = make("div", name);
  listenToPointer(parts.plots);
  parts.plots.addEventListener("keydown", pressKey);
};
const build = () => {
  if (!parts.toolbar) buildFrame();
  sizes.disconnect();
  buildPlots();
  buildOutside();
  buildEnds();
  for (const lazy of [parts.table, parts.groups]) lazy.replaceChildren();
  if (!parts.toolbar.isConnected) root.replaceChildren(...FRAME.map((name) => parts[name]));
};
// What was in focus is built anew; the focus goes to what took its place
const rebuild = () => {
  const node = root.contains(document.activeElement) ? document.activeElement : null;
  const index = node?.closest(".link")?.dataset.track;
  build();
  if (node?.closest(".bar")) focusBar();
  else if (index !== undefined) lanes[index]?.gutter.querySelector(".link").focus();
};
const PAINTS = [
  paintToolbar,
  paintTray,
  paintAbove,
  paintBars,
  paintReadout,
  paintPhoneRow,
  paintGroups,
  paintTable,
  paintText,
  paintOutside,
];
const draw = () => {
  if (!grid) return drawGhost();
  const wanted = JSON.stringify([
    structure(grid),
    [grid.a, grid.b, grid.kind, grid.models],
    view.each,
    view.beyond,
    phone.matches,
    short.matches,
    grid.stacks.map((stack) => Object.keys(stack.lines)),
  ]);
  if (built !== wanted) rebuild();
  built = wanted;
  for (const paint of PAINTS) paint();
  root.dataset.ready = "";
};
const drawGhost = () => {
  if (built === "ghost") return;
  built = "ghost";
  lanes = [];
  sizes.disconnect();
  const scale = make(
    "div",
    "gutter",
    placedAt(make("span", "in-b below", make("b", "", "1.00"), make("span", "name", say("grid.all", { name: "B" }))), 0),
    placedAt(make("span", "", "0.50"), 50),
    placedAt(make("span", "in-a above", make("span", "name", say("grid.all", { name: "A" })), make("b", "", "0.00")), 100),
  );
  const bars = make("div", "ghost", ...range(30).map(() => make("i")));
  const lane = make(
    "div",
    "lane empty",
    bars,
    make("p", "note", say("grid.empty")),
  );
  root.replaceChildren(
    make("div", "toolbar", make("h2", "", say("grid.title"))),
    make("div", "plot", make("div", "gutters", scale), make("div", "field", lane)),
  );
  root.dataset.ready = "";
};
const placedAt = (node, top) => {
  node.style.top = `${top}%`;
  return node;
};

root.addEventListener("keydown", pressUndo);
root.addEventListener("copy", copyWeights);
root.addEventListener("paste", pasteWeights);
root.addEventListener("focusout", () => {
  if (late) finish();
});
for (const size of [phone, short]) size.addEventListener("change", draw);
watch("value", load);
load();
