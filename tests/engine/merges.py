"""Merges of small checkpoints, as the command line makes them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from blockmerge.checkpoints.models import open_models
from blockmerge.core.plan import Plan, make_plan
from blockmerge.core.progress import Progress
from blockmerge.core.recipe import parse_recipe
from blockmerge.engine.merge import Result, carry_out
from blockmerge.engine.target import Target
from tests.engine.oracle import read_raw


def recipe_text(a: Path, b: Path, weights: object, **output: object) -> str:
    """A recipe; a single number as `weights` is that of all layers and rows."""
    return json.dumps(
        {
            "blockmerge": 1,
            "method": "linear",
            "models": {"a": str(a), "b": str(b)},
            "weights": weights if isinstance(weights, Mapping) else {"layers": weights},
            "output": output,
        }
    )


def plan_for(a: Path, b: Path, weights: object, **output: object) -> Plan:
    recipe = parse_recipe(recipe_text(a, b, weights, **output))
    return make_plan(recipe, open_models(recipe.models))


def merge(plan: Plan, out: Path, **options: Any) -> Result:
    """Carry out a plan that nobody watches or cancels, unless `options` say so."""
    target = Target(out, options.pop("overwrite", False), options.pop("discard", False))
    return carry_out(plan, target, **{"report": ignore, "is_cancelled": lambda: False, **options})


def ignore(_: Progress) -> None:
    pass


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones too."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def write_tensors(folder: Path, tensors: Mapping[str, tuple[str, tuple[int, ...], bytes]]) -> None:
    """model.safetensors with tensors of any dtype: name → (dtype's code, shape, bytes)."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, (code, shape, raw) in tensors.items():
        start, end = end, end + len(raw)
        header[name] = {"dtype": code, "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    blobs = [raw for _, _, raw in tensors.values()]
    (folder / "model.safetensors").write_bytes(b"".join([len(text).to_bytes(8, "little"), text, *blobs]))


def put(folder: Path, name: str, raw: bytes) -> None:
    """Overwrite the first bytes of one tensor."""
    tensors = read_raw(folder)
    code, shape, old = tensors[name]
    write_tensors(folder, {**tensors, name: (code, shape, raw + old[len(raw) :])})
