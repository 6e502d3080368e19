// What the focused bar holds, in numbers and in words.
const readout = {};

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
  readout.apart = make("span", "quiet");
  readout.legend = make("span", "legend");
  const said = [readout.share, readout.apart, readout.legend];
  parts.readout = make("div", "readout", readout.where, readout.stepper.node, ...said);
};
const paintReadout = () => {
  const name = layerName(track(), view.at);
  parts.readout.className = `readout ${hueOf(track().stack)}`;
  write(readout.where, name);
  readout.stepper.name(name[0].toLowerCase() + name.slice(1));
  showField(readout.field);
  const words = inWords(track(), view.at);
  const text = words.map((part) => part.textContent ?? part).join("");
  if (readout.share.textContent !== text) readout.share.replaceChildren(...words);
  readout.share.title = text;
  write(readout.apart, apartInWords(track(), view.at));
  readout.legend.hidden = !phone.matches && view.panel !== "bars";
  const [none, some, all] = legendsOf();
  const kinds = [
    ["a", none],
    ["mix", some],
    ["b", all],
    ...(view.beyond ? [["beyond", say("grid.legend_beyond")]] : []),
  ];
  const key = JSON.stringify(kinds);
  if (readout.legend.dataset.drawn !== key)
    readout.legend.replaceChildren(
      ...kinds.map(([kind, label]) => make("span", "", make("i", `swatch ${kind}`), label)),
    );
  readout.legend.dataset.drawn = key;
};
