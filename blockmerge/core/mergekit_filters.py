"""A number for every tensor as mergekit writes it: entries of a filter, which is a part of a name, and a value.

The first entry whose filter a tensor's name contains decides. A list has one number per layer; outside the layers
mergekit takes the first of a list, so what lies there has entries of its own.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from blockmerge.core.layout import Layout
from blockmerge.errors import RecipeError

Value = float | list[float]
Setting = Value | list[dict[str, object]]

_SAME = 1e-9  # mergekit interpolates in float64 even where a number stands for each layer


@dataclass(frozen=True, slots=True)
class _Entry:
    filter: str | None
    value: Value

    def written(self) -> dict[str, object]:
        return {"value": self.value} if self.filter is None else {"filter": self.filter, "value": self.value}


@dataclass(frozen=True, slots=True)
class _Line:
    """What the tensors of one name have in all layers, such as `self_attn.q_proj.weight`."""

    ending: str
    numbers: Mapping[int, float]

    def fits(self, numbers: tuple[float, ...]) -> bool:
        return all(numbers[layer] == number for layer, number in self.numbers.items())


def write_setting(numbers: Mapping[str, float], layout: Layout) -> Setting:
    """The setting that gives every tensor its number. Raises RecipeError where there is none."""
    if len(set(numbers.values())) == 1:
        return next(iter(numbers.values()))
    entries = [*_row_entries(numbers, layout), *_lane_entries(numbers, layout)]
    for name, number in numbers.items():
        if abs(_number_at(entries, name, layout) - number) > _SAME:
            raise RecipeError(f"mergekit's filters, which are parts of names, cannot tell {name} from others.")
    return [entry.written() for entry in entries]


def _number_at(entries: Iterable[_Entry], name: str, layout: Layout) -> float:
    """What mergekit gives to a tensor."""
    layer = layout.places[name].layer
    value = next(entry.value for entry in entries if entry.filter is None or entry.filter in name)
    return value[layer or 0] if isinstance(value, list) else value


def _row_entries(numbers: Mapping[str, float], layout: Layout) -> Iterator[_Entry]:
    for name, place in layout.places.items():
        if place.layer is None:
            yield _Entry(_shortest(name, [other for other in numbers if other != name]), numbers[name])


def _shortest(name: str, others: list[str]) -> str:
    """The shortest run of a name's parts that no other name contains, or the name."""
    parts = name.split(".")
    runs = (".".join(parts[i : i + size]) for size in range(1, len(parts)) for i in range(len(parts) - size + 1))
    return next((run for run in runs if not any(run in other for other in others)), name)


def _lane_entries(numbers: Mapping[str, float], layout: Layout) -> Iterator[_Entry]:
    """Entries for what differs from most, then the line of most for all the rest."""
    depth = layout.stacks[0].depth
    lines = _lines(numbers, layout)
    whole = Counter(
        tuple(line.numbers[layer] for layer in range(depth)) for line in lines if len(line.numbers) == depth
    )
    common = whole.most_common(1)[0][0] if whole else (0.0,) * depth
    groups: dict[tuple[float, ...], list[str]] = {}
    for line in lines:
        if not line.fits(common):
            key = tuple(line.numbers.get(layer, common[layer]) for layer in range(depth))
            groups.setdefault(key, []).append(line.ending)
    for key, endings in groups.items():
        others = [line.ending for line in lines if line.ending not in endings]
        for part in _parts_of(endings, others):
            yield _Entry(part, _value(key))
    yield _Entry(None, _value(common))


def _value(line: tuple[float, ...]) -> Value:
    return line[0] if len(set(line)) == 1 else list(line)


def _lines(numbers: Mapping[str, float], layout: Layout) -> list[_Line]:
    found: dict[str, dict[int, float]] = {}
    prefix = layout.stacks[0].prefix
    for name, place in layout.places.items():
        if place.layer is not None:
            ending = name.removeprefix(f"{prefix}.{place.layer}.")
            found.setdefault(ending, {})[place.layer] = numbers[name]
    return [_Line(ending, line) for ending, line in found.items()]


def _parts_of(endings: list[str], others: list[str]) -> Iterator[str]:
    """As few parts of names as cover all endings and none of the others; an ending itself where no part does."""
    left = list(endings)
    while left:
        parts = {part for ending in left for part in ending.split(".")}
        fit = [part for part in parts if not any(part in other for other in others)] or [left[0]]
        best = max(fit, key=lambda part: (sum(part in ending for ending in left), -len(part), part))
        yield best
        left = [ending for ending in left if best not in ending]
