// What the focused bar holds, in numbers and in words.
const readout = {};

const both = (weight) => {
  const share = percent(weight);
  const inB = make("span", "in-b", `${String(share).replace("-", "−")} % ${grid.b}`);
  return isBeyond(weight) ? [inB, ": extrapolates"] : [inB, ", ", make("span", "in-a", `${100 - share} % ${grid.a}`)];
};
const buildReadout = () => {
  readout.where = make("b", "where");
  readout.field = weightField("weight", {
    read: () => (grid ? line()[view.at] : null),
    keep: (weight) => {
      change([view.at], () => weight);
      later();
    },
    leave: (how) => {
      if (how === "enter") {
        finish();
        view.at = Math.min(view.at + 1, line().length - 1);
      }
      draw();
      focusBar();
    },
  });
  readout.stepper = stepper(readout.field);
  readout.share = make("span", "share");
  readout.legend = make("span", "legend");
  parts.readout = make("div", "readout", readout.where, readout.stepper.node, readout.share, readout.legend);
};
const paintReadout = () => {
  const name = layerName(track(), view.at);
  const weight = line()[view.at];
  write(readout.where, name);
  readout.stepper.name(name[0].toLowerCase() + name.slice(1));
  showField(readout.field);
  const text = both(weight)
    .map((part) => part.textContent ?? part)
    .join("");
  if (readout.share.textContent !== text) readout.share.replaceChildren(...both(weight));
  readout.share.title = text;
  readout.legend.hidden = !phone.matches && view.panel !== "bars";
  const kinds = [
    ["a", "Copied from A"],
    ["mix", "Blended"],
    ["b", "Copied from B"],
    ...(view.beyond ? [["beyond", "Beyond 0–1"]] : []),
  ];
  if (readout.legend.childElementCount !== kinds.length)
    readout.legend.replaceChildren(
      ...kinds.map(([kind, label]) => make("span", "", make("i", `swatch ${kind}`), label)),
    );
};
