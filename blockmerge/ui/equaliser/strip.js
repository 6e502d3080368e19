// How far A and B are apart, as bars that hang under the layers' own: measured by the server, layer by layer.
let apart = { state: "none" };

const distancesOf = ({ stack, lane }) =>
  apart.state === "done" ? (apart.stacks[stack.name]?.[lane] ?? apart.stacks[stack.name]?.layers ?? null) : null;
const percentText = (distance) => {
  const share = distance * 100;
  return share < 0.1 && share > 0 ? say("grid.hardly") : say("grid.percent", { share: share.toFixed(share < 10 ? 1 : 0) });
};
const hasStrip = () => grid.kind === "share";
const apartInWords = (one, layer) => {
  const found = hasStrip() ? distancesOf(one) : null;
  return found && layer in found ? say("grid.apart_here", { percent: percentText(found[layer]) }) : "";
};

const buildStrip = (stack, s) => {
  if (!hasStrip()) return [];
  const label = make("div", "strip-label");
  const box = make("div", "strip");
  return [set(make("div", "strip-row", label, box), { "data-strip": s })];
};
const paintStrip = () => {
  for (const node of parts.plots.querySelectorAll("[data-strip]")) {
    const s = Number(node.dataset.strip);
    const here = track();
    const one = here.s === s ? here : { stack: grid.stacks[s], s, lane: "layers" };
    const key = JSON.stringify([apart, one.lane, here.s === s ? view.at : -1]);
    if (node.dataset.drawn === key) continue;
    node.dataset.drawn = key;
    fillStrip(node.children[0], node.children[1], one, here.s === s ? view.at : -1);
  }
};
const fillStrip = (label, box, one, at) => {
  const found = distancesOf(one);
  if (!found) {
    label.replaceChildren(say("grid.apart"));
    box.className = "strip empty";
    const ask = button("measure", askToMeasure, "btn bare", say(apart.state === "problem" ? "grid.measure_again" : "grid.measure"));
    const says = apart.text ?? say("grid.measure_help");
    box.replaceChildren(...(apart.state === "running" ? [] : [ask]), set(make("span", "quiet", says), { role: "status" }));
    return;
  }
  const most = Math.max(...found);
  label.replaceChildren(say("grid.apart"), make("br"), say("grid.apart_most", { percent: percentText(most) }));
  box.className = "strip";
  const bars = found.map((distance, layer) => {
    const bar = make("i", layer === at ? "here" : "");
    bar.style.height = `${most ? Math.max((distance / most) * 100, distance ? 4 : 0) : 0}%`;
    bar.title = say("grid.apart_at", { layer, percent: percentText(distance) });
    return bar;
  });
  set(box, { role: "img", "aria-label": say("grid.apart_spoken", { percent: percentText(most) }) });
  box.replaceChildren(...bars);
};
const askToMeasure = () => document.dispatchEvent(new CustomEvent("blockmerge-measure"));

document.addEventListener("blockmerge-difference", ({ detail }) => {
  apart = detail?.state ? detail : { state: "none" };
  if (grid) draw();
});
