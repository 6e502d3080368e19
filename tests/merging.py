"""A merge from two folders in one call, with nothing between the test and the product's own functions."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from blockmerge.checkpoints.models import open_models
from blockmerge.core.blocks import Blocks, list_blocks
from blockmerge.core.layout import Place
from blockmerge.core.plan import Plan, check_models, make_plan
from blockmerge.core.recipe import parse_recipe
from blockmerge.engine.merge import Result, Target, carry_out


def write_recipe(folder: Path, weights: Mapping[str, Any], **keys: Any) -> str:
    """A recipe for the checkpoints `a` and `b` in this folder."""
    models = {key: str(folder / key) for key in ("a", "b")}
    return yaml.safe_dump({"blockmerge": 1, "models": models, "weights": dict(weights), **keys}, sort_keys=False)


def plan_merge(folder: Path, weights: Mapping[str, Any], **keys: Any) -> Plan:
    recipe = parse_recipe(write_recipe(folder, weights, **keys))
    return make_plan(recipe, open_models(recipe.models))


def merge(folder: Path, weights: Mapping[str, Any], **keys: Any) -> tuple[Plan, Result]:
    """Merge `a` and `b` of this folder into its `out`."""
    plan = plan_merge(folder, weights, **keys)
    return plan, carry_out(plan, Target(folder / "out"), report=lambda _: None, is_cancelled=lambda: False)


def blocks_of(folder: Path) -> Blocks:
    models = {key: str(folder / key) for key in ("a", "b")}
    return list_blocks(check_models(("a", "b"), open_models(models)))


def different_weights(blocks: Blocks) -> dict[str, Any]:
    """A weight of its own for every block: each layer of each lane, and each row; none is 0 or 1."""
    count = 0

    def next_weight() -> float:
        nonlocal count
        count += 1
        return round(0.05 + 0.9 * (count * 0.618 % 1), 3)

    stacks = {
        stack.name: {
            **{lane: [next_weight() for _ in range(stack.depth)] for lane in stack.lanes},
            **{row: next_weight() for row in stack.rows},
        }
        for stack in blocks.stacks
    }
    rows = {row: next_weight() for row in blocks.rows}
    if len(stacks) == 1:
        return {**next(iter(stacks.values())), **rows}
    return {"stacks": stacks, **rows}


def weight_at(weights: Mapping[str, Any], place: Place, is_single: bool) -> float:
    """The weight that such a recipe gives to a place, looked up by hand."""
    scope = weights if is_single or place.stack is None else weights["stacks"][place.stack]
    found = scope[place.module]
    return float(found if place.layer is None else found[place.layer])
