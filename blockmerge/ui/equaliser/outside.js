// The rows outside the layers, each with a weight of its own or that of the layer at its end.
const outside = { fields: [] };

// What a row follows: embeddings the first layer, all others the last; rows of no stack the first or the last stack
const followed = (stack, row) => {
  const first = row === "embeddings";
  const end = stack ?? grid.stacks.at(first ? 0 : -1);
  const layer = first ? 0 : end.layers - 1;
  const where = grid.stacks.length > 1 && (!modelOf(end) || partOf(end)) ? say("grid.layer_in", { line: partOf(end), layer }) : say("grid.layer_inside", { layer });
  return { weight: end.lines.layers[layer], where };
};
const buildOutside = () => {
  outside.fields = [...grid.stacks, null].flatMap((stack) =>
    Object.keys((stack ?? grid).rows).map((row) => buildRow(stack, row)),
  );
  parts.outside.hidden = !outside.fields.length;
  parts.outside.replaceChildren(
    make("h3", "", say("grid.outside")),
    make("div", "rows", ...outside.fields.map(({ node }) => node)),
  );
};
const buildRow = (stack, row) => {
  const s = stack ? grid.stacks.indexOf(stack) : -1;
  const holder = () => (s < 0 ? grid : grid.stacks[s]); // looked up each time, as undo brings back other objects
  const follow = () => followed(s < 0 ? null : grid.stacks[s], row);
  const owner = stack && (modelOf(stack) ? [modelOf(stack).key.toUpperCase(), partOf(stack)] : [stack.name]);
  const label = owner ? say("grid.row_of", { owner: owner.filter(Boolean).join(", "), row: rowLabel(row) }) : rowLabel(row);
  const keep = (weight) => {
    begin();
    view.message = "";
    holder().rows[row] = weight;
  };
  const field = weightField("row", {
    digits: 2,
    read: () => holder().rows[row] ?? follow().weight,
    keep: (weight) => {
      keep(weight);
      later();
    },
    leave: () => finish(),
  });
  set(field.input, { "aria-label": label });
  const tick = checkbox("follow", "", (on) => {
    keep(on ? null : follow().weight);
    finish();
  });
  const node = set(make("div", "outside-row", make("span", "", label), field.input, tick.node), {
    "data-row": stack ? `${stack.name}.${row}` : row,
  });
  const paint = () => {
    const follows = holder().rows[row] === null;
    const where = say("grid.follows", { where: follow().where });
    tick.input.checked = follows;
    write(tick.text, where);
    set(tick.input, { "aria-label": `${label} ${where}` });
    field.input.readOnly = follows;
    showField(field);
  };
  return { node, paint };
};
const paintOutside = () => outside.fields.forEach(({ paint }) => paint());
