// Which lines there are: one for all modules or one for each, and how far a weight may go.
const setEach = (on) => {
  const { s } = track();
  finish();
  if (!on && hasOwnLines()) {
    touch();
    for (const stack of grid.stacks) stack.lines = { layers: stack.lines.layers };
  }
  view.each = on;
  view.selection = null;
  view.track = tracks().findIndex((one) => one.s === s);
  finish();
  draw();
};
const toggleLink = (index) => {
  const { stack, lane } = tracks()[index];
  const own = Object.hasOwn(stack.lines, lane);
  finish();
  if (own) touch();
  else begin();
  if (own) delete stack.lines[lane];
  else stack.lines[lane] = stack.lines.layers.slice();
  Object.assign(view, { track: index, selection: null });
  keepInside();
  finish();
};
const setBeyond = (on) => {
  finish();
  view.beyond = on;
  if (!on && allWeights().some(isBeyond)) {
    touch();
    for (const stack of grid.stacks)
      for (const [lane, weights] of Object.entries(stack.lines)) stack.lines[lane] = weights.map(fit);
    for (const { rows } of [grid, ...grid.stacks])
      for (const [row, weight] of Object.entries(rows)) rows[row] = weight === null ? null : fit(weight);
  }
  finish();
  draw();
};
