// A field that holds one weight. Enter, or leaving it, keeps a number that fits; Esc brings back what was there.
const say = (message) => {
  view.message = message;
  paintAbove();
};
const complaint = (text) => {
  const [low, high] = limits().map(String);
  if (parseNumber(text) === null) return `“${text.trim().slice(0, 20)}” is not a number. Type a weight such as 0.5.`;
  return `A weight is from ${low.replace("-", "−")} to ${high} here.${view.beyond ? "" : " Allow beyond 0–1 to go further."}`;
};
const accepted = (text) => {
  const weight = parseNumber(text), [low, high] = limits();
  return weight !== null && weight >= low && weight <= high ? weight : null;
};

const STEP = 0.01;
const weightField = (act, { read, keep, leave = () => {}, digits = 3 }) => {
  const input = set(make("input", "number"), { type: "text", inputmode: "decimal", autocomplete: "off", spellcheck: "false", "data-act": act });
  let dirty = false;
  const show = () => {
    if (dirty) return;
    const weight = read(), text = weight === null ? "" : digits === 3 ? weight.toFixed(3) : weight.toFixed(3).replace(/0$/, "");
    if (input.value !== text) input.value = text;
    set(input, { "aria-invalid": null });
  };
  const drop = () => { dirty = false; show(); };
  const accept = () => {
    if (!dirty) return true;
    const weight = accepted(input.value);
    if (weight === null) {
      set(input, { "aria-invalid": "true" });
      say(complaint(input.value));
      return false;
    }
    dirty = false;
    keep(weight);
    return true;
  };
  const nudge = (by) => {
    const weight = (dirty ? accepted(input.value) : null) ?? read();
    dirty = false;
    if (weight !== null) keep(fit(weight + by));
  };
  input.addEventListener("input", () => { dirty = true; set(input, { "aria-invalid": null }); });
  input.addEventListener("focus", () => input.select());
  input.addEventListener("blur", () => { if (dirty && accepted(input.value) !== null) accept(); else drop(); });
  input.addEventListener("keydown", (event) => {
    if (event.key === "Enter") { if (accept()) leave("enter"); }
    else if (event.key === "Escape") { drop(); view.message = ""; leave("escape"); draw(); }
    else if (event.key === "ArrowUp" || event.key === "ArrowDown") nudge(event.key === "ArrowUp" ? STEP : -STEP);
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  const type = (text) => {
    input.focus();
    input.value = text;
    dirty = true;
  };
  return { input, show, nudge, type };
};

const stepper = (field, what) => {
  const less = set(button("less", () => field.nudge(-STEP), "", "−"), { tabindex: -1 });
  const more = set(button("more", () => field.nudge(STEP), "", "+"), { tabindex: -1 });
  const node = make("span", "stepper", less, field.input, more);
  const name = (label) => {
    set(field.input, { "aria-label": `Weight of ${label}` });
    set(less, { "aria-label": `Less ${what} in ${label}` });
    set(more, { "aria-label": `More ${what} in ${label}` });
  };
  return { node, name };
};
