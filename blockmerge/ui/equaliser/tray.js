// The shape menu: every choice is drawn in the bars at once, Apply keeps it, Cancel brings back what was there.
const tray = { options: [] };

const openTray = () => {
  finish();
  begin();
  view.tray = {
    preset: [...presets, ...ownShapes()].find((preset) => preset.label === grid.shape) ?? null,
    anchors: null,
    strength: 100,
    flip: false,
    everywhere: true,
  };
  view.message = "";
  Object.assign(mine, { said: "", problem: "", form: "" });
  buildTray();
  draw();
  const chosen = tray.options.find(({ preset }) => isChosen(preset)) ?? tray.options[0];
  chosen.node.focus({ preventScroll: !phone.matches });
};
const closeTray = (keep) => {
  if (keep) finish();
  else giveUp();
  parts.shape.focus({ preventScroll: true });
};

// The lines that a shape is drawn into: all common lines, or the one in focus
const targets = () => {
  if (view.tray.everywhere)
    return grid.stacks.map((stack, s) => ({
      stack,
      s,
      lanes: ["layers", ...stack.lanes.filter((lane) => Object.hasOwn(stack.lines, lane))],
    }));
  const one = track();
  return [{ stack: one.stack, s: one.s, lanes: [keyOf(one)] }];
};
// A preset's curves come with the grid; one's own shape is sampled here
const drawn = (preset, s) => (preset.anchors ? anchored(preset.anchors, grid.stacks[s].layers) : preset.curves[s]);
const curveOf = ({ preset, anchors }, s) => drawn(anchors ? { anchors } : preset, s);
const isChosen = (preset) => view.tray.preset !== null && preset.id === view.tray.preset.id && preset.label === view.tray.preset.label;
const shapeLabel = ({ preset, anchors, strength, flip, everywhere }) => {
  const words = [anchors ? say("grid.anchored", { anchors: anchors.join(", ") }) : preset.label];
  if (flip) words.push(say("grid.flipped"));
  if (strength < 100) words.push(say("grid.percent", { share: strength }));
  const where = everywhere ? "" : laneName(track());
  return (where ? say("grid.shape_in", { where, shape: words.join(", ") }) : words.join(", ")).slice(0, LONGEST_NAME);
};
const preview = () => {
  const chosen = view.tray;
  restore(before);
  if (chosen.preset || chosen.anchors) {
    for (const { stack, s, lanes: keys } of targets())
      for (const key of keys) stack.lines[key] = shaped(curveOf(chosen, s), chosen.strength, chosen.flip).map(fit);
    grid.shape = shapeLabel(chosen);
  }
  draw();
};

const buildTray = () => {
  const groups = [...new Set(presets.map((preset) => preset.group))];
  tray.options = [];
  const list = make(
    "div",
    "groups",
    ...groups.map((group) => {
      const options = presets.filter((preset) => preset.group === group).map(buildOption);
      return set(make("div", "group", make("div", "quiet", group), make("div", "row", ...options)), {
        role: "group",
        "aria-label": group,
      });
    }),
  );
  set(list, { role: "radiogroup", "aria-label": say("grid.shape") });
  list.addEventListener("keydown", moveInTray);
  parts.tray.replaceChildren(list, buildMine(), buildSettings());
};
const moveInTray = (event) =>
  moveChoice(
    event,
    tray.options.map(({ node }) => node),
  );
const buildOption = (preset) => {
  const name = make("span", "", make("bdi", "", preset.title));
  const node = set(make("button", "option", thumbnail(drawn(preset, track().s)), name), {
    type: "button",
    role: "radio",
    title: preset.description,
    "data-shape": preset.label,
    "aria-label": preset.label,
  });
  node.addEventListener("click", () => {
    Object.assign(view.tray, { preset, anchors: null });
    tray.anchors.value = "";
    preview();
  });
  tray.options.push({ preset, node });
  return node;
};
const buildSettings = () => {
  tray.strength = set(make("input", "slider"), {
    type: "range",
    min: 0,
    max: 100,
    step: 1,
    value: view.tray.strength,
    "aria-label": say("grid.strength"),
    title: say("grid.strength_help"),
    "data-act": "strength",
  });
  tray.percent = make("span", "percent");
  tray.strength.addEventListener("input", () => {
    view.tray.strength = Number(tray.strength.value);
    preview();
  });
  const flip = checkbox("flip", say("grid.flip"), (on) => {
    view.tray.flip = on;
    preview();
  });
  flip.input.checked = view.tray.flip;
  flip.node.title = say("grid.flip_help");
  const cancel = button("cancel-shape", () => closeTray(false), "btn bare", say("grid.cancel"));
  tray.apply = button("apply-shape", () => closeTray(true), "btn main", say("grid.apply"));
  return make(
    "div",
    "settings",
    make("label", "row", make("span", "", say("grid.strength")), tray.strength, tray.percent),
    flip.node,
    buildAnchors(),
    ...buildWhere(),
    make("span", "row end", cancel, tray.apply),
  );
};
const buildAnchors = () => {
  tray.anchors = set(make("input", "text"), {
    type: "text",
    placeholder: "0, 0.5, 1",
    "aria-label": say("grid.anchors"),
    title: say("grid.anchors_help"),
    autocomplete: "off",
    "data-act": "anchors",
  });
  tray.anchors.addEventListener("input", () => {
    const words = tray.anchors.value.split(/[\s,;]+/).filter(Boolean);
    const weights = words.map(accepted);
    const wrong = words.length > 200 || weights.includes(null);
    set(tray.anchors, { "aria-invalid": wrong ? "true" : null });
    Object.assign(view.tray, { anchors: wrong || !words.length ? null : weights, preset: null });
    preview();
  });
  tray.anchors.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !tray.apply.disabled) closeTray(true);
  });
  return make("label", "row anchors", make("span", "", say("grid.or_anchors")), tray.anchors);
};
const buildWhere = () => {
  if (tracks().length < 2) return [];
  tray.where = choice(
    say("grid.where"),
    [
      ["all", say("grid.everywhere")],
      ["one", say("grid.only", { where: laneName(track()) })],
    ],
    (value) => {
      view.tray.everywhere = value === "all";
      preview();
    },
  );
  return [tray.where.node];
};

const paintTray = () => {
  const open = view.tray !== null;
  parts.tray.hidden = !open;
  set(parts.shape, { "aria-expanded": String(open) });
  if (!open) return;
  const { preset, anchors, strength, everywhere } = view.tray;
  tray.options.forEach((option, i) => {
    const chosen = isChosen(option.preset);
    set(option.node, { "aria-checked": String(chosen), tabindex: chosen || (!preset && i === 0) ? 0 : -1 });
  });
  write(tray.percent, say("grid.percent", { share: strength }));
  tray.strength.style.setProperty("--share", strength / 100);
  if (tracks().length > 1) tray.where.show(everywhere ? "all" : "one");
  tray.apply.disabled = !preset && !anchors;
  paintMine();
};
const pressTray = (event) => {
  if (event.key !== "Escape") return;
  closeTray(false);
  event.stopPropagation();
};
