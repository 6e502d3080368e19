"""A merge in parts, some of them by others: the same result, and nothing of a part is done twice."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from blockmerge.checkpoints.models import open_models
from blockmerge.core.plan import Plan, make_plan
from blockmerge.core.progress import Progress
from blockmerge.core.recipe import parse_recipe
from blockmerge.engine.journal import is_whole, note_whole, read_units
from blockmerge.engine.merge import carry_out_parts
from blockmerge.engine.target import LOCK, Target
from blockmerge.errors import MergeCancelledError, MergePausedError, OutputExistsError
from tests.engine.merges import contents, ignore, merge, plan_for
from tests.tiny_models import write_llama

SIZES = {"layers": 14, "hidden": 96, "vocab": 600, "dtype": "float32"}

# Somebody else who merges parts, and kills itself when two units are finished.
HELPER = """
import os, signal, sys
from pathlib import Path
from blockmerge.engine import chunks, units
from blockmerge.engine.journal import Journal
from blockmerge.engine.merge import carry_out_parts
from blockmerge.engine.target import Target
from tests.engine.merges import ignore, plan_for
folder, part = Path(sys.argv[1]), int(sys.argv[2])
chunks.CHUNK = units.UNIT = 150_000
append, finished = Journal.append, []
def append_and_die(journal, record):
    append(journal, record)
    finished.append(record)
    if len(finished) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
Journal.append = append_and_die
plan = plan_for(folder / "a", folder / "b", 0.5, shard_size="1MB")
carry_out_parts(plan, Target(folder / "out"), [part], report=ignore)
"""


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    a, b = write_llama(tmp_path / "a", **SIZES), write_llama(tmp_path / "b", seed=1, **SIZES)  # type: ignore[arg-type]
    return plan_for(a, b, 0.5, shard_size="1MB")


def help_with(plan: Plan, out: Path, *parts: int) -> None:
    carry_out_parts(plan, Target(out), parts, report=ignore)


def recipes(folder: Path) -> dict[str, dict[str, object]]:
    a, b, base = (
        str(write_llama(folder / name, seed=seed, **SIZES))  # type: ignore[arg-type]
        for seed, name in enumerate(("a", "b", "base"))
    )
    tied = str(write_llama(folder / "tied", seed=3, tied=True, **SIZES))  # type: ignore[arg-type]
    two = {"a": a, "b": b}
    return {
        "linear": {"method": "linear", "models": two, "weights": {"layers": 0.3}},
        "two passes": {"method": "slerp", "models": two, "weights": {"layers": 0.3}},
        "a base and two passes": {
            "method": "ties",
            "models": two,
            "base": base,
            "weights": {"a": {"layers": 0.5}, "b": {"layers": 0.7}},
        },
        "a mixed head": {"method": "linear", "models": {"a": tied, "b": b}, "weights": {"layers": 0.3}},
        "random": {
            "method": "dare_linear",
            "models": two,
            "base": base,
            "weights": {"a": {"layers": 0.5}, "b": {"layers": 0.7}},
        },
    }


@pytest.mark.parametrize("name", ["linear", "two passes", "a base and two passes", "a mixed head", "random"])
def test_parts_of_several_make_what_one_makes(tmp_path: Path, name: str) -> None:
    value = {"blockmerge": 1, **recipes(tmp_path)[name], "output": {"shard_size": "1MB"}}
    recipe = parse_recipe(json.dumps(value))
    plan = make_plan(recipe, open_models(recipe.references))
    whole = merge(plan, tmp_path / "whole")

    def parts() -> Iterator[int]:
        help_with(plan, tmp_path / "out", 2)
        yield 1
        help_with(plan, tmp_path / "out", 0)

    split = merge(plan, tmp_path / "out", parts=parts())

    assert len(plan.shards) > 3  # some are left for the end
    assert split.digest == whole.digest
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_a_whole_part_is_neither_merged_nor_read_again(plan: Plan, tmp_path: Path) -> None:
    out, partial = tmp_path / "out", tmp_path / "out.partial"

    def parts() -> Iterator[int]:
        yield 1
        (partial / plan.shards[1].name).chmod(0o644)
        with (partial / plan.shards[1].name).open("r+b") as file:
            file.seek(-4, os.SEEK_END)
            file.write(b"\0\0\0\0")  # what nobody reads, nobody sees
        yield 1

    merge(plan, out, parts=parts())

    assert (out / plan.shards[1].name).read_bytes().endswith(b"\0\0\0\0")


def test_a_part_whose_merger_was_killed_goes_on_from_its_finished_units(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("blockmerge.engine.units.UNIT", 150_000)
    monkeypatch.setattr("blockmerge.engine.chunks.CHUNK", 150_000)
    whole = merge(plan, tmp_path / "whole")
    out, partial, shard = tmp_path / "out", tmp_path / "out.partial", plan.shards[1].name

    def parts() -> Iterator[int]:
        killed = subprocess.run([sys.executable, "-c", HELPER, str(tmp_path), "1"], cwd=Path.cwd(), check=False)
        assert killed.returncode == -signal.SIGKILL
        assert len(read_units(partial, [shard])) == len(read_units(partial)) >= 2
        assert not is_whole(partial, shard)
        yield 1
        assert is_whole(partial, shard)

    assert merge(plan, out, parts=parts()).digest == whole.digest


def test_a_part_waits_for_whoever_is_at_it(plan: Plan, tmp_path: Path) -> None:
    said: list[Progress] = []
    lock = FileLock(tmp_path / "out.partial" / f"{LOCK}.{plan.shards[0].name}")

    def hear(progress: Progress) -> None:
        said.append(progress)
        if progress.detail == "an earlier attempt is still at work":
            note_whole(tmp_path / "out.partial", plan.shards[0].name)
            lock.release()

    def parts() -> Iterator[int]:
        help_with(plan, tmp_path / "out", 0)
        whole = next((tmp_path / "out.partial").glob("*.whole"))
        whole.rename(whole.with_suffix(""))  # as it was before its last moment
        lock.acquire()
        carry_out_parts(plan, Target(tmp_path / "out"), [0], report=hear)
        yield from ()

    merge(plan, tmp_path / "out", parts=parts())

    assert [progress.detail for progress in said] == ["an earlier attempt is still at work"]


def test_after_a_pause_whole_parts_stay_and_after_a_cancel_nothing_does(plan: Plan, tmp_path: Path) -> None:
    def parts(error: Exception) -> Iterator[int]:
        yield 0
        raise error

    with pytest.raises(MergePausedError):
        merge(plan, tmp_path / "out", parts=parts(MergePausedError()))
    assert is_whole(tmp_path / "out.partial", plan.shards[0].name)

    with pytest.raises(MergeCancelledError):
        merge(plan, tmp_path / "out", parts=parts(MergeCancelledError()))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_a_merge_that_was_split_is_finished_by_one_that_is_not(plan: Plan, tmp_path: Path) -> None:
    whole = merge(plan, tmp_path / "whole")

    def parts() -> Iterator[int]:
        help_with(plan, tmp_path / "out", 2)
        yield 0
        raise MergePausedError

    with pytest.raises(MergePausedError):
        merge(plan, tmp_path / "out", parts=parts())

    assert merge(plan, tmp_path / "out").digest == whole.digest
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_parts_of_what_nobody_merges_are_refused(plan: Plan, tmp_path: Path) -> None:
    with pytest.raises(OutputExistsError) as caught:
        help_with(plan, tmp_path / "out", 0)

    assert str(caught.value) == (
        f"{tmp_path / 'out.partial'} is no part folder of this merge as this machine sees it. Let all workers share "
        "the folder and the models, and have the same versions and the same kind of processor and GPU."
    )
    assert not (tmp_path / "out.partial").exists()


def test_parts_of_a_merge_that_differs_are_refused(plan: Plan, tmp_path: Path) -> None:
    other = plan_for(tmp_path / "a", tmp_path / "b", 0.4, shard_size="1MB")

    def parts() -> Iterator[int]:
        with pytest.raises(OutputExistsError, match="is no part folder of this merge"):
            help_with(other, tmp_path / "out", 0)
        yield 0

    merge(plan, tmp_path / "out", parts=parts())
