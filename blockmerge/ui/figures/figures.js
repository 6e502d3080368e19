// What was measured: value -> DOM. Texts come from people and models: textContent only.
const root = element.querySelector(".figures");
const make = (tag, name, ...children) => {
  const node = document.createElement(tag);
  if (name) node.className = name;
  node.append(...children);
  return node;
};
const cell = ({ kind, mark, name, value, problem }) => {
  const node = make("span", `cell ${kind}`, make("b", "", mark), " ", make("strong", "", value || "no figure"));
  node.title = problem || name;
  return problem ? make("span", "cell problem", node, make("span", "why", problem)) : node;
};
const row = ({ what, of, cells }) => make("div", "row", make("span", "what", what, " ", of), ...cells.map(cell));
const load = () => {
  const rows = props.value || []; // before the first value Gradio gives an empty text
  root.hidden = rows.length === 0;
  root.replaceChildren(...rows.map(row));
};
watch("value", load);
load();
