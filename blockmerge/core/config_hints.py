"""Numbers that a config names, to be compared with what stands in names and shapes."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_DEPTH_KEYS = re.compile(r"layer|depth|block|group")
_NOT_DEPTHS = re.compile(r"expert|dense|norm|period|offset|every|drop")

_SOUND = {"num_mel_bins", "sampling_rate"}
_IMAGES = {"image_size", "patch_size"}


@dataclass(frozen=True, slots=True)
class Hints:
    """Numbers that the config names: depths of stacks, sizes of vocabularies, counts of experts. `hears` where the
    model takes sound and no images."""

    depths: frozenset[int]
    vocabularies: frozenset[int]
    experts: frozenset[int]
    hears: bool


def read_hints(config: Mapping[str, object]) -> Hints:
    keys = {key for key, _ in _walk(config)}
    numbers = [(key, value) for key, value in _walk(config) if type(value) is int]
    return Hints(
        frozenset(value for key, value in numbers if _DEPTH_KEYS.search(key) and not _NOT_DEPTHS.search(key)),
        frozenset(value for key, value in numbers if key.startswith("vocab_size")),
        frozenset(value for key, value in numbers if key.endswith("experts")),
        bool(keys & _SOUND) and not keys & _IMAGES,
    )


def _walk(value: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    for key, entry in value.items():
        if isinstance(entry, Mapping):
            yield from _walk(entry)
        else:
            yield key, entry
