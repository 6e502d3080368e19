"""The tensor names of 48 small models that transformers saved, with the class that a person gave to each.

zoo_names.json holds, for each architecture: what its config says of depths, vocabulary and experts; the depth of each
stack; and the tensors, by what their names begin with. {0-2} in a name stands for three names; after the class comes a
shape of the rank that such a tensor has.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Architecture:
    """`classes` has every tensor's class as the file says it, such as "attention:vision" for one inside a tower."""

    name: str
    config: Mapping[str, object]
    depths: Mapping[str, int]
    shapes: Mapping[str, tuple[int, ...]]
    classes: Mapping[str, str]


def read_zoo() -> Mapping[str, Architecture]:
    zoo = json.loads(Path(__file__).with_name("zoo_names.json").read_text("utf-8"))
    return {name: _architecture(name, entry) for name, entry in zoo.items()}


def _architecture(name: str, entry: Mapping[str, Mapping[str, Mapping[str, str]]]) -> Architecture:
    shapes: dict[str, tuple[int, ...]] = {}
    classes: dict[str, str] = {}
    for beginning, groups in entry["tensors"].items():
        for group, ends in groups.items():
            kind, shape = group.split()
            for end in ends.split():
                for tensor in _expand(f"{beginning}.{end}".removeprefix(".")):
                    shapes[tensor] = tuple(int(size) for size in shape.split("x"))
                    classes[tensor] = kind
    depths = {prefix: int(str(depth)) for prefix, depth in entry["stacks"].items()}
    return Architecture(name, entry["config"], depths, shapes, classes)


def _expand(name: str) -> Iterator[str]:
    span = re.search(r"\{(\d+)-(\d+)\}", name)
    if span is None:
        yield name
        return
    for number in range(int(span[1]), int(span[2]) + 1):
        yield from _expand(f"{name[: span.start()]}{number}{name[span.end() :]}")
