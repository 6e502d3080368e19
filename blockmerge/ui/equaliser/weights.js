// Weights as numbers: no state and no nodes here.
const laneLabel = (lane) => say(`grid.lane_${lane}`);
const rowLabel = (row) => say(`grid.row_${row}`);
const NARROWEST = 0;
const WIDEST = 1; // of a blend; beyond them a weight extrapolates
const FAR_LOW = -1;
const FAR_HIGH = 2;
const SNAP = 0.015; // painting this near to 0 or 1 means it

const range = (length, from = 0) => Array.from({ length }, (_, i) => from + i);
const clamp = (x, low, high) => Math.min(high, Math.max(low, x));

// As Python rounds: to the nearest, and of two that are equally near (odd sixteenths only) to the even one
const round3 = (x) => {
  const near = Number(x.toFixed(3)) + 0;
  if (Math.abs((x * 16) % 2) !== 1) return near;
  const thousandths = Math.round(near * 1000);
  return (thousandths % 2 ? thousandths - Math.sign(x) : thousandths) / 1000;
};
const snapped = (x) => (Math.abs(x) < SNAP ? 0 : Math.abs(x - 1) < SNAP ? 1 : x);
const percent = (weight) => Math.round(weight * 100);
const isBeyond = (weight) => weight < NARROWEST || weight > WIDEST;
const shortly = (weight) => weight.toFixed(2).replace("-", "−");
const span = (weights) => {
  const low = shortly(Math.min(...weights));
  const high = shortly(Math.max(...weights));
  return low === high ? low : `${low}–${high}`;
};

// A number as people type it, with a comma or a real minus sign; null for anything else
const parseNumber = (text) => {
  const plain = text.trim().replace("−", "-").replace(",", ".");
  return /^[+-]?(\d+\.?\d*|\.\d+)$/.test(plain) ? round3(Number(plain)) : null;
};

const straight = (from, to, steps) => range(steps + 1).map((k) => (steps ? from + ((to - from) * k) / steps : to));

// A preset's curve with strength and flip, exactly as core.shapes.sample does it
const shaped = (curve, strength, flip) =>
  curve.map((weight) => round3((strength / 100) * (flip ? 1 - weight : weight)));

// Anchors spread evenly over the layers, with straight lines between: core.shapes again
const anchored = (anchors, depth) =>
  range(depth).map((layer) => {
    const place = (depth > 1 ? layer / (depth - 1) : 0.5) * (anchors.length - 1);
    const before = Math.min(Math.trunc(place), anchors.length - 1);
    const share = place - before;
    return share === 0 ? anchors[before] : anchors[before] + (anchors[before + 1] - anchors[before]) * share;
  });

// One step per layer, in a box as wide as there are layers and 1 high
const stepPath = (weights) =>
  weights.map((w, i) => `${i ? "V" : "M0,"}${(1 - clamp(w, 0, 1)).toFixed(4)}H${i + 1}`).join("");
const thumbnail = (weights, height = 36) => {
  const steps = stepPath(weights);
  const inset = `translate(0 ${2 / height}) scale(1 ${1 - 4 / height})`; // so that the line keeps its width at 0 and 1
  const line = svg("g", { transform: inset }, svg("path", { class: "line", d: steps }));
  return svg(
    "svg",
    { class: "picture", viewBox: `0 0 ${weights.length} 1`, preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("path", { class: "fill", d: `${steps}V1H0Z` }),
    line,
  );
};
