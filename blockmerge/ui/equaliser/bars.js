// The plots: one per stack, one lane of bars per line. Built for a structure, then only painted.
let lanes = []; // as tracks(), with the nodes of each
let axes = []; // one per stack

const laneHeight = () => {
  if (phone.matches) return lanes.length > 1 ? 112 : 184;
  if (lanes.length === 1) return (view.beyond ? 256 : 224) - (short.matches ? 56 : 0);
  return lanes.length === 2 ? (short.matches ? 104 : 136) : short.matches ? 72 : 88;
};
const laneName = ({ stack, lane }) => {
  const words = [grid.stacks.length > 1 ? stackTitle(stack) : "", view.each ? laneLabel(lane) : ""].filter(Boolean);
  return words.join(", ");
};
const layerName = (one, layer) => {
  const name = laneName(one);
  return name ? say("grid.layer_in", { line: name, layer }) : say("grid.layer", { layer });
};
// How far down a weight lies, in percent of the lane's height
const depthOf = (weight) => {
  const [low, high] = limits();
  return ((high - weight) / (high - low)) * 100;
};

const buildPlots = () => {
  lanes = tracks().map(buildLane);
  axes = grid.stacks.map(() => make("div", "axis"));
  const height = `${laneHeight()}px`;
  for (const { node, gutter } of lanes) for (const part of [node, gutter]) part.style.setProperty("--height", height);
  parts.plots.replaceChildren(...grid.stacks.map(buildPlot));
  for (const { node } of lanes) sizes.observe(node);
};
const buildPlot = (stack, s) => {
  const own = lanes.filter((lane) => lane.s === s);
  const rows = set(make("div", "lanes", ...own.map((lane) => lane.node)), {
    role: "grid",
    "aria-label": say(grid.stacks.length > 1 ? "grid.grid_of" : "grid.grid", { stack: stackTitle(stack), meaning: meaningOf(stack) }),
  });
  const field = make("div", "field", rows, ...own.map((lane, i) => buildHandles(lane, i)));
  return make("div", `plot ${hueOf(stack)}`, ...headings(stack), make("div", "gutters", ...own.map((lane) => lane.gutter)), field, axes[s], ...buildStrip(stack, s));
};
const buildLane = (one, index) => {
  const cells = range(one.stack.layers).map((layer) => buildCell(one, layer));
  const row = set(make("div", "cells", ...cells.map((cell) => cell.node)), {
    role: "row",
    "aria-label": laneName(one) || say("grid.all_layers"),
  });
  const path = svg("path", {});
  const curve = svg(
    "svg",
    { class: "curve", viewBox: `0 0 ${one.stack.layers} 1`, preserveAspectRatio: "none", "aria-hidden": "true" },
    path,
  );
  const tint = make("div", "tint");
  const band = make("div", "band");
  const ring = make("div", "ring", make("div"));
  const node = make("div", "lane", ...beyondZones(), tint, ...gridLines(), row, curve, band, ring);
  set(node, { "data-track": index });
  node.style.setProperty("--layers", one.stack.layers);
  return { ...one, index, node, row, cells, path, curve, tint, band, ring, gutter: buildGutter(one, index), width: 0 };
};
const buildCell = (one, layer) => {
  const bar = make("i");
  const letter = make("b");
  const [low, high] = limits();
  const spin = set(make("div", "bar", bar, letter), {
    role: "spinbutton",
    "aria-label": layerName(one, layer),
    "aria-valuemin": low,
    "aria-valuemax": high,
    "data-layer": layer,
    tabindex: -1,
  });
  return { node: set(make("span", "cell", spin), { role: "gridcell" }), spin, bar, letter, painted: "" };
};
const gridLines = () =>
  [1, 0.75, 0.5, 0.25, 0].map((weight) => {
    const strong = weight === 0.5 || (view.beyond && (weight === 0 || weight === 1));
    const node = make("div", `line${strong ? " strong" : ""}`);
    node.style.top = `calc(${depthOf(weight)}% - ${weight === 0 ? 1 : 0}px)`;
    return node;
  });
const beyondZones = () => {
  if (!view.beyond) return [];
  const above = make("div", "zone");
  const below = make("div", "zone");
  Object.assign(above.style, { top: 0, height: `${depthOf(1)}%` });
  Object.assign(below.style, { top: `${depthOf(0)}%`, bottom: 0 });
  return [above, below];
};

// The scale left of a lane, with the models' names where there is room for them
const buildGutter = (one, index) => {
  const many = lanes.length > 1 || tracks().length > 1;
  const mark = (weight, name, ...children) => {
    const node = make("span", name, ...children);
    node.style.top = `${depthOf(weight)}%`;
    return node;
  };
  const number = (weight) => make("b", "", shortly(weight));
  const [nothing, all] = endsOf();
  const ends = many
    ? [mark(1, "in-b below", number(1)), mark(0, "in-a above", number(0))]
    : [
        mark(1, "in-b below", number(1), make("span", "name", all)),
        view.beyond
          ? mark(0, "in-a below", number(0), make("span", "name", nothing))
          : mark(0, "in-a above", make("span", "name", nothing), number(0)),
      ];
  const between = view.beyond ? [] : many ? [0.5] : [0.75, 0.5, 0.25];
  const far = view.beyond ? [mark(FAR_HIGH, "below", shortly(FAR_HIGH)), mark(FAR_LOW, "above", shortly(FAR_LOW))] : [];
  const node = make(
    "div",
    `gutter${many ? " short" : ""}`,
    ...ends,
    ...between.map((weight) => mark(weight, "", shortly(weight))),
    ...far,
  );
  if (view.each) node.append(buildLaneTitle(one, index));
  return node;
};
const buildLaneTitle = (one, index) => {
  const own = keyOf(one) !== "layers";
  const linked = one.stack.lanes.filter((lane) => !Object.hasOwn(one.stack.lines, lane)).length;
  const label = say(`grid.${own ? "link" : linked > 1 ? "unlink" : "last_linked"}`, { lane: laneLabel(one.lane) });
  const node = iconButton(own ? "apart" : "link", label, () => toggleLink(index), `bare link${own ? " own" : ""}`);
  set(node, { "data-track": index, "aria-pressed": String(!own), disabled: !own && linked < 2 });
  return make("span", "title", make("b", "", laneLabel(one.lane)), node);
};

const paintBars = () => {
  parts.plots.hidden = !phone.matches && view.panel !== "bars";
  if (parts.plots.hidden) return;
  for (const lane of lanes) paintLane(lane);
  grid.stacks.forEach((_, s) => paintAxis(s));
  paintStrip();
  set(parts.plots, { "data-locked": isLocked() });
};
const paintLane = (lane) => {
  const weights = lineOf(lane);
  const here = lane.index === view.track;
  const [from, to] = (here && view.selection) || [1, 0];
  lane.cells.forEach((cell, layer) => {
    paintCell(cell, weights[layer], lane, layer, layer >= from && layer <= to);
    const tabindex = here && layer === view.at ? 0 : -1;
    if (cell.spin.tabIndex !== tabindex) cell.spin.tabIndex = tabindex;
  });
  set(lane.path, { d: curvePath(weights) });
  for (const node of [lane.tint, lane.band]) place(node, from <= to, from, to, weights.length);
  place(lane.ring, here, view.at, view.at, weights.length);
  paintHandles(lane, weights);
};
const place = (node, shown, from, to, layers) => {
  node.hidden = !shown;
  if (shown)
    Object.assign(node.style, { left: `${(from / layers) * 100}%`, width: `${((to - from + 1) / layers) * 100}%` });
};
const paintCell = (cell, weight, lane, layer, chosen) => {
  const wide = lane.width / lane.cells.length >= 16;
  const painted = `${weight} ${chosen} ${wide}`;
  if (cell.painted === painted) return;
  cell.painted = painted;
  const kind = weight === 0 ? "is-a" : weight === 1 ? "is-b" : isBeyond(weight) ? "is-beyond" : "";
  cell.spin.className = `bar ${kind}${chosen && !kind ? " chosen" : ""}`;
  // Cut out of a bar of full height, as another height would make the browser lay out the page
  const top = depthOf(Math.max(weight, 0));
  const below = 100 - depthOf(Math.min(weight, 0));
  cell.bar.style.clipPath = `inset(${weight === 0 ? `calc(${top}% - 4px)` : `${top}%`} 0 ${below}%)`;
  const letter = wide && grid.kind === "share" ? { "is-a": "A", "is-b": "B" }[kind] : "";
  write(cell.letter, letter ?? "");
  if (letter) cell.letter.style.top = letter === "A" ? `calc(${depthOf(0)}% - 23px)` : `calc(${depthOf(1)}% + 6px)`;
  set(cell.spin, {
    "aria-valuenow": weight,
    "aria-valuetext": spokenAt(lane, layer, weight),
  });
};
const curvePath = (weights) => {
  const y = (weight) => (depthOf(weight) / 100).toFixed(4);
  const isFoot = (weight) => weight === 0 && !view.beyond; // a blue foot stands there instead of the line
  return weights
    .map((weight, i) => {
      const last = weights[i - 1];
      if (isFoot(weight)) return last > 0 ? `M${i},${y(last)}V1` : "";
      const start = i === 0 ? `M0,${y(weight)}` : isFoot(last) ? `M${i},1V${y(weight)}` : `V${y(weight)}`;
      return `${start}H${i + 1}`;
    })
    .join("");
};

// Numbers under the bars: the focus, the ends of the selection and of the stack, then every power of two that has room
const paintAxis = (s) => {
  const lane = lanes.find((one) => one.s === s);
  if (!lane.width) return;
  const layers = lane.cells.length;
  const column = lane.width / layers;
  const here = tracks()[view.track].s === s;
  const marked = here ? [...(phone.matches && isLocked() ? [] : [view.at]), ...(view.selection ?? [])] : [];
  const stride = [1, 2, 4, 8, 16, 32, 64, 128].find((each) => each * column >= 72) ?? 256;
  const shown = [];
  const add = (layer, room) => {
    if (shown.every((other) => Math.abs(other - layer) * column >= room)) shown.push(layer);
  };
  for (const layer of [...marked, 0, layers - 1]) add(layer, 22);
  for (const layer of range(Math.ceil(layers / stride)).map((i) => i * stride)) add(layer, 30);
  shown.sort((a, b) => a - b);
  const key = JSON.stringify([shown, marked]);
  if (axes[s].dataset.drawn === key) return;
  axes[s].dataset.drawn = key;
  axes[s].replaceChildren(
    ...shown.map((layer) => {
      const node = make("span", marked.includes(layer) ? "marked" : "", String(layer));
      node.style.left = `${((layer + 0.5) / layers) * 100}%`;
      return node;
    }),
  );
};

const sizes = new ResizeObserver((entries) => {
  for (const { target, contentRect } of entries) {
    const lane = lanes.find((one) => one.node === target);
    if (!lane || !contentRect.width || !grid) continue;
    lane.width = contentRect.width;
    const column = lane.width / lane.cells.length;
    lane.node.style.setProperty("--gap", `${column >= 12 ? 2 : column >= 8 ? 1 : 0}px`);
    lane.curve.style.strokeWidth = column < 6 ? 1.5 : 2;
  }
  if (grid && lanes.length) paintBars();
});
const focusBar = () => lanes[view.track].cells[view.at].spin.focus({ preventScroll: true });
