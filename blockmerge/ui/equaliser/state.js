// What is edited, what is looked at, and every step back. All changes go through begin, finish or later.
const MOST_STEPS = 100;
const PAUSE = 120;
const isEdited = (shape) => shape.endsWith(say("grid.edited", { shape: "" }));
const asEdited = (shape) => say("grid.edited", { shape: shape.slice(0, LONGEST_NAME - say("grid.edited", { shape: "" }).length) });
const LONGEST_NAME = 300;

let grid = null; // as Python gave it, without the presets; edited in place
let presets = [];
let sent = ""; // the grid that Python and the browser last agreed on
let before = null; // the state before the edit under way
let late = 0; // the timer that ends it
const past = [];
const future = [];
const view = {
  panel: "bars",
  each: false,
  beyond: false,
  at: 0,
  track: 0,
  selection: null,
  tray: null,
  unlocked: false,
  message: "",
};
const phone = matchMedia("(max-width: 699px)");
const short = matchMedia("(max-height: 759px)"); // a screen of 720, less the browser's own bars

const tracks = () =>
  grid.stacks.flatMap((stack, s) =>
    (view.each && stack.lanes.length ? stack.lanes : ["layers"]).map((lane) => ({ stack, s, lane })),
  );
const track = () => tracks()[view.track];
const keyOf = ({ stack, lane }) => (Object.hasOwn(stack.lines, lane) ? lane : "layers");
const lineOf = (one) => one.stack.lines[keyOf(one)];
const line = () => lineOf(track());
const limits = () => (view.beyond ? [FAR_LOW, FAR_HIGH] : [NARROWEST, WIDEST]);
const fit = (weight) => clamp(round3(weight), ...limits());
const hasOwnLines = () => grid.stacks.some((stack) => Object.keys(stack.lines).length > 1);
const allWeights = () =>
  [grid, ...grid.stacks].flatMap(({ lines, rows }) => [
    ...Object.values(lines ?? {}).flat(),
    ...Object.values(rows).filter((weight) => weight !== null),
  ]);
const isLocked = () => phone.matches && !view.unlocked;

// What keys and the bulk bar act on: the selection, or the bar in focus
const selected = () => {
  const [from, to] = view.selection ?? [view.at, view.at];
  return range(to - from + 1, from);
};

const plainStack = ({ name, layers, lanes, lines, rows }) => ({
  name,
  layers,
  lanes,
  rows,
  lines: Object.fromEntries(
    ["layers", ...lanes].filter((lane) => Object.hasOwn(lines, lane)).map((lane) => [lane, lines[lane]]),
  ),
});
const plain = ({ a, b, kind, models, wide, outer, stacks, rows, shape }) =>
  structuredClone({ a, b, kind, models, wide, outer, stacks: stacks.map(plainStack), rows, shape });
const snapshot = (one = grid) => ({
  weights: JSON.stringify([one.stacks.map(({ lines, rows }) => ({ lines, rows })), one.rows]),
  shape: one.shape,
});
const restore = ({ weights, shape }) => {
  const [stacks, rows] = JSON.parse(weights);
  stacks.forEach((kept, s) => Object.assign(grid.stacks[s], kept));
  Object.assign(grid, { rows, shape });
};

const begin = () => {
  before ??= snapshot();
};
const remember = (step) => {
  past.push(step);
  if (past.length > MOST_STEPS) past.shift();
  future.length = 0;
};
const finish = () => {
  clearTimeout(late);
  late = 0;
  view.tray = null;
  if (before === null) return;
  const step = before;
  before = null;
  const now = snapshot();
  if (now.weights === step.weights && isEdited(now.shape)) grid.shape = step.shape;
  if (now.weights !== step.weights || grid.shape !== step.shape) remember(step);
  send();
  draw();
};
const later = () => {
  clearTimeout(late);
  late = setTimeout(finish, PAUSE);
  draw();
};
const giveUp = () => {
  if (before) restore(before);
  before = view.tray = null;
  draw();
};
const send = () => {
  const value = plain(grid);
  const json = JSON.stringify(value);
  if (json === sent) return;
  sent = json;
  props.value = value;
  trigger("input");
};

const touch = () => {
  begin();
  view.message = "";
  if (!isEdited(grid.shape)) grid.shape = asEdited(grid.shape);
};
// Each of `layers` in the focused line becomes next(its weight, its index, all weights as they were)
const change = (layers, next) => {
  touch();
  const weights = line();
  const old = weights.slice();
  for (const layer of layers) weights[layer] = fit(next(old[layer], layer, old));
};
const step = (from, to) => {
  finish();
  if (!from.length) return;
  to.push(snapshot());
  restore(from.pop());
  view.each ||= hasOwnLines();
  view.beyond ||= allWeights().some(isBeyond);
  keepInside();
  send();
  draw();
};
const undo = () => step(past, future);
const redo = () => step(future, past);
const reset = () => {
  finish();
  begin();
  for (const stack of grid.stacks) {
    stack.lines = { layers: range(stack.layers).map(() => 0.5) };
    for (const row of Object.keys(stack.rows)) stack.rows[row] = null;
  }
  for (const row of Object.keys(grid.rows)) grid.rows[row] = null;
  grid.shape = say("grid.flat");
  view.selection = null;
  finish();
};

// The focus and the selection stay on layers that there are
const keepInside = () => {
  view.track = clamp(view.track, 0, tracks().length - 1);
  const last = track().stack.layers - 1;
  view.at = clamp(view.at, 0, last);
  if (view.selection && view.selection[1] > last) view.selection = null;
};

const structure = (one) =>
  JSON.stringify([
    one.stacks.map(({ name, layers, lanes, rows }) => [name, layers, lanes, Object.keys(rows)]),
    Object.keys(one.rows),
  ]);
// Takes what Python says; its own echo changes nothing, new weights for the same layers are one more step to undo
const load = () => {
  const value = props.value;
  if (!value?.stacks) grid = null;
  else {
    presets = value.presets ?? presets;
    const next = plain(value);
    const json = JSON.stringify(next);
    if (grid && json === sent) return draw();
    sent = json;
    take(next);
  }
  draw();
};
const take = (next) => {
  clearTimeout(late);
  before = view.tray = null;
  if (grid && structure(grid) === structure(next)) {
    const old = snapshot();
    const now = snapshot(next);
    const { a, b, kind, models, wide, outer } = next;
    Object.assign(grid, { a, b, kind, models, wide, outer });
    restore(now);
    if (now.weights !== old.weights) remember(old);
  } else {
    grid = next;
    past.length = future.length = 0;
    Object.assign(view, { at: 0, track: 0, selection: null, each: false, beyond: false });
  }
  view.each ||= hasOwnLines();
  view.beyond ||= allWeights().some(isBeyond);
  keepInside();
};
