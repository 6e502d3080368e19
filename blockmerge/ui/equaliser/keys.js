// The keyboard on a bar. Letters act only here, while a bar has the focus.
const NUDGES = { ArrowUp: 0.01, ArrowDown: -0.01, PageUp: 0.1, PageDown: -0.1 };
const SHIFT_NUDGE = 0.05;

const pressKey = (event) => {
  if (!event.target.closest(".bar")) return;
  if (event.ctrlKey || event.metaKey ? pressControl(event) : pressPlain(event)) {
    event.preventDefault();
    event.stopPropagation();
  }
};
const pressControl = ({ key }) => {
  const last = line().length - 1;
  if (key === "Home" || key === "End") focusLayer(key === "Home" ? 0 : last);
  else if (key.toLowerCase() === "a") {
    view.selection = [0, last];
    draw();
  } else return false;
  return true;
};
const pressPlain = (event) => {
  const { key, shiftKey, altKey } = event;
  if (key === "ArrowLeft" || key === "ArrowRight") walk(key === "ArrowRight" ? 1 : -1, shiftKey);
  else if (altKey && (key === "ArrowUp" || key === "ArrowDown")) changeLane(key === "ArrowDown" ? 1 : -1);
  else if (altKey) return false;
  else if (NUDGES[key])
    nudgeSelected(shiftKey && Math.abs(NUDGES[key]) < SHIFT_NUDGE ? Math.sign(NUDGES[key]) * SHIFT_NUDGE : NUDGES[key]);
  else if (key === "Home" || key === "End") setSelected(key === "Home" ? 0 : 1);
  else if (/^[\d.,−-]$/.test(key)) typeInto(typingField(), key);
  else if (key === "Enter") typingField().input.focus();
  else if (key === "Escape") return escape();
  else if (key === "?") showHelp();
  else return pressLetter(key.toLowerCase());
  return true;
};
const pressLetter = (key) => {
  const act = { l: drawLine, s: smooth, m: mirror }[key];
  if (!act || !view.selection) return false;
  act();
  return true;
};

const focusLayer = (layer) => {
  view.at = layer;
  view.selection = null;
  draw();
  focusBar();
};
const walk = (by, extend) => {
  const anchor = anchorOf();
  const next = clamp(view.at + by, 0, line().length - 1);
  if (!extend) return focusLayer(next);
  selectBetween(anchor, next);
  draw();
  focusBar();
};
const changeLane = (by) => {
  view.track = clamp(view.track + by, 0, lanes.length - 1);
  view.selection = null;
  keepInside();
  draw();
  focusBar();
};
const nudgeSelected = (by) => {
  change(selected(), (old) => old + by);
  later();
};
const setSelected = (weight) => {
  change(selected(), () => weight);
  later();
};
const typingField = () => (view.selection ? bulk.field : readout.field);
const escape = () => {
  if (!view.selection && !view.message) return false;
  view.selection = null;
  view.message = "";
  draw();
  return true;
};

const pressUndo = (event) => {
  if (!grid || !(event.ctrlKey || event.metaKey) || event.altKey || event.target.matches("input[type=text], textarea"))
    return;
  const key = event.key.toLowerCase();
  if (key === "z") (event.shiftKey ? redo : undo)();
  else if (key === "y" && !event.shiftKey) redo();
  else return;
  event.preventDefault();
};
