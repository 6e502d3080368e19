"""A parameter of a mergekit file: entries of a filter and a value, turned into lines of a recipe."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from blockmerge.errors import RecipeError

Value = float | list[float]

_LANES = {
    "self_attn": "attention",
    "attn": "attention",
    "attention": "attention",
    "mlp": "mlp",
    "feed_forward": "mlp",
    "norm": "norm",
    "layernorm": "norm",
}
_ROWS = {
    "embed_tokens": "embeddings",
    "embed": "embeddings",
    "wte": "embeddings",
    "model.norm": "final_norm",
    "lm_head": "head",
}
_DECIMALS = 6
_MOST_NUMBERS = 200


@dataclass(frozen=True, slots=True)
class Entry:
    """`filter` None is every tensor; a list is spread evenly over the layers.

    What lies behind the layers takes `after`, what lies before them the first number.
    """

    filter: str | None
    value: Value
    after: float

    @property
    def first(self) -> float:
        return self.value[0] if isinstance(self.value, list) else self.value


def entry_of(name: str | None, value: Value) -> Entry:
    """Of a list mergekit takes the first number for all that lies outside the layers."""
    return Entry(name, value, value[0] if isinstance(value, list) else value)


Setting = tuple[Entry, ...]


@dataclass
class Notes:
    """What is told beside a recipe that was read: what is exact, and what is only near."""

    exact: list[str] = field(default_factory=list)
    approximate: list[str] = field(default_factory=list)

    def near(self, sentence: str) -> None:
        if sentence not in self.approximate:
            self.approximate.append(sentence)


def read_setting(value: object, path: str) -> Setting:
    """The entries of a parameter, up to the first that every tensor matches. Raises RecipeError."""
    if not isinstance(value, list) or not any(isinstance(entry, dict) for entry in value):
        entries: list[object] = [value if isinstance(value, dict) else {"value": value}]
    else:
        entries = value
    setting: list[Entry] = []
    for number, entry in enumerate(entries):
        place = f"{path}[{number}]" if len(entries) > 1 else path
        match entry:
            case {"value": held, "filter": str(name), **rest} if not rest:
                setting.append(entry_of(None if name == "*" else name, _value(held, place)))
            case {"value": held, **rest} if not rest:
                setting.append(entry_of(None, _value(held, place)))
            case _:
                raise RecipeError(f"{place}: expected a number, a list of numbers, or filter and value.")
        if setting[-1].filter is None:
            break
    return tuple(setting)


def _value(held: object, path: str) -> Value:
    if isinstance(held, list):
        if not 0 < len(held) <= _MOST_NUMBERS:
            raise RecipeError(f"{path}: expected 1 to {_MOST_NUMBERS} numbers, found {len(held)}.")
        return [_number(number, path) for number in held]
    return _number(held, path)


def _number(held: object, path: str) -> float:
    try:
        number = float(held) if isinstance(held, str) else held  # mergekit takes 1e-4, which YAML 1.1 reads as a word
    except ValueError:
        number = None
    if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
        raise RecipeError(f"{path}: expected a number, found {str(held)[:60]!r}.")
    return float(number)


def combine(settings: list[Setting], path: str, make: Callable[..., float]) -> Setting:
    """One setting from several with the same filters, number by number. Raises RecipeError where they differ."""
    if len({tuple(entry.filter for entry in setting) for setting in settings}) > 1:
        raise RecipeError(f"{path}: the models have different filters, so their weights cannot be put together.")
    return tuple(
        Entry(
            entries[0].filter,
            _together([entry.value for entry in entries], path, make),
            make(*(entry.after for entry in entries)),
        )
        for entries in zip(*settings, strict=True)
    )


def _together(values: list[Value], path: str, make: Callable[..., float]) -> Value:
    lengths = {len(value) for value in values if isinstance(value, list)}
    if not lengths:
        return make(*values)
    if len(lengths) > 1:
        raise RecipeError(f"{path}: the models have lists of different lengths, so they cannot be put together.")
    [length] = lengths
    columns = [value if isinstance(value, list) else [value] * length for value in values]
    return [make(*numbers) for numbers in zip(*columns, strict=True)]


def lines_of(setting: Setting, path: str, notes: Notes, *, by_layer: bool) -> dict[str, object]:
    """Lines of a recipe. `by_layer`: a list has one number per layer, as slices do, and is not spread.

    Raises RecipeError where a part of a name with a list is none of our lanes.
    """
    lines: dict[str, object] = {}
    globs: dict[str, float] = {}
    for number, entry in enumerate(setting):
        if entry.filter is None:
            lines["layers"] = _line(entry.value, notes, by_layer=by_layer)
            _add_rows(lines, entry, notes)
        elif lane := _LANES.get(entry.filter.strip(".")):
            lines.setdefault(lane, _line(entry.value, notes, by_layer=by_layer))
            if lane == "norm":
                lines.setdefault("final_norm", _rounded(entry.after))
                notes.near(f"The filter {entry.filter!r} is read as the norms inside the layers and the final norm.")
        elif row := _ROWS.get(entry.filter.removesuffix(".weight").strip(".")):
            lines.setdefault(row, _rounded(entry.first if row == "embeddings" else entry.after))
        elif isinstance(entry.value, list) and len(set(entry.value)) > 1:
            raise RecipeError(
                f"{path}: the filter {entry.filter!r} has a list of numbers. Here a list goes with attention, mlp or "
                "norm; other parts of names take one number."
            )
        else:
            globs.setdefault(f"*{_escaped(entry.filter)}*", _rounded(entry.first))
            if number:
                notes.near(f"{entry.filter!r} wins over the filters before it here; in mergekit the first one wins.")
    if "layers" not in lines:
        raise RecipeError(f"{path}: there is no number for what no filter names. Add an entry with a value alone.")
    return lines | ({"tensors": globs} if globs else {})


def _line(value: Value, notes: Notes, *, by_layer: bool) -> object:
    if not isinstance(value, list):
        return _rounded(value)
    numbers = [_rounded(number) for number in value]
    if len(set(numbers)) == 1:
        return numbers[0]
    if by_layer:
        return numbers
    notes.near("A list of numbers is spread evenly over the layers, as in mergekit, and rounded to three decimals.")
    return {"anchors": numbers}


def _add_rows(lines: dict[str, object], entry: Entry, notes: Notes) -> None:
    """Here what lies behind the layers follows the last one."""
    if isinstance(entry.value, list) and entry.after != entry.value[-1]:
        lines.setdefault("final_norm", _rounded(entry.after))
        lines.setdefault("head", _rounded(entry.after))
        notes.near("mergekit gives final norm and head the first number of a list, so they have it here as well.")


def _rounded(number: float) -> float:
    return round(number, _DECIMALS) + 0.0  # −0.0 + 0.0 is 0.0


def _escaped(part: str) -> str:
    """A part of a name as a glob takes it."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in part)


def join_slices(settings: list[tuple[int, Setting]], path: str) -> Setting:
    """One setting with a number per layer, from a setting for each slice and how many layers it has."""
    filters = {tuple(entry.filter for entry in setting) for _, setting in settings}
    if len(filters) > 1:
        raise RecipeError(f"{path}: the slices have different filters, so they cannot be put together.")
    joined = []
    for number, name in enumerate(filters.pop()):
        entries = [(depth, setting[number]) for depth, setting in settings]
        line = [weight for depth, entry in entries for weight in _at_layers(entry.value, depth)]
        joined.append(Entry(name, line, entries[-1][1].after))
    return tuple(joined)


def _at_layers(value: Value, depth: int) -> list[float]:
    """A list is spread over the slice; a slice of one layer takes its last number."""
    if not isinstance(value, list):
        return [value] * depth
    places = [layer * (len(value) - 1) / (depth - 1) for layer in range(depth)] if depth > 1 else [len(value) - 1]
    return [_between(value, place) for place in places]


def _between(value: list[float], place: float) -> float:
    before = int(place)
    after = min(before + 1, len(value) - 1)
    return value[before] + (value[after] - value[before]) * (place - before)
