"""Widgets ⇄ recipe: the only place where what stands on the page becomes what a merge is made from."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from blockmerge.core.recipe import Recipe, read_recipe
from blockmerge.errors import JobRequestError
from blockmerge.ui.equaliser.grid import Grid

SHARD_SIZES = ("500MB", "1GB", "2GB", "5GB", "10GB", "50GB")
DEFAULT_SHARD_SIZE = "5GB"
LONGEST_TEXT = 1_000  # characters of any field
LONGEST_NAME = 96


@dataclass(frozen=True, slots=True)
class Form:
    """The Merge tab as it stands. `a` and `b` name models, empty where none is chosen; `grid` waits for both."""

    a: str
    b: str
    grid: Grid | None
    name: str
    shard_size: str


def read_form(a: object, b: object, grid: Grid | None, name: object, shard_size: object) -> Form:
    """The widgets' values, whoever sent them. Raises JobRequestError."""
    fields = {"Model A": a, "Model B": b, "Name": name, "Shard size": shard_size}
    for label, value in fields.items():
        if value is not None and (not isinstance(value, str) or len(value) > LONGEST_TEXT):
            raise JobRequestError(f"{label}: a text of at most {LONGEST_TEXT} characters was expected.")
    texts = [str(value or "").strip() for value in fields.values()]
    return Form(texts[0], texts[1], grid, texts[2], texts[3])


def make_recipe(form: Form, folders: Mapping[str, Path]) -> Recipe:
    """The recipe of a form that has a grid. Raises RecipeError with every problem."""
    assert form.grid is not None
    value = {
        "blockmerge": 1,
        "models": {key: str(folder) for key, folder in folders.items()},
        "weights": _weights(form.grid),
        "output": {"shard_size": form.shard_size},
    }
    return read_recipe(value)


def _weights(grid: Grid) -> dict[str, object]:
    """Weights as a recipe has them; rows that follow their end layer are left out, as they follow it there too."""
    stacks = {
        stack.name: {line: list(weights) for (name, line), weights in grid.lines.items() if name == stack.name}
        | _rows(grid, stack.name)
        for stack in grid.blocks.stacks
    }
    if len(stacks) == 1:
        [only] = stacks.values()
        return only | _rows(grid, None)
    return {"stacks": stacks} | _rows(grid, None)


def _rows(grid: Grid, stack: str | None) -> dict[str, object]:
    return {row: weight for (name, row), weight in grid.rows.items() if name == stack and weight is not None}


def suggest_name(a: str, b: str) -> str:
    """A folder name from two models' names: "mistral-7b-x-zephyr-7b"."""
    half = (LONGEST_NAME - len("-x-")) // 2 - 3  # room for a number behind it
    parts = [re.sub(r"[^a-z0-9._]+|\.\.+", "-", name.lower())[:half].strip("-._") or "model" for name in (a, b)]
    return "-x-".join(parts)
