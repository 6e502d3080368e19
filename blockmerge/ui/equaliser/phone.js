// Phones: five handles that bend the curve, as a finger hides the bars; "Edit bars" gives the bars the finger instead.
const DEPTHS = [0, 0.25, 0.5, 0.75, 1];
const handleLayers = (layers) => [...new Set(DEPTHS.map((depth) => Math.round(depth * (layers - 1))))];

const buildHandles = (lane, row) => {
  const layers = handleLayers(lane.cells.length);
  const box = make("div", "handles");
  Object.assign(box.style, { top: `${row * (laneHeight() + 12)}px`, height: `${laneHeight()}px` });
  lane.handles = layers.map((layer, i) => {
    const node = set(make("div", "handle"), {
      role: "slider",
      tabindex: 0,
      "aria-orientation": "vertical",
      "data-handle": layer,
    });
    const bounds = [layers[i - 1] ?? layer, layers[i + 1] ?? layer];
    node.addEventListener("pointerdown", (event) => grabHandle(event, lane, layer, bounds));
    node.addEventListener("keydown", (event) => {
      const by = { ArrowUp: 0.05, ArrowRight: 0.05, ArrowDown: -0.05, ArrowLeft: -0.05 }[event.key];
      if (!by) return;
      bend(lane, lineOf(lane).slice(), layer, bounds, by);
      later();
      event.preventDefault();
    });
    box.append(node);
    return { node, layer };
  });
  return box;
};
const paintHandles = (lane, weights) => {
  if (!phone.matches) return;
  const [low, high] = limits();
  for (const { node, layer } of lane.handles) {
    const across = clamp(((layer + 0.5) / weights.length) * 100, 3.5, 96.5);
    Object.assign(node.style, { left: `${across}%`, top: `${depthOf(weights[layer])}%` });
    set(node, {
      "aria-label": layerName(lane, layer),
      "aria-valuemin": low,
      "aria-valuemax": high,
      "aria-valuenow": weights[layer],
      "aria-valuetext": spokenAt(lane, layer, weights[layer]),
    });
  }
};

// Moves one layer by `by` and its neighbours by less the farther they are, up to the next handles
const bend = (lane, start, layer, [first, last], by) => {
  view.track = lane.index;
  view.at = layer;
  view.selection = null;
  change(range(last - first + 1, first), (_, i) => {
    const reach = i < layer ? layer - first : last - layer;
    return start[i] + by * (reach ? 1 - Math.abs(i - layer) / reach : 1);
  });
};
const grabHandle = (event, lane, layer, bounds) => {
  finish();
  const start = lineOf(lane).slice();
  const top = lane.node.getBoundingClientRect();
  const [low, high] = limits();
  const from = event.clientY;
  const move = (now) => {
    const by = ((from - now.clientY) / top.height) * (high - low);
    bend(lane, start, layer, bounds, snapped(start[layer] + by) - start[layer]);
    draw();
  };
  const node = event.currentTarget;
  node.setPointerCapture(event.pointerId);
  node.addEventListener("pointermove", move);
  const drop = () => {
    node.removeEventListener("pointermove", move);
    finish();
  };
  for (const end of ["pointerup", "pointercancel"]) node.addEventListener(end, drop, { once: true });
  event.preventDefault();
};

const buildPhoneRow = () => {
  parts.unlock = button(
    "unlock",
    () => {
      view.unlocked = !view.unlocked;
      draw();
    },
    "btn",
    "",
  );
  parts.phoneUndo = iconButton("undo", say("grid.undo"), undo);
  parts.phoneRedo = iconButton("redo", say("grid.redo"), redo);
  parts.phoneEnds = make("p", "ends");
  parts.phoneRow = make("div", "phone-row", parts.phoneEnds, parts.phoneUndo, parts.phoneRedo, parts.unlock);
};
const paintPhoneRow = () => {
  write(parts.unlock, say(view.unlocked ? "grid.lock" : "grid.unlock"));
  set(parts.unlock, { "aria-pressed": String(view.unlocked) });
  parts.phoneUndo.disabled = parts.undo.disabled;
  parts.phoneRedo.disabled = parts.redo.disabled;
};
const buildEnds = () => {
  const [nothing, all] = endsOf();
  const [inA, inB] = grid.kind === "share" ? ["in-a", "in-b"] : ["", ""];
  parts.phoneEnds.replaceChildren(
    make("span", inA, say("grid.at_0_short", { meaning: nothing })),
    make("br"),
    make("span", inB, say("grid.at_1_short", { meaning: all })),
  );
  parts.names.replaceChildren(
    make("span", inA, say("grid.at_0", { meaning: nothing })),
    ", ",
    make("span", inB, say("grid.at_1", { meaning: all })),
  );
  parts.names.hidden = tracks().length < 2;
};
