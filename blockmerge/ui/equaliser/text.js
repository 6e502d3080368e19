// The text view and the clipboard: checked while it is typed, an error marks its character and changes nothing.
const editor = { base: null, applied: "", step: null, error: null }; // base: what the typed text is applied to

const buildText = () => {
  editor.area = set(make("textarea", "text"), {
    "aria-label": say("grid.text"),
    "aria-describedby": `${element.id}-text-note`,
    spellcheck: "false",
    rows: 12,
    "data-act": "text",
  });
  editor.shadow = set(make("pre", "shadow"), { "aria-hidden": "true" });
  editor.note = set(make("p", "text-note"), { id: `${element.id}-text-note`, role: "status" });
  const copy = button("copy-text", () => copyText(editor.area.value, copy), "btn", say("grid.copy"));
  editor.area.addEventListener("input", typeText);
  editor.area.addEventListener("scroll", () => {
    editor.shadow.scrollTop = editor.area.scrollTop;
  });
  editor.area.addEventListener("blur", () => {
    if (!editor.error) editor.base = null;
    draw();
  });
  parts.text.replaceChildren(make("div", "editor", editor.shadow, editor.area), make("div", "row", editor.note, copy));
};
const typeText = () => {
  if (!editor.base || snapshot().weights !== editor.applied) startTyping();
  // All that is typed in one go is one step: the last one is taken up again
  if (past.length && past.at(-1) === editor.step) before = past.pop();
  begin();
  editor.step = before;
  restore(editor.base);
  editor.error = applyText(editor.area.value, everyStack);
  if (!editor.error && snapshot().weights !== editor.base.weights) touch();
  else restore(editor.base);
  view.each ||= hasOwnLines();
  editor.applied = snapshot().weights;
  markError();
  later();
};
const startTyping = () => {
  finish();
  Object.assign(editor, { base: snapshot(), step: null });
};
const everyStack = (weights, at) => {
  for (const stack of grid.stacks) fillLine(stack, "layers", 0, stack.layers - 1, weights, at);
};
// The text once more, unseen behind the field, with the word that is wrong marked
const markError = () => {
  const { error, area, shadow } = editor;
  set(area, { "aria-invalid": error ? "true" : null });
  shadow.replaceChildren();
  if (error) {
    const rest = area.value.slice(error.at);
    const [word] = rest.match(/^[^\s,;:[\]]+/) ?? [" "];
    shadow.append(area.value.slice(0, error.at), make("mark", "", word), rest.slice(word.length));
  }
  editor.shadow.scrollTop = editor.area.scrollTop;
};
const placeOf = (at) => {
  const head = editor.area.value.slice(0, at).split("\n");
  return { line: head.length, character: head.at(-1).length + 1 };
};
const paintText = () => {
  parts.text.hidden = phone.matches || view.panel !== "text";
  if (parts.text.hidden) return;
  if (!parts.text.childElementCount) buildText();
  const isOld = editor.base && snapshot().weights !== editor.applied; // changed elsewhere
  if (isOld) Object.assign(editor, { base: null, error: null });
  if (!editor.base) {
    const value = weightsText();
    if (editor.area.value !== value) editor.area.value = value;
    markError();
  }
  write(
    editor.note,
    editor.error ? say("grid.text_wrong", { ...placeOf(editor.error.at), problem: editor.error.message }) : say("grid.text_help"),
  );
  editor.note.classList.toggle("wrong", Boolean(editor.error));
};

// Copying and pasting with a bar in focus: the selection, or the whole line
const onBar = () => document.activeElement?.closest(".bar") && root.contains(document.activeElement);
const copyWeights = (event) => {
  if (!onBar() || !getSelection().isCollapsed) return;
  const weights = view.selection ? selected().map((layer) => line()[layer]) : line();
  event.clipboardData.setData("text/plain", weights.join(", "));
  event.preventDefault();
};
const pasteWeights = (event) => {
  if (!onBar()) return;
  event.preventDefault();
  finish();
  begin();
  const error = applyText(event.clipboardData.getData("text/plain"), pasteBare);
  if (error) {
    giveUp();
    return complain(say("grid.unchanged", { problem: error.message }));
  }
  touch();
  view.each ||= hasOwnLines();
  finish();
};
const pasteBare = (weights, at) => {
  const one = track();
  const layers = selected();
  const whole = one.stack.layers;
  const [from, last] =
    weights.length === layers.length || weights.length === 1 ? [layers[0], layers.at(-1)] : [0, whole - 1];
  fillLine(one.stack, keyOf(one), from, last, weights, at);
};
