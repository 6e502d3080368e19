// The t: block of a mergekit recipe: entries of a filter and a value, each a number or a list spread over the layers.
const MERGEKIT_TOKEN = /#.*|(?<key>\w+)\s*:|(?<dash>-)(?=\s)|[{},]|\[(?<list>[^\]]*)\]?|(?<word>[^\s,{}[\]]+)/dg;

const looksLikeMergekit = (text) => /^\s*(-\s*)?\{?\s*(t|filter|value)\s*:/m.test(text);
const readMergekit = (text) => {
  const entries = [];
  let dashed = false;
  let wanted = "";
  const open = (at) => entries.push({ filter: null, anchors: [], at });
  for (const { groups, index, indices } of text.matchAll(MERGEKIT_TOKEN)) {
    const { key, dash, list, word } = groups;
    if (!entries.length && (word || list !== undefined)) throw new TextError(index, say("grid.mergekit_first"));
    if (key) {
      if (!["parameters", "t", "filter", "value"].includes(key))
        throw new TextError(index, say("grid.mergekit_key"));
      if (dashed || !entries.length) open(index);
      wanted = key;
    } else if (list !== undefined)
      entries.at(-1).anchors.push(...wordsIn(list, indices.groups.list[0]).map(numberFrom));
    else if (word && wanted === "filter") entries.at(-1).filter = { word: word.replace(/["']/g, ""), at: index };
    else if (word) entries.at(-1).anchors.push(numberFrom({ word, at: index }));
    dashed = Boolean(dash);
    if (word) wanted = "";
  }
  return entries.filter(({ filter, anchors }) => filter || anchors.length);
};
const applyMergekit = (entries) => {
  for (const stack of grid.stacks) stack.lines = { layers: stack.lines.layers };
  // From the last to the first, as the first that matches wins
  for (const { filter, at, anchors } of entries.reverse()) {
    if (!anchors.length) throw new TextError(filter.at, say("grid.mergekit_value"));
    const heading = readHeading(filter && filter.word !== "*" ? filter.word : "layers", filter?.at ?? at);
    if (heading.row) heading.holder.rows[heading.row] = anchors[0];
    else for (const stack of heading.stacks) stack.lines[heading.lane] = anchored(anchors, stack.layers).map(round3);
  }
};
