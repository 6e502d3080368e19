// Layers by eights, folded: sliders on a desk, steppers on a phone.
const GROUP = 8;
const groups = { cells: [] };
const unfolded = new Map(); // by stack and group; what was opened stays open

const groupsOf = (layers) =>
  range(Math.ceil(layers / GROUP)).map((i) => [i * GROUP, Math.min(layers, (i + 1) * GROUP) - 1]);
const layersText = (from, to) => from === to ? say("grid.layer", { layer: from }) : say("grid.layers", { first: from, last: to });

// From anywhere but the bars: `layers` of one line become next(old weight)
const changeIn = (index, layers, next) => {
  Object.assign(view, { track: index, at: layers[0], selection: null });
  change(layers, next);
};
const buildGroups = () => {
  groups.cells = [];
  parts.groups.replaceChildren(...grid.stacks.flatMap(buildStackGroups));
};
const buildStackGroups = (stack, s) => {
  const own = tracks()
    .map((one, index) => ({ ...one, index }))
    .filter((one) => one.s === s);
  const titles =
    own.length > 1
      ? [make("div", "group-row titles", make("span"), ...own.map(({ lane }) => make("span", "", laneLabel(lane))))]
      : [];
  const box = make(
    "div",
    `stack-groups ${hueOf(stack)}`,
    ...headings(stack),
    ...titles,
    ...groupsOf(stack.layers).map((ends, i) => buildFold(own, s, ends, i)),
  );
  box.style.setProperty("--lines", own.length);
  return box;
};
const buildFold = (own, s, [from, to], i) => {
  const key = `${s} ${i}`;
  const layers = range(to - from + 1, from);
  const rows = make("div", "layer-rows");
  const toggle = button(
    "fold",
    () => {
      unfolded.set(key, rows.hidden);
      show();
      draw();
    },
    "fold",
    icon("right"),
    layersText(from, to),
  );
  const show = () => {
    const open = unfolded.get(key) ?? (!phone.matches && i === 0);
    rows.hidden = !open;
    set(toggle, { "aria-expanded": String(open) });
    if (open && !rows.childElementCount) rows.append(...layers.map((layer) => buildLayerRow(own, layer)));
  };
  show();
  return make(
    "div",
    "group-box",
    make("div", "group-row", toggle, ...own.map((one) => buildSummary(one, layers))),
    rows,
  );
};
const buildSummary = (one, layers) => {
  const picture = make("span", "mini");
  const text = make("span", "quiet");
  const read = () => layers.map((layer) => lineOf(tracks()[one.index])[layer]);
  const field = weightField("group-weight", {
    digits: 2,
    read: () => {
      const weights = read();
      return weights.every((weight) => weight === weights[0]) ? weights[0] : null;
    },
    keep: (weight) => {
      changeIn(one.index, layers, () => weight);
      later();
    },
    leave: () => finish(),
  });
  set(field.input, {
    "aria-label": say(laneName(one) ? "grid.layers_spoken_in" : "grid.layers_spoken", { line: laneName(one), first: layers[0], last: layers.at(-1) }),
    placeholder: say("grid.mixed"),
  });
  let drawn = "";
  const paint = () => {
    const weights = read();
    const now = weights.join();
    showField(field);
    if (now === drawn) return;
    drawn = now;
    picture.replaceChildren(thumbnail(weights, 24));
    write(text, span(weights));
  };
  groups.cells.push({ paint });
  return make("span", "summary", picture, text, field.input);
};
const buildLayerRow = (own, layer) =>
  make(
    "div",
    "group-row",
    make("span", "layer-name", say("grid.layer", { layer })),
    ...own.map((one) => buildLayerCell(one, layer)),
  );
const buildLayerCell = (one, layer) => {
  const read = () => lineOf(tracks()[one.index])[layer];
  const slider = set(make("input", "slider"), { type: "range", step: 0.01, "aria-label": layerName(one, layer) });
  slider.addEventListener("input", () => {
    changeIn(one.index, [layer], () => Number(slider.value));
    draw();
  });
  slider.addEventListener("change", finish);
  const field = weightField("layer-weight", {
    read,
    keep: (weight) => {
      changeIn(one.index, [layer], () => weight);
      later();
    },
    leave: () => finish(),
  });
  const steps = stepper(field);
  steps.name(layerName(one, layer));
  const name = make("span", "lane-name", tracks().length > grid.stacks.length ? laneLabel(one.lane) : "");
  const cell = set(make("span", "layer-cell", name, slider, steps.node), { "data-layer": layer });
  const paint = () => {
    const weight = read();
    const [low, high] = limits();
    showField(field);
    if (slider.dataset.drawn === `${weight} ${high}`) return;
    slider.dataset.drawn = `${weight} ${high}`;
    set(slider, { min: low, max: high });
    slider.value = weight;
    slider.style.setProperty("--share", (weight - low) / (high - low));
    set(slider, { "aria-valuetext": spoken(one.stack, weight) });
  };
  groups.cells.push({ paint });
  return cell;
};
const paintGroups = () => {
  parts.groups.hidden = !phone.matches && view.panel !== "sliders";
  if (parts.groups.hidden) return;
  if (!parts.groups.childElementCount) buildGroups();
  groups.cells.forEach(({ paint }) => paint());
};
