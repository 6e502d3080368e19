"""What is asked for while torch is imported."""

from collections import Counter
from pathlib import Path

import pytest

from blockmerge.checkpoints.models import open_models
from blockmerge.core.plan import Plan, make_plan
from blockmerge.core.recipe import parse_recipe
from blockmerge.engine import first_reads
from blockmerge.engine.first_reads import first_ranges
from tests.engine.merges import recipe_text
from tests.tiny_models import write_llama


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    recipe = parse_recipe(recipe_text(write_llama(tmp_path / "a"), write_llama(tmp_path / "b", seed=1), 0.5))
    return make_plan(recipe, open_models(recipe.references))


def _bytes(plan: Plan) -> set[tuple[Path, int]]:
    """Each byte that is asked for, once."""
    asked = Counter(
        (path, place) for path, offset, nbytes in first_ranges(plan) for place in range(offset, offset + nbytes)
    )
    assert set(asked.values()) == {1}
    return set(asked)


def _needed(plan: Plan) -> set[tuple[Path, int]]:
    return {
        (plan.checkpoints[source.model].folder / source.tensor.file, place)
        for step in plan.steps
        for source in step.inputs
        for place in range(source.tensor.offset, source.tensor.offset + source.tensor.nbytes)
    }


def test_all_that_a_small_merge_reads_is_asked_for_once_in_a_range_for_each_input(plan: Plan) -> None:
    assert _bytes(plan) == _needed(plan)
    assert len(list(first_ranges(plan))) == len(plan.checkpoints) < len(plan.steps)


def test_a_large_range_is_asked_for_in_parts_of_every_input_in_turn(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first_reads, "_AT_ONCE", 1)

    assert _bytes(plan) == _needed(plan)
    folders = [path.parent.name for path, _, _ in first_ranges(plan)]
    assert folders[:4] == ["a", "b", "a", "b"]


def test_no_more_than_a_window_is_asked_for(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    first = sum(source.tensor.nbytes for source in plan.steps[0].inputs)
    monkeypatch.setattr(first_reads, "WINDOW", first - 1)

    assert sum(nbytes for _, _, nbytes in first_ranges(plan)) == first
