"""Widgets ⇄ recipe: the only place where what stands on the page becomes what a merge is made from, and back."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from blockmerge.core.block_settings import has_one_line
from blockmerge.core.blocks import Blocks, StackBlocks, list_blocks, resolve_line, resolve_lines
from blockmerge.core.layout import Layout
from blockmerge.core.method import BaseUse, Method, Parameter, WeightKind
from blockmerge.core.methods import LINEAR, METHODS
from blockmerge.core.recipe import Lines, Recipe, StackWeights, parse_recipe, read_recipe
from blockmerge.core.wish import Wish
from blockmerge.engine.devices import CPU, DEVICES
from blockmerge.errors import JobRequestError, RecipeError
from blockmerge.ui.equaliser.grid import Grid, Line, name_shape, new_grid
from blockmerge.ui.equaliser.meaning import Kind, Meaning, entry_name
from blockmerge.ui.wording import say

LETTERS = tuple("abcdefgh")  # of the models beside the base
BASE = "base"
SHARD_SIZES = ("500 MB", "1 GB", "2 GB", "5 GB", "10 GB", "50 GB")
DEFAULT_SHARD_SIZE = "5 GB"
AS_OWNER = "as owner"
LONGEST_TEXT = 1_000  # characters of any field
LONGEST_NAME = 96
VISIBILITIES = ("private", "public", "pull_request")


@dataclass(frozen=True, slots=True)
class Form:
    """The Merge tab as it stands. `models` by letter and `base` are empty texts where none is chosen.

    `parameters` of the method; one that is None is as `origin` has it, block by block. `grid` waits for all models.
    `origin` is the recipe that stood on the page last: it holds what the page has no widget for, the models' own keys,
    and the weights until there is a grid; `shape` is what these are called, where that is known. What `keeps_nothing`
    goes to the `repository`, which counts for nothing else, nor do `visibility` and `licence`.
    """

    models: Mapping[str, str]
    base: str = ""
    method: str = LINEAR.name
    parameters: Mapping[str, object] = field(default_factory=dict)
    grid: Grid | None = None
    name: str = ""
    dtype: str = AS_OWNER
    tokenizer: str = "a"
    shard_size: str = DEFAULT_SHARD_SIZE
    nonfinite: str = "refuse"
    seed: str = "0"
    device: str = CPU
    keeps_nothing: bool = False
    repository: str = ""
    visibility: str = VISIBILITIES[0]
    licence: str = ""
    origin: Recipe | None = None
    shape: str = ""

    @property
    def entry(self) -> Method:
        return METHODS[self.method]

    @property
    def computed_on(self) -> str:
        """The device that its job asks for; what is kept nowhere here waits for the network, so a GPU gains nothing."""
        return CPU if self.keeps_nothing else self.device

    @property
    def wish(self) -> Wish | None:
        """Where on the Hub the result goes; None for one that is kept here."""
        if not self.keeps_nothing:
            return None
        as_pull_request = self.visibility == "pull_request"
        return Wish(self.repository, self.licence or None, self.visibility == "public", as_pull_request)

    @property
    def references(self) -> dict[str, str]:
        """Every model that the method takes by its key on the page, the owner first; empty where one must be chosen."""
        wanted = LETTERS[: self.entry.fewest_models]
        most = self.entry.most_models or len(LETTERS)
        models = {key: self.models.get(key, "") for key in LETTERS[:most] if key in wanted or self.models.get(key)}
        needs_base = self.entry.base is BaseUse.REQUIRED or (self.entry.base is BaseUse.OPTIONAL and self.base)
        return {BASE: self.base, **models} if needs_base else models


def read_form(values: Mapping[str, object], grid: Grid | None, origin: Recipe | None = None) -> Form:
    """The widgets' values by name, whoever sent them; `origin` the server itself has kept. Raises JobRequestError."""
    fields = {name: value for name, value in values.items() if not name.startswith("parameters.")}
    keeps_nothing = fields.pop("keeps_nothing", False)
    texts = {name: _text(name, value) for name, value in fields.items()}
    if not isinstance(keeps_nothing, bool) or texts.get("visibility", VISIBILITIES[0]) not in VISIBILITIES:
        raise JobRequestError(say("merge.wrong_request"))
    if texts["method"] not in METHODS:
        raise JobRequestError(say("refused.form_method"))
    if texts.get("device", CPU) not in DEVICES:
        raise JobRequestError(say("refused.form_device"))
    parameters = {
        entry.name: _parameter(entry, values[parameter_key(entry)]) for entry in METHODS[texts["method"]].parameters
    }
    models = {letter: texts.pop(letter) for letter in LETTERS}
    return Form(models=models, parameters=parameters, grid=grid, origin=origin, keeps_nothing=keeps_nothing, **texts)


def _text(name: str, value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > LONGEST_TEXT:
        label = (
            say("refused.form_model", letter=name.upper()) if name in LETTERS else name.replace("_", " ").capitalize()
        )
        raise JobRequestError(say("refused.form_text", label=label, most=LONGEST_TEXT))
    return value.strip()


def _parameter(entry: Parameter, value: object) -> object:
    """A widget's value as a recipe has it; whether it is in range is the plan's to say."""
    if type(entry.default) is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if value is None or isinstance(value, bool | int | float) or (isinstance(value, str) and len(value) < LONGEST_TEXT):
        return value
    raise JobRequestError(say("refused.form_parameter", name=entry.name))


def parameter_key(entry: Parameter) -> str:
    """Methods that share a parameter share its widget; two of one name that mean other things do not."""
    return f"parameters.{entry.name}.{entry.default}"


def make_recipe(form: Form, references: Mapping[str, object]) -> Recipe:
    """The recipe of a form that has a grid; `references` are the models by their key on the page.

    Raises RecipeError with every problem.
    """
    assert form.grid is not None
    keys = _own_keys(form, references)
    tokenizer = {"tokenizer": keys.get(form.tokenizer, form.tokenizer)}
    size: object = int(form.shard_size) if form.shard_size.isdecimal() else form.shard_size
    value = {
        "blockmerge": 1,
        "method": form.method,
        "models": {keys[key]: str(reference) for key, reference in references.items() if key != BASE},
        "base": str(references[BASE]) if BASE in references else None,
        "weights": _weights(form, keys),
        "parameters": _parameters(form, len(keys) - (BASE in keys)),
        "seed": int(form.seed) if form.seed.isdecimal() else form.seed,
        "output": {"dtype": form.dtype, "shard_size": size, "nonfinite": form.nonfinite, **tokenizer},
    }
    return read_recipe(value)


def _own_keys(form: Form, references: Mapping[str, object]) -> dict[str, str]:
    """What the recipe calls each model of the page: as `origin` did, where it has as many."""
    letters = [key for key in references if key != BASE]
    own = tuple(form.origin.models) if form.origin and len(form.origin.models) == len(letters) else tuple(letters)
    return dict(zip(letters, own, strict=True)) | ({BASE: BASE} if BASE in references else {})


def _parameters(form: Form, models: int) -> dict[str, object]:
    """Those that are not at their default, or that `origin` names as well."""
    origin = form.origin.parameters if form.origin and form.origin.method == form.method else {}
    given: dict[str, object] = {}
    for entry in form.entry.parameters:
        value = form.parameters.get(entry.name)
        if value is None:
            value = origin.get(entry.name, entry.default)
        if value != entry.default or entry.name in origin:
            given[entry.name] = value
    if has_one_line(form.entry, models) and given.get("normalize") is not False:
        given.pop("normalize", None)
    return given


def _weights(form: Form, keys: Mapping[str, str]) -> dict[str, object]:
    grid, origin = form.grid, form.origin
    assert grid is not None
    if not grid.meaning.models:
        return _lines(grid, "") | _globs(origin.weights if origin else None)
    by_model = origin.weights.by_model if origin else {}
    return {keys[key]: _lines(grid, key) | _globs(by_model.get(keys[key])) for key in grid.meaning.models}


def _globs(lines: Lines | None) -> dict[str, object]:
    """Weights of single tensors, which the grid does not show."""
    return {"tensors": dict(lines.tensors)} if lines and lines.tensors else {}


def _lines(grid: Grid, key: str) -> dict[str, object]:
    """One mapping of weights; rows that follow their end layer are left out, as they follow it there too."""
    names = [stack.name for stack in grid.blocks.stacks]
    own = [name for name in names if not key or name == key or name.startswith(f"{key}.")]
    stacks = {name.removeprefix(f"{key}."): _stack(grid, name) for name in own}
    if len(stacks) == 1:
        [only] = stacks.values()
        return only | _rows(grid, None)
    outer = _rows(grid, None)
    for row in grid.meaning.outer:
        home = list(stacks.values())[0 if row == "embeddings" else -1]
        outer |= {row: home.pop(row)} if row in home else {}
    return {"stacks": stacks} | outer


def _stack(grid: Grid, stack: str) -> dict[str, object]:
    return {lane: list(line) for (name, lane), line in grid.lines.items() if name == stack} | _rows(grid, stack)


def _rows(grid: Grid, stack: str | None) -> dict[str, object]:
    return {row: weight for (name, row), weight in grid.rows.items() if name == stack and weight is not None}


def fill_form(text: str, name: str, refer: Callable[[str], str]) -> Form:
    """The form that shows a recipe, with the weights in `origin` until `fill_grid` knows the layers.

    `refer` finds what a model of the recipe is called on this page. Raises RecipeError with every reason why the page
    cannot show it.
    """
    recipe = parse_recipe(text)
    if len(recipe.models) > len(LETTERS):
        raise RecipeError(say("refused.form_models", most=len(LETTERS), found=len(recipe.models)))
    letters = dict(zip(recipe.models, LETTERS, strict=False))
    values = {
        entry.name: recipe.parameters.get(entry.name, entry.default) for entry in METHODS[recipe.method].parameters
    }
    return Form(
        models={letters[key]: refer(reference) for key, reference in recipe.models.items()},
        base=refer(recipe.base) if recipe.base is not None else "",
        method=recipe.method,
        parameters={key: None if isinstance(value, Mapping) else value for key, value in values.items()},
        name=name,
        dtype=recipe.output.dtype,
        tokenizer=letters.get(recipe.output.tokenizer, recipe.output.tokenizer),
        shard_size=size_as_text(recipe.output.shard_size),
        nonfinite=recipe.output.nonfinite,
        seed=str(recipe.seed),
        origin=recipe,
    )


def meaning_of(form: Form, names: Mapping[str, str]) -> Meaning:
    """What a weight says in a merge of these models; `names` by their key on the page, the owner first."""
    method, models = form.entry, {key: name for key, name in names.items() if key != BASE}
    owner, wide = next(iter(names.values())), method.weight_low < 0
    match method.kind:
        case WeightKind.STRENGTH:
            return Meaning(owner, method.title, Kind.STRENGTH, wide=wide)
        case WeightKind.SHARE if has_one_line(method, len(models)):
            a, b = models.values()
            return Meaning(a, b, wide=wide)
        case kind:
            return Meaning(owner, method.title, Kind.AMOUNT if kind is WeightKind.AMOUNT else Kind.SHARES, models, wide)


def fill_grid(recipe: Recipe, meaning: Meaning, layout: Layout) -> Grid:
    """The recipe's weights as bars, shapes drawn at these layers. Raises RecipeError with every reason why not."""
    sources = dict(zip(meaning.models, recipe.weights.by_model.items(), strict=False))
    by_key: dict[str, tuple[str, Lines]] = {key: (f"weights.{own}", lines) for key, (own, lines) in sources.items()}
    if not meaning.models:
        by_key[""] = ("weights", recipe.weights)
    problems = [found for path, lines in by_key.values() for found in _misfits(lines, layout, path)]
    if (len(sources) != len(recipe.weights.by_model)) or len(by_key) != max(1, len(meaning.models)):
        problems.append("weights: the recipe has its lines of weights for other models.")
    if problems:
        raise RecipeError(*problems)
    blocks = list_blocks(layout)
    grid = new_grid(meaning, blocks)
    lines, rows = dict(grid.lines), dict(grid.rows)
    for key, (_, weights) in by_key.items():
        drawn = _drawn(weights, blocks, key, grid.meaning)
        lines |= drawn[0]
        rows |= drawn[1]
    return name_shape(replace(grid, lines=lines, rows=rows))


def _misfits(lines: Lines, layout: Layout, path: str) -> tuple[str, ...]:
    resolved = resolve_lines(lines, layout, path)
    return resolved if isinstance(resolved, tuple) else ()


_Lines = dict[tuple[str, str], Line]
_Rows = dict[tuple[str | None, str], float | None]


def _drawn(weights: Lines, blocks: Blocks, key: str, meaning: Meaning) -> tuple[_Lines, _Rows]:
    """The lines and rows of one mapping of weights under the names that they have in the grid."""
    lines: _Lines = {}
    rows: _Rows = {}
    last = len(blocks.stacks) - 1
    for place, stack in enumerate(blocks.stacks):
        own = weights.stacks.get(stack.name, StackWeights()) if last else weights
        name = entry_name(blocks, key, stack.name)
        lines |= _lines_of(own, stack, name)
        rows |= {(name, row): own.rows.get(row) for row in stack.rows}
        rows |= {
            (name, row): weights.rows.get(row) for row in meaning.outer if place == (0 if row == "embeddings" else last)
        }
    if not key:
        rows |= {(None, row): weights.rows.get(row) for row in blocks.rows}
    return lines, rows


def _lines_of(weights: StackWeights, stack: StackBlocks, name: str) -> _Lines:
    given = {"layers": weights.layers, **weights.lanes}
    drawn = {lane: resolve_line(line, stack.depth) for lane, line in given.items() if line is not None}
    return {(name, lane): line for lane, line in drawn.items() if not isinstance(line, str)}


def size_as_text(nbytes: int) -> str:
    """Bytes as the shortest text that core.recipe.parse_size reads back to them."""
    units = {"GB": 10**9, "MB": 10**6, "GiB": 2**30, "MiB": 2**20}
    return next((f"{nbytes // size} {unit}" for unit, size in units.items() if nbytes % size == 0), str(nbytes))


def suggest_name(*names: str) -> str:
    """A folder name from the models' names: "mistral-7b-x-zephyr-7b"."""
    half = (LONGEST_NAME - len("-x-") * (len(names) - 1)) // len(names) - 3  # room for a number behind it
    parts = [re.sub(r"[^a-z0-9._]+|\.\.+", "-", name.lower())[:half].strip("-._") or "model" for name in names]
    return "-x-".join(parts)
