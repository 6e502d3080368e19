"""The texts of the page by name. They stand in wording.yaml: one file to read aloud, to mend or to translate."""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from string import Formatter
from typing import cast

from blockmerge.core.yaml_reader import read_yaml

_FILE = Path(__file__).parent / "wording.yaml"


@cache
def all_texts() -> Mapping[str, Mapping[str, str]]:
    """Part of the page → name → text."""
    return cast(Mapping[str, Mapping[str, str]], read_yaml(_FILE.read_text("utf-8"), _FILE.name))


def say(name: str, /, **values: object) -> str:
    """The text of "part.name", with {value} filled in. A name that is not there is a bug, and raises KeyError."""
    part, _, rest = name.partition(".")
    return all_texts()[part][rest].format(**values)


def say_parts(name: str, /, **values: tuple[str, str]) -> Sequence[tuple[str, str]]:
    """The text of "part.name" as (class, text): what is between the {values} has no class."""
    part, _, rest = name.partition(".")
    found: list[tuple[str, str]] = []
    for between, value, _, _ in Formatter().parse(all_texts()[part][rest]):
        found += [("", between)] if between else []
        found += [values[value]] if value else []
    return found


def script_texts(*parts: str) -> str:
    """JavaScript that gives a component the texts of these parts, and say(name, values) to read them."""
    texts = {f"{part}.{name}": text for part in parts for name, text in all_texts()[part].items()}
    return (
        f"const TEXTS = {json.dumps(texts)};\n"
        "const say = (name, values = {}) => TEXTS[name].replace(/\\{(\\w+)\\}/g, (_, key) => values[key]);\n"
    )
