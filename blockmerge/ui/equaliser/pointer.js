// Painting with mouse, pen or finger: drawn while it moves, told to Python once, when it is lifted.
let drag = null;
let frame = 0; // the one that will show what was painted since the last

// Measured once in a stroke: asking for it again after each change would make the browser lay out the page each time
const placeOnPage = (node) => {
  const { left, top, width, height } = node.getBoundingClientRect();
  return { left: left + scrollX, top: top + scrollY, width, height };
};
const pointAt = (event, lane, box) => {
  const layers = lane.cells.length;
  const [low, high] = limits();
  const layer = clamp(Math.floor(((event.pageX - box.left) / box.width) * layers), 0, layers - 1);
  return { layer, weight: clamp(snapped(high - ((event.pageY - box.top) / box.height) * (high - low)), low, high) };
};
const drawInFrame = () => {
  frame ||= requestAnimationFrame(() => {
    frame = 0;
    if (grid) draw();
  });
};
const lineBetween = (from, to) => {
  const steps = Math.abs(to.layer - from.layer);
  const sign = Math.sign(to.layer - from.layer);
  const weights = straight(from.weight, to.weight, steps);
  change(
    range(steps + 1).map((k) => from.layer + sign * k),
    (_, layer) => snapped(weights[Math.abs(layer - from.layer)]),
  );
};

const startDrag = (event) => {
  const node = event.target.closest(".lane");
  if (!node || isLocked() || event.button !== 0) return;
  event.preventDefault();
  finish();
  const lane = lanes[Number(node.dataset.track)];
  const box = placeOnPage(lane.node);
  const point = pointAt(event, lane, box);
  const kind = event.altKey && view.selection && lane.index === view.track ? "move" : event.shiftKey ? "line" : "paint";
  const anchor = lane.index === view.track ? anchorOf() : point.layer;
  drag = { kind, lane, box, from: point, last: point, anchor, start: lineOf(lane).slice(), moved: false };
  view.track = lane.index;
  if (kind === "paint") {
    view.selection = null;
    paintTo(point);
  }
  parts.plots.setPointerCapture(event.pointerId);
  draw();
  focusBar();
};
const moveDrag = (event) => {
  if (!drag) return;
  const point = pointAt(event, drag.lane, drag.box);
  drag.moved ||= point.layer !== drag.from.layer || drag.kind === "move";
  if (drag.kind === "paint") paintTo(point);
  else if (drag.kind === "line" && drag.moved) redraw(() => lineBetween(drag.from, point));
  else if (drag.kind === "move") redraw(() => change(selected(), (old) => old + point.weight - drag.from.weight));
  if (drag.kind !== "move" && drag.moved) view.at = point.layer;
  drag.last = point;
  drawInFrame();
};
const paintTo = (point) => {
  lineBetween(drag.last, point);
  view.at = point.layer;
};
const redraw = (edit) => {
  lineOf(drag.lane).splice(0, drag.start.length, ...drag.start);
  edit();
};
const endDrag = () => {
  if (!drag) return;
  const { kind, moved, from, anchor } = drag;
  drag = null;
  if (kind === "line" && !moved) selectBetween(anchor, from.layer);
  finish();
  draw();
};
// The end of a selection that stays while the other one is moved
const anchorOf = () => {
  const [from, to] = view.selection ?? [view.at, view.at];
  return view.at === from ? to : from;
};
const selectBetween = (one, other) => {
  view.selection = [Math.min(one, other), Math.max(one, other)];
  view.at = other;
};

const listenToPointer = (plots) => {
  plots.addEventListener("pointerdown", startDrag);
  plots.addEventListener("pointermove", moveDrag);
  for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) plots.addEventListener(end, endDrag);
  plots.addEventListener("dblclick", (event) => {
    if (event.target.closest(".lane") && !isLocked()) readout.field.input.focus();
  });
};
