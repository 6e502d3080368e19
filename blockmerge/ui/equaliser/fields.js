// A field that holds one weight. Enter, or leaving it, keeps a number that fits; Esc brings back what was there.
const STEP = 0.01;

const complain = (message) => {
  view.message = message;
  paintAbove();
};
const accepted = (text) => {
  const weight = parseNumber(text);
  const [low, high] = limits();
  return weight !== null && weight >= low && weight <= high ? weight : null;
};
const complaint = (text) => {
  const [low, high] = limits().map(String);
  const shown = text.trim().slice(0, 20);
  if (parseNumber(text) === null) return say("grid.no_number", { text: shown });
  return say(view.beyond ? "grid.out_of_range" : "grid.beyond_range", { low: low.replace("-", "−"), high });
};

// `read` gives the weight, or null where there are several; `keep` takes a new one; `leave` is told "enter" or "escape"
const weightField = (act, { read, keep, leave, digits = 3 }) => {
  const input = set(make("input", "number"), {
    type: "text",
    inputmode: "decimal",
    autocomplete: "off",
    spellcheck: "false",
    "data-act": act,
  });
  const field = { input, read, keep, leave, digits, dirty: false };
  input.addEventListener("input", () => markDirty(field));
  input.addEventListener("focus", () => input.select());
  input.addEventListener("blur", () => {
    if (!field.dirty || accepted(input.value) === null || !acceptField(field)) dropField(field);
  });
  input.addEventListener("keydown", (event) => {
    if (!pressField(field, event.key)) return;
    event.preventDefault();
    event.stopPropagation();
  });
  return field;
};
const pressField = (field, key) => {
  if (key === "ArrowUp" || key === "ArrowDown") nudgeField(field, key === "ArrowUp" ? STEP : -STEP);
  else if (key === "Enter") {
    if (acceptField(field)) field.leave("enter");
  } else if (key === "Escape") {
    dropField(field);
    view.message = "";
    field.leave("escape");
    draw();
  } else return false;
  return true;
};
const markDirty = (field) => {
  field.dirty = true;
  set(field.input, { "aria-invalid": null });
};
const showField = (field) => {
  if (field.dirty) return;
  const weight = field.read();
  const exact = weight?.toFixed(3) ?? "";
  const text = field.digits === 3 ? exact : exact.replace(/0$/, "");
  if (field.input.value !== text) field.input.value = text;
  set(field.input, { "aria-invalid": null });
};
const dropField = (field) => {
  field.dirty = false;
  showField(field);
};
const acceptField = (field) => {
  if (!field.dirty) return true;
  const weight = accepted(field.input.value);
  if (weight === null) {
    set(field.input, { "aria-invalid": "true" });
    complain(complaint(field.input.value));
    return false;
  }
  field.dirty = false;
  field.keep(weight);
  return true;
};
const nudgeField = (field, by) => {
  const weight = (field.dirty ? accepted(field.input.value) : null) ?? field.read();
  field.dirty = false;
  if (weight !== null) field.keep(fit(weight + by));
};
const typeInto = (field, text) => {
  field.input.focus();
  field.input.value = text;
  markDirty(field);
};

// The field between a minus and a plus; the arrow keys in the field do the same, so these are no tab stops
const stepper = (field) => {
  const less = set(
    button("less", () => nudgeField(field, -STEP), "", "−"),
    { tabindex: -1 },
  );
  const more = set(
    button("more", () => nudgeField(field, STEP), "", "+"),
    { tabindex: -1 },
  );
  const name = (label) => {
    set(field.input, { "aria-label": say("grid.weight_of", { label }) });
    set(less, { "aria-label": say("grid.less_in", { label }) });
    set(more, { "aria-label": say("grid.more_in", { label }) });
  };
  return { node: make("span", "stepper", less, field.input, more), name };
};
