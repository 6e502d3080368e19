// One field per layer and line: the plain way, for screen readers and for pasting out of a spreadsheet.
const table = { fields: [] };

const buildTable = () => {
  table.fields = tracks().map((one, index) =>
    range(one.stack.layers).map((layer) => buildTableField(one, index, layer)),
  );
  const copy = button("copy-table", () => copyText(tableText(), copy), "btn", say("grid.copy_all"));
  parts.table.replaceChildren(...grid.stacks.map(buildStackTable), copy);
};
const buildTableField = (one, index, layer) => {
  const field = weightField("table-weight", {
    read: () => lineOf(tracks()[index])[layer],
    keep: (weight) => {
      changeIn(index, [layer], () => weight);
      later();
    },
    leave: (how) => {
      finish();
      if (how === "enter") table.fields[index][layer + 1]?.input.focus();
    },
  });
  set(field.input, {
    "aria-label": say("grid.cell", { layer: layerName(one, layer), meaning: meaningOf(one.stack) }),
    "data-layer": layer,
    "data-track": index,
  });
  field.input.addEventListener("paste", (event) => pasteCells(event, index, layer));
  return field;
};
const buildStackTable = (stack, s) => {
  const own = tracks()
    .map((one, index) => ({ ...one, index }))
    .filter((one) => one.s === s);
  const cell = (tag, scope, ...children) => set(make(tag, "", ...children), { scope });
  const head = make("tr", "", cell("th", "col", say("grid.column")), ...own.map((one) => cell("th", "col", laneLabel(one.lane))));
  const rows = range(stack.layers).map((layer) =>
    make(
      "tr",
      "",
      cell("th", "row", String(layer)),
      ...own.map(({ index }) => make("td", "", table.fields[index][layer].input)),
    ),
  );
  const caption = make(
    "caption",
    "spoken",
    say("grid.table", { meaning: meaningOf(stack) }),
  );
  return make(
    "div",
    "stack-table",
    ...headings(stack),
    make("div", "scroll", make("table", "", caption, make("thead", "", head), make("tbody", "", ...rows))),
  );
};
const paintTable = () => {
  parts.table.hidden = phone.matches || view.panel !== "table";
  if (parts.table.hidden) return;
  if (!parts.table.childElementCount) buildTable();
  for (const column of table.fields) for (const field of column) showField(field);
};

// A block of cells goes in whole or not at all
const pasteCells = (event, index, layer) => {
  const lines = event.clipboardData
    .getData("text/plain")
    .trim()
    .split(/\r?\n/)
    .map((row) => row.split("\t"));
  if (lines.length === 1 && lines[0].length === 1) return; // a single number is typed text
  event.preventDefault();
  const all = tracks();
  const depth = all[index].stack.layers;
  const wide = Math.max(...lines.map((row) => row.length));
  const columns = all.map((one, i) => i).filter((i) => i >= index && all[i].s === all[index].s);
  const wrong = lines.flat().find((text) => accepted(text) === null);
  if (layer + lines.length > depth)
    return complain(say("grid.paste_rows", { count: depth - layer, layer, found: lines.length }));
  if (wide > columns.length)
    return complain(say("grid.paste_columns", { count: columns.length, found: wide }));
  if (wrong !== undefined) return complain(say("grid.unchanged", { problem: complaint(wrong) }));
  finish();
  lines.forEach((row, i) => row.forEach((text, j) => changeIn(columns[j], [layer + i], () => accepted(text))));
  Object.assign(view, { track: index, at: layer });
  finish();
};
const tableText = () => {
  const own = tracks().filter(({ s }) => s === track().s);
  return range(own[0].stack.layers)
    .map((layer) => own.map((one) => lineOf(one)[layer]).join("\t"))
    .join("\n");
};
const copyText = async (text, node) => {
  if (navigator.clipboard) await navigator.clipboard.writeText(text);
  else {
    // without https there is no clipboard but this
    const area = make("textarea", "spoken", text);
    root.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  const label = node.textContent;
  node.textContent = say("grid.copied");
  setTimeout(() => {
    node.textContent = label;
  }, 2000);
};
