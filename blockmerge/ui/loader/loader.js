// Recipes from everywhere to the Merge tab, unqueued work across a reload, and the address of the page.
const root = element.querySelector(".loader");
const KEPT = "blockmerge-draft"; // in this tab of the browser, as two tabs may hold two drafts
const KEYS = ["tab", "job", "recipe"];
let seen = null;

const open = (recipe, { name = "", shape = "", device = "" } = {}, again = false) =>
  trigger("opened", { recipe, name: String(name), shape: String(shape), device: String(device), again });
const openAddress = (address) => trigger("opened", { address });

// The address: ?tab=…&job=…&recipe=…
const inAddress = () => {
  const query = new URLSearchParams(location.search);
  return Object.fromEntries(KEYS.map((key) => [key, query.get(key) ?? ""]));
};
const write = (named, way) => {
  const url = new URL(location);
  for (const key of KEYS) {
    const value = String(named[key] ?? "");
    if (value) url.searchParams.set(key, value);
    else url.searchParams.delete(key);
  }
  if (url.href !== location.href) history[way](null, "", url);
};
const turnTo = (tab) => {
  if (!/^[a-z]+$/.test(tab)) return;
  props.value = { tab };
  trigger("turn");
};
const tell = () => trigger("address", inAddress());

const KINDS = {
  recipe: (told) => open(told.recipe, told),
  keep: ({ keep }) => {
    try {
      sessionStorage.setItem(KEPT, JSON.stringify(keep));
    } catch {
      // a browser that keeps nothing: a reload then begins anew
    }
  },
  go: ({ go }) => {
    write(go, "pushState");
    turnTo(go.tab);
    tell();
  },
};
const take = () => {
  const value = props.value;
  if (!value?.nonce || value.nonce === seen) return;
  seen = value.nonce;
  for (const [kind, act] of Object.entries(KINDS)) if (Object.hasOwn(value, kind)) act(value);
};

const begin = () => {
  const named = inAddress();
  turnTo(named.tab);
  let keep = null;
  try {
    keep = JSON.parse(sessionStorage.getItem(KEPT));
  } catch {
    // as above
  }
  if (named.recipe.trimStart().startsWith("{")) {
    // A link that holds the whole recipe. It leaves the address, or a reload would undo what was edited since.
    write({ ...named, recipe: "" }, "replaceState");
    open(named.recipe);
  } else if (keep) open(String(keep.recipe), keep, true);
  tell();
};

// The first tab selects itself as the page opens, before or after the one that the address names: until a person does
// something, no tab that is selected changes the address.
let touched = false;
for (const kind of ["pointerdown", "keydown", "click"]) addEventListener(kind, () => { touched = true; }, { capture: true, once: true });
document.addEventListener("blockmerge-tab", ({ detail }) => {
  // a tab that is turned to is in the address already
  if (touched && detail !== (inAddress().tab || "merge")) write({ tab: detail }, "pushState");
});
addEventListener("popstate", () => {
  turnTo(inAddress().tab || "merge");
  tell();
});

// From anywhere, as long as the Merge tab is the one that is shown
addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  const queue = document.querySelector("#queue");
  if (!queue?.offsetParent && !queue?.getClientRects().length) return;
  event.preventDefault();
  // What is typed is kept first: leaving a field is what tells the server
  document.activeElement?.blur();
  setTimeout(() => queue.click(), 400);
});

const LINK = "text/uri-list";
const holdsFiles = (event) => event.dataTransfer?.types.includes("Files");
// A link that is dropped into a field is text for the field
const holdsLink = (event) => event.dataTransfer?.types.includes(LINK) && !event.target.closest?.("input, textarea");
const over = (on) => root.classList.toggle("over", on);
root.textContent = say("drop.here");
addEventListener("dragover", (event) => {
  if (!holdsFiles(event) && !holdsLink(event)) return;
  event.preventDefault();
  over(true);
});
addEventListener("dragleave", (event) => {
  if (event.relatedTarget === null) over(false);
});
addEventListener("drop", async (event) => {
  over(false);
  if (!holdsFiles(event)) {
    if (!holdsLink(event)) return;
    event.preventDefault();
    openAddress(event.dataTransfer.getData(LINK).split("\n")[0].trim());
    return;
  }
  event.preventDefault();
  try {
    open(await recipeDropped(event.dataTransfer));
  } catch (error) {
    const known = error instanceof DropError;
    trigger("opened", { problem: known ? error.message : say("drop.unread") });
  }
});

watch("value", take);
// What is triggered before Gradio listens is lost.
if (document.body.dataset.listens) begin();
else document.addEventListener("blockmerge-listens", begin, { once: true });
