// Everything around the bars: the toolbar, the row above them, the read-out below, the rows outside the layers.
const HINTS = {
  bars: "Drag to paint. Shift-drag draws a straight line, Shift-click selects, double-click types a value.",
  sliders: "The field beside a group sets all its layers.",
  table: "Paste one column or several out of a spreadsheet into any field.",
  text: "Checked while you type. What a text does not name stays as it is.",
};
const LINKED_HINT = "Linked modules move together; a chain takes one out. Drag to paint, Shift-drag for a line, Shift-click selects.";
const parts = {}, readout = {}, outside = { fields: [] };

const buildToolbar = () => {
  parts.picture = make("span", "mini");
  parts.label = make("span", "label");
  parts.shape = set(button("shape", () => (view.tray ? closeTray(false) : openTray()), "btn shape", parts.picture, parts.label, icon("down")), { "aria-haspopup": "dialog" });
  parts.undo = iconButton("undo", "Undo", undo);
  parts.redo = iconButton("redo", "Redo", redo);
  parts.each = choice("Edit", [["all", "All modules"], ["each", "Each module"]], (value) => setEach(value === "each"));
  parts.panel = choice("View", [["bars", "Bars"], ["sliders", "Sliders"], ["table", "Table"], ["text", "Text"]], (value) => {
    view.panel = value;
    draw();
  });
  parts.beyond = checkbox("beyond", "Allow beyond 0–1", setBeyond);
  const tools = make("span", "row end", parts.beyond.node, parts.undo, parts.redo, button("reset", reset, "btn bare", "Reset"));
  parts.toolbar = make("div", "toolbar", make("h2", "", "Weights"), parts.shape, parts.each.node, parts.panel.node, tools);
};
const paintToolbar = () => {
  write(parts.label, grid.shape);
  parts.shape.title = grid.shape;
  const weights = line(), drawn = JSON.stringify(weights);
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

const both = (weight) => {
  const share = percent(weight), inB = make("span", "in-b", `${String(share).replace("-", "−")} % ${grid.b}`);
  return isBeyond(weight) ? [inB, ": extrapolates"] : [inB, ", ", make("span", "in-a", `${100 - share} % ${grid.a}`)];
};
const buildReadout = () => {
  readout.where = make("b", "where");
  readout.field = weightField("weight", {
    read: () => (grid ? line()[view.at] : null),
    keep: (weight) => { change([view.at], () => weight); later(); },
    leave: (how) => {
      if (how === "enter") {
        finish();
        view.at = Math.min(view.at + 1, line().length - 1);
      }
      draw();
      focusBar();
    },
  });
  readout.stepper = stepper(readout.field, grid.b);
  readout.share = make("span", "share");
  readout.legend = make("span", "legend");
  parts.readout = make("div", "readout", readout.where, readout.stepper.node, readout.share, readout.legend);
};
const paintReadout = () => {
  const name = layerName(track(), view.at), weight = line()[view.at];
  write(readout.where, name);
  readout.stepper.name(name[0].toLowerCase() + name.slice(1));
  readout.field.show();
  const text = both(weight).map((part) => part.textContent ?? part).join("");
  if (readout.share.textContent !== text) readout.share.replaceChildren(...both(weight));
  readout.share.title = text;
  readout.legend.hidden = !phone.matches && view.panel !== "bars";
  const kinds = [["a", "Copied from A"], ["mix", "Blended"], ["b", "Copied from B"], ...(view.beyond ? [["beyond", "Beyond 0–1"]] : [])];
  if (readout.legend.childElementCount !== kinds.length)
    readout.legend.replaceChildren(...kinds.map(([kind, label]) => make("span", "", make("i", `swatch ${kind}`), label)));
};

// What a row follows: embeddings the first layer, all others the last; rows of no stack the first or the last stack
const followed = (stack, row) => {
  const first = row === "embeddings";
  const end = stack ?? grid.stacks.at(first ? 0 : -1);
  const layer = first ? 0 : end.layers - 1;
  const where = grid.stacks.length > 1 ? `${end.name}, layer ${layer}` : `layer ${layer}`;
  return { weight: end.lines.layers[layer], where };
};
const buildOutside = () => {
  outside.fields = [...grid.stacks, null].flatMap((stack) => Object.keys((stack ?? grid).rows).map((row) => buildRow(stack, row)));
  parts.outside.hidden = !outside.fields.length;
  parts.outside.replaceChildren(make("h3", "", "Outside the layers"), make("div", "rows", ...outside.fields.map(({ node }) => node)));
};
const buildRow = (stack, row) => {
  const s = stack ? grid.stacks.indexOf(stack) : -1;
  const holder = () => (s < 0 ? grid : grid.stacks[s]); // looked up each time, as undo brings back other objects
  const follow = () => followed(s < 0 ? null : grid.stacks[s], row);
  const label = `${stack ? `${stack.name}: ` : ""}${ROWS[row]}`;
  const keep = (weight) => { begin(); view.message = ""; holder().rows[row] = weight; };
  const field = weightField("row", {
    digits: 2,
    read: () => holder().rows[row] ?? follow().weight,
    keep: (weight) => { keep(weight); later(); },
    leave: () => finish(),
  });
  set(field.input, { "aria-label": label });
  const tick = checkbox("follow", "", (on) => { keep(on ? null : follow().weight); finish(); });
  const node = set(make("div", "outside-row", make("span", "", label), field.input, tick.node), { "data-row": stack ? `${stack.name}.${row}` : row });
  const paint = () => {
    const follows = holder().rows[row] === null, where = `follows ${follow().where}`;
    tick.input.checked = follows;
    write(tick.text, where);
    set(tick.input, { "aria-label": `${label} ${where}` });
    field.input.readOnly = follows;
    field.show();
  };
  return { node, paint };
};
const paintOutside = () => outside.fields.forEach(({ paint }) => paint());

const buildPhoneRow = () => {
  parts.unlock = button("unlock", () => { view.unlocked = !view.unlocked; draw(); }, "btn", "");
  parts.phoneUndo = iconButton("undo", "Undo", undo);
  parts.phoneRedo = iconButton("redo", "Redo", redo);
  parts.phoneEnds = make("p", "ends");
  return make("div", "phone-row", parts.phoneEnds, parts.phoneUndo, parts.phoneRedo, parts.unlock);
};
const paintPhoneRow = () => {
  write(parts.unlock, view.unlocked ? "Done" : "Edit bars");
  set(parts.unlock, { "aria-pressed": String(view.unlocked) });
  parts.phoneUndo.disabled = parts.undo.disabled;
  parts.phoneRedo.disabled = parts.redo.disabled;
};
const buildEnds = () => {
  parts.phoneEnds.replaceChildren(make("span", "in-a", `0 = all ${grid.a}`), make("br"), make("span", "in-b", `1 = all ${grid.b}`));
  parts.names.replaceChildren(make("span", "in-a", `0.00 = all ${grid.a}`), ", ", make("span", "in-b", `1.00 = all ${grid.b}`));
  parts.names.hidden = tracks().length < 2;
};
