// Weights as text: "0.5", "0, 0.1, …", "8-15: 0.8", "attn 8-15: 0.8", "embed: 0", or a mergekit t: block.
const LANE_WORDS = {
  layer: "layers",
  layers: "layers",
  all: "layers",
  attn: "attention",
  attention: "attention",
  self_attn: "attention",
  self_attention: "attention",
  mlp: "mlp",
  ffn: "mlp",
  norm: "norm",
  norms: "norm",
  layernorm: "norm",
  input_layernorm: "norm",
  post_attention_layernorm: "norm",
  router: "router",
  mixer: "mixer",
  other: "other",
};
const ROW_WORDS = {
  embed: "embeddings",
  embeddings: "embeddings",
  embed_tokens: "embeddings",
  final_norm: "final_norm",
  "final norm": "final_norm",
  "model.norm": "final_norm",
  head: "head",
  lm_head: "head",
  connector: "connector",
  outside: "outside",
  "everything else": "outside",
};

// Stops reading: `at` is the character where it went wrong
class TextError extends Error {
  constructor(at, message) {
    super(message);
    this.at = at;
  }
}

// Every word between commas, brackets and spaces, with the place where it stands
const wordsIn = (text, offset) =>
  [...text.matchAll(/[^\s,;[\]]+/g)].map((match) => ({ word: match[0], at: offset + match.index }));
const numberFrom = ({ word, at }) => {
  const weight = parseNumber(word);
  if (weight === null || word.includes(","))
    throw new TextError(at, say("grid.text_number", { found: word.slice(0, 20) }));
  if (accepted(word) === null) throw new TextError(at, complaint(word));
  return weight;
};
const linesOf = (text) => {
  let at = 0;
  return text.split("\n").map((raw) => {
    const line = { text: raw.replace(/#.*$/, ""), at };
    at += raw.length + 1;
    return line;
  });
};

const isNamed = (heading, { name }) =>
  heading.startsWith(name) && !/\w/.test(heading[name.length] ?? "") && !Object.hasOwn(LANE_WORDS, name);
// What a heading such as "encoder attn 8-15" names: lines with a range of layers, or a row
const readHeading = (heading, at) => {
  const named = grid.stacks.filter((one) => isNamed(heading, one));
  const stack = named.sort((a, b) => b.name.length - a.name.length)[0];
  const rest = stack ? heading.slice(stack.name.length).replace(/^[.\s]+/, "") : heading;
  const [, written, from, to] = rest.match(/^(.*?)\s*(?:(\d+)(?:\s*[-–]\s*(\d+))?)?$/);
  const stacks = stack ? [stack] : grid.stacks;
  const name = written.toLowerCase();
  if (Object.hasOwn(ROW_WORDS, name) && from === undefined)
    return { row: ROW_WORDS[name], holder: rowHolder(ROW_WORDS[name], stack, at), at };
  const lane = name ? (Object.hasOwn(LANE_WORDS, name) ? LANE_WORDS[name] : null) : "layers";
  const able = stacks.filter((one) => lane === "layers" || one.lanes.includes(lane));
  if (!able.length)
    throw new TextError(at, say("grid.text_part", { part: name.slice(0, 30), known: knownWords() }));
  const first = Number(from ?? 0);
  const last = from === undefined ? undefined : Number(to ?? from);
  for (const { layers } of able)
    if (last >= layers || first > last)
      throw new TextError(at, say("grid.text_layers", { last: layers - 1, found: rest.slice(0, 30) }));
  return { stacks: able, lane, from: first, last, at };
};
const knownWords = () => {
  const inside = grid.stacks.flatMap(({ lanes, rows }) => [...lanes, ...Object.keys(rows)]);
  return [...new Set(["layers", ...inside, ...Object.keys(grid.rows)])].join(", ");
};
const rowHolder = (row, stack, at) => {
  const holder = (stack ? [stack] : [grid, ...grid.stacks]).find((one) => Object.hasOwn(one.rows, row));
  if (!holder) throw new TextError(at, say("grid.text_part", { part: row, known: knownWords() }));
  return holder;
};

// Reads entries: a heading with a colon starts one, numbers on further lines belong to it
const readEntries = (text) => {
  const entries = [];
  for (const { text: raw, at } of linesOf(text)) {
    const colon = raw.indexOf(":");
    if (colon >= 0)
      entries.push({ heading: readHeading(raw.slice(0, colon).trim(), at + raw.search(/\S/)), words: [] });
    else if (!entries.length && raw.trim()) entries.push({ heading: null, words: [] });
    entries.at(-1)?.words.push(...wordsIn(raw.slice(colon + 1), at + colon + 1));
  }
  return entries;
};
const fillLine = (stack, lane, from, last, weights, at) => {
  const count = last - from + 1;
  if (weights.length !== 1 && weights.length !== count)
    throw new TextError(at, say("grid.text_count", { count, found: weights.length }));
  stack.lines[lane] ??= stack.lines.layers.slice();
  for (let layer = from; layer <= last; layer++)
    stack.lines[lane][layer] = weights[weights.length === 1 ? 0 : layer - from];
};
const applyEntry = ({ heading, words }, bare) => {
  if (heading?.row) {
    const [first, second] = words;
    if (!first || second) throw new TextError(second?.at ?? heading.at, say("grid.text_row"));
    heading.holder.rows[heading.row] = /^follows?$/.test(first.word) ? null : numberFrom(first);
    return;
  }
  const weights = words.map(numberFrom);
  if (!weights.length) throw new TextError(heading.at, say("grid.text_colon"));
  if (!heading) return bare(weights, words[0].at);
  for (const stack of heading.stacks)
    fillLine(stack, heading.lane, heading.from, heading.last ?? stack.layers - 1, weights, heading.at);
};

// Changes the grid by a text, whole or not at all; null, or what is wrong with it
const applyText = (text, bare) => {
  const kept = snapshot();
  try {
    if (looksLikeMergekit(text)) applyMergekit(readMergekit(text));
    else readEntries(text).forEach((entry) => applyEntry(entry, bare));
    return null;
  } catch (error) {
    if (!(error instanceof TextError)) throw error;
    restore(kept);
    return error;
  }
};

// The grid as such a text
const weightsText = () => [...grid.stacks.flatMap(stackText), ...rowsText("", grid.rows)].join("\n");
const stackText = (stack) => {
  const prefix = grid.stacks.length > 1 ? `${stack.name} ` : "";
  const written = Object.keys(plainStack(stack).lines).flatMap((lane) => lineText(prefix, lane, stack));
  return [...written, ...rowsText(prefix, stack.rows)];
};
const lineText = (prefix, lane, stack) => {
  const weights = stack.lines[lane];
  const name = `${prefix}${lane === "layers" ? "" : lane}`.trim();
  if (weights.every((weight) => weight === weights[0])) return [`${name || "layers"}: ${weights[0]}`];
  return groupsOf(weights.length).map(([from, to]) => {
    const label = from === to ? `${from}` : `${from}-${to}`;
    return `${name ? `${name} ` : ""}${label}: ${weights.slice(from, to + 1).join(", ")}`;
  });
};
const rowsText = (prefix, rows) =>
  Object.entries(rows).map(([row, weight]) => `${prefix}${row}: ${weight ?? "follows"}`);
