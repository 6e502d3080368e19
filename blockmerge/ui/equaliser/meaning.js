// What a weight means, in words and colours: the share of B, or a share, an amount or a strength of its own.
const COLOURS = 8; // of models, in equaliser.css

const modelIndex = ({ name }) => grid.models.findIndex(({ key }) => name === key || name.startsWith(`${key}.`));
const modelOf = (stack) => grid.models[modelIndex(stack)] ?? null;
const partOf = (stack) => {
  const model = modelOf(stack);
  return model ? stack.name.slice(model.key.length).replace(/^\./, "") : stack.name;
};
// What 1 is all of
const nameOf = (stack) => modelOf(stack)?.name ?? grid.b;
const hueOf = (stack) => {
  const index = modelIndex(stack);
  if (index >= 0) return `hue m${index % COLOURS}`;
  return grid.kind === "strength" ? "hue strength" : "";
};
// The heading of a plot, a table or groups: whose stack, if there are several
const stackTitle = (stack) => {
  const model = modelOf(stack);
  if (!model) return stack.name;
  return [`${model.key.toUpperCase()}: ${model.name}`, partOf(stack)].filter(Boolean).join(", ");
};
const headings = (stack) => {
  if (grid.stacks.length < 2) return [];
  const node = make("h3", `stack ${hueOf(stack)}`, stackTitle(stack));
  node.title = stackTitle(stack);
  return [node];
};
const meaningOf = (stack) => say(`grid.means_${grid.kind}`, { name: nameOf(stack), a: grid.a });
const spoken = (stack, weight) => say("grid.spoken", { percent: percent(weight), name: nameOf(stack) });
const spokenAt = (one, layer, weight) =>
  say("grid.spoken_at", { layer: layerName(one, layer), spoken: spoken(one.stack, weight) });
// What 0 and 1 are, and the three kinds of bars
const endsOf = () => [0, 1].map((end) => say(`grid.end_${end}_${grid.kind}`, { a: grid.a, b: grid.b }));
const legendsOf = () => ["none", "part", "whole"].map((how) => say(`grid.legend_${how}_${grid.kind}`));

// What the readout says of one bar
const inWords = (one, layer) => {
  const weight = lineOf(one)[layer];
  const [name, share] = [nameOf(one.stack), String(percent(weight)).replace("-", "−")];
  const inB = (key, values) => make("span", "in-b", say(key, values));
  if (grid.kind === "shares") return [shareHere(one, layer, name), " ", say("grid.of_result")];
  const told = inB(grid.kind === "amount" ? "grid.of_changed" : "grid.of_model", { share, name });
  if (isBeyond(weight)) return [told, say("grid.extrapolates")];
  if (grid.kind === "amount") return [told];
  return [told, ", ", make("span", "in-a", say("grid.of_model", { share: 100 - percent(weight), name: grid.a }))];
};
// Shares are scaled to a sum of 1, block by block
const shareHere = (one, layer, name) => {
  const others = grid.stacks.filter((stack) => partOf(stack) === partOf(one.stack));
  const total = others.reduce((sum, stack) => sum + lineOf({ stack, lane: one.lane })[layer], 0);
  const share = total ? String(Math.round((lineOf(one)[layer] / total) * 100)).replace("-", "−") : "";
  return make("span", "in-b", say(total ? "grid.of_model" : "grid.no_share", { share, name }));
};
