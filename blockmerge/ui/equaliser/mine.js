// A person's own shapes in the tray: the server keeps them, the ShapesLink of the page carries them here and back.
const LARGEST_SHAPE_FILE = 64 * 1024; // bytes, as the server reads
const LONGEST_SHAPE_NAME = 120;
const mine = { shapes: [], said: "", problem: "", form: "", node: null };

const askShapes = (what, more = {}) => {
  mine.form = "";
  document.dispatchEvent(new CustomEvent("blockmerge-shapes-ask", { detail: { do: what, ...more } }));
};
const ownShapes = () =>
  mine.shapes.map(({ id, name, anchors }) => ({ id, label: name, title: name, description: name, anchors }));
const chosenOfMine = () => mine.shapes.find(({ id }) => id === view.tray.preset?.id) ?? null;

const buildMine = () => {
  mine.node = make("div", "mine");
  fillMine();
  return mine.node;
};
const fillMine = () => {
  tray.options = tray.options.filter(({ preset }) => !preset.id);
  const options = make("div", "row", ...ownShapes().map(buildOption));
  if (!mine.shapes.length) options.append(make("span", "quiet", say("shapes.none")));
  const says = set(make("p", mine.problem ? "quiet wrong" : "quiet", make("bdi", "", mine.problem || mine.said)), {
    role: "status",
  });
  const group = set(make("div", "group", make("div", "quiet", say("shapes.mine")), options), {
    role: mine.shapes.length ? "radiogroup" : "group",
    "aria-label": say("shapes.mine"),
  });
  group.addEventListener("keydown", moveInTray);
  mine.node.replaceChildren(group, make("div", "row acts"), says);
  fillActs();
};
const setForm = (name) => {
  Object.assign(mine, { form: name, said: "", problem: "" });
  fillMine();
  paintTray();
  (mine.node.querySelector(".acts input.text") ?? mine.node.querySelector(".acts button")).focus();
};
const act = (name, run) => button(`shape-${name.replace("_", "-")}`, run, "btn bare", say(`shapes.${name}`));
const fillActs = () => {
  const acts = mine.node.querySelector(".acts");
  const chosen = chosenOfMine();
  if (mine.form && mine.form !== "save" && !chosen) mine.form = "";
  acts.dataset.drawn = `${mine.form} ${chosen?.id ?? ""}`;
  acts.replaceChildren(...(mine.form ? FORMS[mine.form](chosen) : menuOf(chosen)));
};
const menuOf = (chosen) => {
  const own = [
    act("rename", () => setForm("rename")),
    act("delete", () => setForm("delete")),
    act("export", () => exportShape(chosen)),
  ];
  return [act("save_this", () => setForm("save")), act("import", chooseShapeFile), ...(chosen ? own : [])];
};
const nameForm = (value, keep) => {
  const name = set(make("input", "text"), {
    type: "text",
    value,
    maxlength: LONGEST_SHAPE_NAME,
    placeholder: say("shapes.name"),
    "aria-label": say("shapes.name"),
    autocomplete: "off",
    "data-act": "shape-name",
  });
  name.addEventListener("keydown", (event) => {
    if (event.key === "Enter") keep(name.value);
  });
  return [
    name,
    button("shape-keep", () => keep(name.value), "btn", say("shapes.save")),
    button("shape-leave", () => setForm(""), "btn bare", say("shapes.cancel")),
  ];
};
const FORMS = {
  // What is drawn now, with strength and flip, in the line that has the focus
  save: () => nameForm("", (name) => askShapes("save", { name, anchors: line().slice() })),
  rename: ({ id, name }) => nameForm(name, (wanted) => askShapes("rename", { id, name: wanted })),
  delete: ({ id, name }) => [
    make("span", "", make("bdi", "", say("shapes.delete_question", { name }))),
    button("shape-delete-do", () => askShapes("delete", { id }), "btn", say("shapes.delete")),
    button("shape-leave", () => setForm(""), "btn bare", say("shapes.keep")),
  ],
};

const exportShape = ({ name, anchors }) => {
  // JSON, which is YAML as well
  const text = `${JSON.stringify({ name, anchors })}\n`;
  const link = set(make("a"), {
    href: URL.createObjectURL(new Blob([text], { type: "application/json" })),
    download: `${name.replace(/[^\p{L}\p{N}._-]+/gu, "-").replace(/^[.-]+/, "") || "shape"}.json`,
  });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
};
const chooseShapeFile = () => {
  const file = set(make("input"), { type: "file", accept: ".yaml,.yml,.json" });
  file.addEventListener("change", async () => {
    const [chosen] = file.files;
    if (!chosen) return;
    if (chosen.size > LARGEST_SHAPE_FILE) return tellShapes({ ...mine, said: "", problem: say("shapes.too_large") });
    askShapes("import", { name: chosen.name.replace(/\.\w+$/, ""), text: await chosen.text() });
  });
  file.click();
};

const paintMine = () => {
  const acts = mine.node.querySelector(".acts");
  if (acts.dataset.drawn !== `${mine.form} ${chosenOfMine()?.id ?? ""}`) fillActs();
};
const tellShapes = ({ shapes, said, problem }) => {
  Object.assign(mine, { shapes, said, problem });
  if (!grid || !view.tray) return;
  const { preset } = view.tray;
  if (preset?.id) view.tray.preset = ownShapes().find(({ id }) => id === preset.id) ?? null;
  const focused = mine.node.contains(document.activeElement);
  fillMine();
  draw();
  const again = tray.options.find((option) => option.preset.id && option.preset === view.tray.preset)?.node;
  if (focused) (again ?? mine.node.querySelector(".acts button")).focus({ preventScroll: true });
};
document.addEventListener("blockmerge-shapes", ({ detail }) => {
  if (detail?.shapes) tellShapes(detail);
});
document.dispatchEvent(new CustomEvent("blockmerge-shapes-wanted"));
