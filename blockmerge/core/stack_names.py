"""What people call a stack: encoder, decoder, text, vision or audio, else the end of its path that tells it apart."""

import re
from collections.abc import Iterable, Mapping

_TEXT = re.compile(r"text|language|llm", re.I)


def name_stacks(towers: Mapping[str, str]) -> Mapping[str, str]:
    """The names of the stacks by prefix. `towers` says of each prefix "vision", "audio" or, for neither, ""."""
    known = {prefix: _known_name(prefix, tower, any(towers.values())) for prefix, tower in towers.items()}
    taken = list(known.values())
    return {
        prefix: name if name and taken.count(name) == 1 else _shortest_end(prefix, towers)
        for prefix, name in known.items()
    }


def _known_name(prefix: str, tower: str, has_tower: bool) -> str:
    if tower:
        return tower
    parts = prefix.split(".")
    if has_tower and any(_TEXT.search(part) for part in parts):
        return "text"
    for word in ("encoder", "decoder"):
        if word in parts:
            return word
    return "text" if has_tower else ""


def _shortest_end(prefix: str, prefixes: Iterable[str]) -> str:
    """In whole parts of the path; the whole of it where it is the end of another."""
    parts = prefix.split(".")
    others = [other.split(".") for other in prefixes if other != prefix]
    for length in range(1, len(parts)):
        if all(other[-length:] != parts[-length:] for other in others):
            return ".".join(parts[-length:])
    return prefix
