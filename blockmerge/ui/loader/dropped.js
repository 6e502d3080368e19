// What is dropped on the page becomes the text of a recipe: a recipe, a result's weight file, or its whole folder.
const LONGEST_TEXT = 1_000_000; // bytes of a recipe
const LONGEST_HEADER = 100_000_000; // bytes of a weight file's header, as its format allows
const MOST_FILES = 10_000; // looked at in a folder
const METADATA = "blockmerge_recipe";

// Stops reading; its text is for the person
class DropError extends Error {}

const recipeIn = async (file) => {
  if (/\.safetensors$/i.test(file.name)) return recipeInHeader(file);
  if (file.size > LONGEST_TEXT)
    throw new DropError(say("drop.too_large"));
  return file.text();
};
// Of a weight file only the header is read, however large it is
const recipeInHeader = async (file) => {
  const size = new DataView(await file.slice(0, 8).arrayBuffer());
  const length = size.byteLength === 8 ? Number(size.getBigUint64(0, true)) : 0;
  if (!length || length > LONGEST_HEADER || length + 8 > file.size)
    throw new DropError(say("drop.cut_short"));
  let header = null;
  try {
    header = JSON.parse(await file.slice(8, 8 + length).text());
  } catch {
    throw new DropError(say("drop.no_header"));
  }
  const recipe = header?.__metadata__?.[METADATA];
  if (typeof recipe !== "string")
    throw new DropError(say("drop.no_recipe"));
  return recipe.slice(0, LONGEST_TEXT + 1);
};

const entriesOf = (folder) =>
  new Promise((resolve, reject) => {
    const reader = folder.createReader();
    const all = [];
    const more = () =>
      reader.readEntries((found) => {
        all.push(...found);
        if (found.length && all.length < MOST_FILES) more();
        else resolve(all);
      }, reject);
    more();
  });
const fileOf = (entry) => new Promise((resolve, reject) => entry.file(resolve, reject));
const firstShard = async (folder) => {
  const names = (await entriesOf(folder)).filter((entry) => entry.isFile && /\.safetensors$/i.test(entry.name));
  if (!names.length) throw new DropError(say("drop.no_weights"));
  return fileOf(names.sort((a, b) => (a.name < b.name ? -1 : 1))[0]);
};
const recipeDropped = async (transfer) => {
  const entry = transfer.items[0]?.webkitGetAsEntry?.(); // gone after the first wait
  const [file] = transfer.files;
  if (entry?.isDirectory) return recipeIn(await firstShard(entry));
  if (!file) throw new DropError(say("drop.nothing"));
  return recipeIn(file);
};
