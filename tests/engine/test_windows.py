"""What is fetched at a time: all that a unit reads, nothing twice, and no more than a shard's worth."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from blockmerge.checkpoints.writer import shard_header
from blockmerge.core.parts import SMALLEST, length
from blockmerge.core.plan import Plan
from blockmerge.engine.chunks import chunks_of
from blockmerge.engine.units import Unit
from blockmerge.engine.windows import needed, weight_of, windows_of
from tests.merging import plan_merge
from tests.tiny_models import write_llama

SHARD = 12 * 10**6


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("windows")
    for seed, (name, shards) in enumerate((("a", 2), ("b", 1))):
        write_llama(folder / name, layers=6, hidden=512, vocab=1024, seed=seed, shards=shards)
    return folder


def windows(plan: Plan, remote: Sequence[str] = ("a", "b")) -> list[Unit]:
    units: list[Unit] = []
    for shard in plan.shards:
        start = len(shard_header(shard, plan))
        units += windows_of(shard, start, plan.recipe.method, remote, len(units))
    return units


@pytest.mark.parametrize("method", ["linear", "slerp"])
def test_units_are_all_chunks_in_order_and_their_parts_are_less_than_a_shard(folder: Path, method: str) -> None:
    plan = plan_merge(folder, {"layers": 0.5}, method=method, output={"shard_size": SHARD})

    units = windows(plan)

    assert [unit.number for unit in units] == list(range(len(units)))
    chunks = [chunk for s in plan.shards for chunk in chunks_of(s, len(shard_header(s, plan)), method)]
    assert [chunk for unit in units for chunk in unit.chunks] == chunks
    assert max(weight_of(unit, ("a", "b")) for unit in units) <= 0.92 * max(shard.nbytes for shard in plan.shards)
    assert len(units) > len(plan.shards)


@pytest.mark.parametrize("method", ["linear", "slerp"])
def test_every_byte_that_is_read_is_in_the_parts_of_one_unit(folder: Path, method: str) -> None:
    plan = plan_merge(folder, {"layers": [0, 0.3, 1, 0.5, 1, 0]}, method=method, output={"shard_size": SHARD})

    units = windows(plan)

    read = sum(source.tensor.nbytes for step in plan.steps for source in step.inputs)
    assert read <= sum(weight_of(unit, ("a", "b")) for unit in units) <= 1.01 * read
    for unit in units:
        parts = needed(unit, ("a", "b"))
        for chunk in unit.chunks:
            for source in chunk.sources:
                end = source.offset + source.nbytes
                assert any(begin <= source.offset and end <= until for begin, until in parts[source.file])


def test_a_unit_of_several_passes_ends_where_a_tensor_ends(folder: Path) -> None:
    plan = plan_merge(folder, {"layers": 0.5}, method="slerp", output={"shard_size": SHARD})

    for unit in windows(plan):
        assert unit.chunks[-1].ends_tensor


def test_models_of_this_machine_are_not_fetched(folder: Path) -> None:
    plan = plan_merge(folder, {"layers": 0.5}, output={"shard_size": SHARD})

    [first, *_] = windows(plan, ["b"])

    assert {model for model, _ in needed(first, ["b"])} == {"b"}
    assert sum(map(length, needed(first, ["b"]).values())) == first.nbytes
    assert len(windows(plan, [])) == len(plan.shards)


def test_a_small_shard_is_one_unit(folder: Path) -> None:
    plan = plan_merge(folder, {"layers": 0.5}, output={"shard_size": SMALLEST // 2})

    assert max(shard.nbytes for shard in plan.shards) <= SMALLEST // 2
    assert len(windows(plan)) == len(plan.shards)
