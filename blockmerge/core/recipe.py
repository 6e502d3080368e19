"""A recipe: all that a user decides, as a file. docs/recipe.md explains every key."""

import difflib
import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, Literal, Self, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from blockmerge.core.layout import LANES, ROWS
from blockmerge.core.methods import METHODS
from blockmerge.core.shapes import load_presets
from blockmerge.core.yaml_reader import read_yaml
from blockmerge.core.yaml_writer import write_yaml
from blockmerge.errors import RecipeError

_UNITS: Mapping[str, int] = {"MB": 10**6, "GB": 10**9, "MiB": 2**20, "GiB": 2**30}
_TAGS = ("number", "list", "shape")


def parse_size(value: object) -> int:
    """Bytes from a text such as "5GB", "500 MB" or "2GiB"; an int is bytes already."""
    if type(value) is int:
        return _at_least_1_mb(value)
    match = re.fullmatch(r"(\d{1,6}(?:\.\d{1,3})?)\s*(MB|GB|MiB|GiB)", value) if isinstance(value, str) else None
    if match is None:
        raise PydanticCustomError("size", "a size such as 5GB or 500MB (MB, GB, MiB or GiB)")
    return _at_least_1_mb(round(float(match[1]) * _UNITS[match[2]]))


def _at_least_1_mb(nbytes: int) -> int:
    if nbytes < _UNITS["MB"]:
        raise PydanticCustomError("size", "1MB or more")
    return nbytes


def _name_from(names: tuple[str, ...], what: str, value: object) -> object:
    if value in names:
        return value
    raise PydanticCustomError("name", f"{value!r} is not {what}.{suggestion(str(value), names)}")


def suggestion(wrong: str, names: tuple[str, ...]) -> str:
    """ " Did you mean …?", or all that is known."""
    close = difflib.get_close_matches(wrong, names, n=1, cutoff=0.6)
    return f" Did you mean {close[0]!r}?" if close else f" Known: {', '.join(names)}."


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


# −0.0 becomes 0.0, so that equal recipes are equal texts.
Number = Annotated[float, Field(ge=-1, le=2), AfterValidator(lambda weight: weight + 0.0)]
_as_tuple = BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value)


class ShapeLine(_Strict):
    """A weight as a function of depth: `anchors` spread evenly over the layers, or a preset by name."""

    anchors: Annotated[tuple[Number, ...], _as_tuple, Field(min_length=1, max_length=200)] | None = None
    preset: (
        Annotated[str, BeforeValidator(lambda value: _name_from(tuple(load_presets()), "a preset", value))] | None
    ) = None
    strength: Annotated[float, Field(ge=0, le=1)] = 1.0
    flip: bool = False

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        if (self.anchors is None) == (self.preset is None):
            raise PydanticCustomError("shape", "a shape has either anchors or a preset.")
        return self


def _kind(value: object) -> str:
    if isinstance(value, Mapping | ShapeLine):
        return "shape"
    return "list" if isinstance(value, list | tuple) else "number"


WeightLine = Annotated[
    Annotated[Number, Tag("number")]
    | Annotated[tuple[Number, ...], _as_tuple, Tag("list")]
    | Annotated[ShapeLine, Tag("shape")],
    Discriminator(_kind),
]


class StackWeights(_Strict):
    """The weights of one stack: a line for all modules, lines for single modules that win over it, and its rows."""

    layers: WeightLine | None = None
    attention: WeightLine | None = None
    mlp: WeightLine | None = None
    norm: WeightLine | None = None
    router: WeightLine | None = None
    mixer: WeightLine | None = None
    other: WeightLine | None = None
    embeddings: Number | None = None
    final_norm: Number | None = None
    head: Number | None = None
    connector: Number | None = None
    outside: Number | None = None

    @property
    def lanes(self) -> dict[str, float | tuple[float, ...] | ShapeLine]:
        return {lane: line for lane in LANES if (line := getattr(self, lane)) is not None}

    @property
    def rows(self) -> dict[str, float]:
        return {row: weight for row in ROWS if (weight := getattr(self, row)) is not None}


class Lines(StackWeights):
    """A number for every block. `stacks` is for checkpoints with several; `tensors` maps globs on names to numbers."""

    stacks: dict[str, StackWeights] = Field(default_factory=dict)
    tensors: dict[str, Number] = Field(default_factory=dict)


class Weights(Lines):
    """The weights of a recipe: lines of its own, or of every model by its key. In the file the keys stand in the place
    of `by_model`."""

    by_model: dict[str, Lines] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _read_models(cls, value: object) -> object:
        if not isinstance(value, dict) or not value:
            return value
        if any(isinstance(lines, dict) for lines in value.get("by_model", {}).values()):
            raise PydanticCustomError("shape", "the key by_model is unknown. Write the key of each model instead.")
        names_models = not value.keys() & cls.model_fields.keys()
        return {"by_model": value} if names_models and all(isinstance(line, dict) for line in value.values()) else value


class Output(_Strict):
    """How the result is written. `shard_size` is in bytes."""

    dtype: Literal["as owner", "float32", "float16", "bfloat16"] = "as owner"
    shard_size: Annotated[int, BeforeValidator(parse_size)] = 5 * 10**9
    tokenizer: str = "a"
    nonfinite: Literal["refuse", "warn"] = "refuse"


class Recipe(_Strict):
    """Everything that decides the bytes of a result, and nothing else."""

    blockmerge: Literal[1] = 1
    method: Annotated[str, BeforeValidator(lambda value: _name_from(tuple(METHODS), "a merge method", value))] = (
        "linear"
    )
    models: Annotated[dict[str, Annotated[str, Field(min_length=1)]], Field(min_length=1)]
    base: str | None = None
    weights: Weights
    parameters: dict[str, Any] = Field(default_factory=dict)
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    output: Output = Output()

    @property
    def references(self) -> dict[str, str]:
        """Every checkpoint by its key, the owner first; the base has the key "base"."""
        return {"base": self.base, **self.models} if self.base is not None else dict(self.models)

    @property
    def owner(self) -> str:
        """The key of the checkpoint whose names and settings the result follows."""
        return "base" if self.base is not None else next(iter(self.models))


_LINES = ("layers", *LANES)
# Where pydantic's own words are not ours. In braces: what it says beside the type of an error.
_EXPECTED = {
    "bool_type": "true or false",
    "dict_type": "keys with values",
    "finite_number": "a number",
    "float_type": "a number",
    "greater_than_equal": "{ge:g} or more",
    "int_type": "a whole number",
    "less_than": "less than {lt}",
    "less_than_equal": "{le:g} or less",
    "model_type": "keys with values",
    "string_type": "a text",
    "too_long": "{max_length} entries or fewer",
    "tuple_type": "a list of numbers",
    "too_short": "{min_length} or more entries",
    "string_too_short": "a text",
}


def _path(location: tuple[int | str, ...]) -> str:
    text = ""
    for before, part in pairwise(("", *location)):
        if part in ("[key]", "by_model") or (part in _TAGS and before in _LINES):
            continue  # pydantic's own marks: the key itself is wrong; which form of a line was found
        if isinstance(part, str) and re.fullmatch(r"[\w-]+", part):
            text += f".{part}"
        else:
            text += f"[{part!r}]"
    return text.removeprefix(".")


def _known_keys(location: tuple[int | str, ...]) -> tuple[str, ...]:
    match location:
        case ():
            model: type[BaseModel] = Recipe
        case ("weights",) | ("weights", "by_model", _):
            model = Lines
        case ("weights", "stacks", _) | ("weights", "by_model", _, "stacks", _):
            model = StackWeights
        case ("output",):
            model = Output
        case _:
            model = ShapeLine
    return tuple(model.model_fields)


def _sentence(detail: ErrorDetails) -> str:
    *parents, key = detail["loc"]
    path, kind = _path(detail["loc"]), detail["type"]
    if kind == "extra_forbidden":
        return f"{path}: this key is unknown.{suggestion(str(key), _known_keys(tuple(parents)))}"
    if kind == "missing":
        return f"{path}: this key is missing. docs/recipe.md shows a whole recipe."
    if kind in ("name", "shape"):
        return f"{path}: {detail['msg']}"
    expected = _EXPECTED.get(kind, detail["msg"].removeprefix("Input should be ")).format(**detail.get("ctx", {}))
    return f"{path}: expected {expected}, found {shown_value(detail['input'])}."


def shown_value(value: object) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def parse_recipe(text: str) -> Recipe:
    """Read a recipe.

    Raises RecipeError with every problem, each with its path ("weights.layers[40]") and, for an unknown key, the
    nearest known one.
    """
    return read_recipe(read_yaml(text, "The recipe"))


def read_recipe(value: object) -> Recipe:
    """The recipe that a mapping holds, as parse_recipe finds it in a text; raises the same."""
    if not isinstance(value, dict):
        raise RecipeError("The recipe must be a mapping that starts with 'blockmerge: 1'. docs/recipe.md shows one.")
    if "blockmerge" not in value:
        raise RecipeError("The recipe does not start with 'blockmerge: 1', so this may be another kind of file.")
    version = value["blockmerge"]
    if type(version) is not int or version != 1:  # 1.0 and true equal 1 as well
        raise RecipeError(
            f"blockmerge: expected 1, the version of recipes that is read here, found {shown_value(version)}."
        )
    try:
        return Recipe.model_validate(value)
    except ValidationError as error:
        raise RecipeError(*(_sentence(detail) for detail in error.errors())) from error


def parse_lines(value: object, path: str) -> Lines | tuple[str, ...]:
    """A mapping with the forms of weights that stands elsewhere, such as a parameter; or every problem with it."""
    try:
        return Lines.model_validate(value)
    except ValidationError as error:
        details = ({**detail, "loc": ("weights", *detail["loc"])} for detail in error.errors())
        return tuple(_sentence(cast(ErrorDetails, detail)).replace("weights", path, 1) for detail in details)


def dump_recipe(recipe: Recipe) -> str:
    """The recipe as YAML that parse_recipe reads back to an equal one."""
    value = recipe.model_dump(mode="json", exclude_none=True)
    by_model = {key: _filled(lines) for key, lines in value["weights"]["by_model"].items()}
    return write_yaml({**value, "base": recipe.base, "weights": by_model or _filled(value["weights"])})


def _filled(lines: Mapping[str, Any]) -> dict[str, Any]:
    """Without the mappings that hold nothing."""
    return {key: entry for key, entry in lines.items() if entry != {}}
