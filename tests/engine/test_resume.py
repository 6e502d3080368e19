"""A merge that was killed goes on where it was: what is finished is not touched, and nothing half gets the name."""

import errno
import os
import random
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from blockmerge.core.plan import Plan
from blockmerge.engine.chunks import count_blocks
from blockmerge.engine.journal import JOURNAL, read_units
from blockmerge.engine.target import LOCK
from blockmerge.errors import MergeCancelledError, MergePausedError, OutputExistsError, StorageError
from tests.engine.merges import contents, merge, plan_for
from tests.tiny_models import write_llama

SIZES = {"layers": 6, "hidden": 96, "vocab": 600, "dtype": "float32"}
WEIGHTS = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
UNIT = 150_000  # bytes; some fifteen units in four shards

# A merge in a process of its own that kills itself when so many units are finished, or is killed from outside.
SCRIPT = """
import os, signal, sys
from pathlib import Path
from blockmerge.engine import chunks, units
from blockmerge.engine.chunks import count_blocks
from blockmerge.engine.journal import Journal
from tests.engine.merges import merge, plan_for
folder, after, unit = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
chunks.CHUNK = units.UNIT = unit
append, finished = Journal.append, []
def append_and_die(journal, record):
    append(journal, record)
    finished.append(record)
    if len(finished) == after:
        os.kill(os.getpid(), signal.SIGKILL)
Journal.append = append_and_die
plan = plan_for(folder / "a", folder / "b", [0.0, 0.2, 0.4, 0.6, 0.8, 1.0], shard_size="1MB")
print("ready", flush=True)
merge(plan, folder / "out", threads=int(sys.argv[4]))
"""

# Imports torch once, and forks a merge for every kill: it is killed at a moment of the time that a whole one takes.
KILLS = """
import os, random, shutil, signal, sys, time
from pathlib import Path
from blockmerge.engine import chunks, units
from blockmerge.engine.journal import read_units
from tests.engine.merges import contents, merge, plan_for
folder, kills, generator = Path(sys.argv[1]), int(sys.argv[3]), random.Random(int(sys.argv[4]))
chunks.CHUNK = units.UNIT = int(sys.argv[2])
plan = plan_for(folder / "a", folder / "b", [0.0, 0.2, 0.4, 0.6, 0.8, 1.0], shard_size="1MB")
out, part = folder / "out", folder / "out.partial"

def clear():
    for path in out.iterdir():
        path.unlink()
    out.rmdir()

def start():
    child = os.fork()
    if child == 0:
        merge(plan, out)
        os._exit(0)
    return child

began = time.monotonic()
assert os.waitpid(start(), 0)[1] == 0
longest = time.monotonic() - began
wanted = contents(folder / "whole")
clear()
states = []
while sum(state != "over" for state in states) < kills:
    child = start()
    time.sleep(generator.uniform(0, longest))
    os.kill(child, signal.SIGKILL)
    killed = os.WIFSIGNALED(os.waitpid(child, 0)[1])
    if out.exists():
        assert {name: raw for name, raw in contents(out).items() if name[0] != "."} == wanted
        clear()
    done = len(read_units(part)) if part.exists() else None
    states.append(f"{done} units" if killed else "over")
    if part.exists() and generator.random() < 0.4:  # else all the later kills meet a merge that has little left to do
        shutil.rmtree(part)
print({state: states.count(state) for state in sorted(set(states))})
"""


@pytest.fixture
def small_units(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blockmerge.engine.units.UNIT", UNIT)
    monkeypatch.setattr("blockmerge.engine.chunks.CHUNK", UNIT)


@pytest.fixture
def plan(tmp_path: Path, small_units: None) -> Plan:
    a, b = write_llama(tmp_path / "a", **SIZES), write_llama(tmp_path / "b", seed=1, **SIZES)  # type: ignore[arg-type]
    return plan_for(a, b, WEIGHTS, shard_size="1MB")


@pytest.fixture
def wanted(plan: Plan, tmp_path: Path) -> dict[str, bytes]:
    merge(plan, tmp_path / "whole")
    return contents(tmp_path / "whole")


def start(folder: Path, after: int = -1, threads: int = 2) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(folder), str(after), str(UNIT), str(threads)],
        stdout=subprocess.PIPE,
        cwd=Path.cwd(),
    )


def kill_after(folder: Path, units: int, threads: int = 2) -> None:
    process = start(folder, units, threads)
    process.communicate(timeout=60)
    assert process.returncode == -9


def marks(folder: Path) -> dict[str, tuple[int, int]]:
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in sorted(folder.glob("*.safetensors"))}


@pytest.mark.parametrize("units", [1, 2, 5, 8])
def test_a_killed_merge_is_finished_by_the_next_one(
    plan: Plan, tmp_path: Path, wanted: dict[str, bytes], units: int
) -> None:
    kill_after(tmp_path, units)
    assert not (tmp_path / "out").exists()
    assert len(read_units(tmp_path / "out.partial")) >= units

    merge(plan, tmp_path / "out")

    assert contents(tmp_path / "out") == wanted
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "out", "whole"]


def test_finished_shards_are_not_touched(plan: Plan, tmp_path: Path) -> None:
    kill_after(tmp_path, 10, threads=1)  # in the order of their bytes
    part = tmp_path / "out.partial"
    before = marks(part)
    done = {block for record in read_units(part).values() for block in record.digests}
    finished = {
        shard.name
        for shard in plan.shards
        if done >= {(name, block) for name, blocks in count_blocks(shard.steps).items() for block in range(blocks)}
    }
    assert finished  # all of them, where the other thread was quick

    merge(plan, tmp_path / "out")

    after = marks(tmp_path / "out")
    assert {name: after[name] for name in finished} == {name: before[name] for name in finished}
    assert {name: inode for name, (inode, _) in after.items()} == {name: inode for name, (inode, _) in before.items()}


def test_a_kill_at_any_moment_never_shows_half_a_result(plan: Plan, tmp_path: Path, wanted: dict[str, bytes]) -> None:
    kills, seed = os.environ.get("BLOCKMERGE_KILLS", "3"), os.environ.get("BLOCKMERGE_KILLS_SEED", "0")

    done = subprocess.run(
        [sys.executable, "-c", KILLS, str(tmp_path), str(UNIT), kills, seed],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.stderr, done.returncode) == ("", 0)
    print(done.stdout)  # how many of the merges were killed, and in which state
    merge(plan, tmp_path / "out")
    assert contents(tmp_path / "out") == wanted


def test_a_unit_whose_bytes_are_gone_is_done_again(plan: Plan, tmp_path: Path, wanted: dict[str, bytes]) -> None:
    kill_after(tmp_path, 5)
    for path in (tmp_path / "out.partial").glob("*.safetensors"):
        raw = bytearray(path.read_bytes())
        raw[len(raw) // 2 :] = bytes(len(raw) - len(raw) // 2)  # what a power cut may leave
        path.write_bytes(raw)

    merge(plan, tmp_path / "out")

    assert contents(tmp_path / "out") == wanted


@pytest.mark.parametrize("cut", [0, 20, -5])
def test_a_journal_that_was_cut_counts_as_far_as_it_goes(
    plan: Plan, tmp_path: Path, wanted: dict[str, bytes], cut: int
) -> None:
    kill_after(tmp_path, 3)
    journal = tmp_path / "out.partial" / JOURNAL
    raw = journal.read_bytes()
    journal.write_bytes(raw[:cut])
    if cut >= 0:  # killed before anything was written
        for path in (tmp_path / "out.partial").glob("*.safetensors"):
            path.unlink()

    merge(plan, tmp_path / "out")

    assert contents(tmp_path / "out") == wanted


def test_the_rest_of_another_merge_is_left_alone(plan: Plan, tmp_path: Path) -> None:
    kill_after(tmp_path, 3)
    before = contents(tmp_path / "out.partial")
    other = plan_for(tmp_path / "a", tmp_path / "b", 0.3, shard_size="1MB")

    with pytest.raises(OutputExistsError) as caught:
        merge(other, tmp_path / "out")

    assert str(caught.value) == (
        f"{tmp_path / 'out.partial'} is left from a merge that did not finish with other models, another recipe or "
        "another version. Add --discard to delete it and start anew."
    )
    assert contents(tmp_path / "out.partial") == before
    merge(other, tmp_path / "out", discard=True)


def test_an_input_that_changed_meanwhile_makes_another_merge_of_it(plan: Plan, tmp_path: Path) -> None:
    kill_after(tmp_path, 3)
    os.utime(tmp_path / "a" / "model.safetensors", ns=(1, 1))

    with pytest.raises(OutputExistsError, match="--discard"):
        merge(plan_for(tmp_path / "a", tmp_path / "b", WEIGHTS, shard_size="1MB"), tmp_path / "out")


def test_a_merge_that_is_paused_keeps_what_is_finished(plan: Plan, tmp_path: Path, wanted: dict[str, bytes]) -> None:
    part = tmp_path / "out.partial"

    with pytest.raises(MergePausedError, match=r"^The merge was stopped\. Started again, it goes on"):
        merge(plan, tmp_path / "out", is_paused=lambda: len(read_units(part)) > 0)

    assert part.is_dir()
    merge(plan, tmp_path / "out")
    assert contents(tmp_path / "out") == wanted


def test_a_paused_merge_without_a_finished_unit_leaves_nothing(plan: Plan, tmp_path: Path) -> None:
    with pytest.raises(MergePausedError):
        merge(plan, tmp_path / "out", is_paused=lambda: True)

    assert not (tmp_path / "out.partial").exists() or read_units(tmp_path / "out.partial")


def test_a_merge_that_goes_on_and_is_cancelled_leaves_nothing(plan: Plan, tmp_path: Path) -> None:
    kill_after(tmp_path, 3)

    with pytest.raises(MergeCancelledError):
        merge(plan, tmp_path / "out", is_cancelled=lambda: True)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_fails_on_the_way_costs_only_what_is_not_finished(
    plan: Plan, tmp_path: Path, wanted: dict[str, bytes], code: int
) -> None:
    write = os.pwrite
    for seed in range(int(os.environ.get("BLOCKMERGE_FAULTS", "10"))):
        left = [random.Random(seed).randrange(1, 60)]

        def fail(fd: int, view: memoryview, offset: int, left: list[int] = left) -> int:
            left[0] -= 1
            if left[0] == 0:
                raise OSError(code, os.strerror(code))
            return write(fd, view, offset)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "pwrite", fail)
            with suppress(StorageError):  # the fault may lie behind the last write
                merge(plan, tmp_path / "out")
        if not (tmp_path / "out").exists():
            merge(plan, tmp_path / "out")

        assert contents(tmp_path / "out") == wanted
        for path in [*(tmp_path / "out").iterdir()]:
            path.unlink()
        (tmp_path / "out").rmdir()


@pytest.mark.parametrize("names", [(), (LOCK,), (LOCK, JOURNAL)])
def test_a_folder_in_which_nothing_was_done_is_no_hindrance(plan: Plan, tmp_path: Path, names: tuple[str, ...]) -> None:
    """Killed when the folder was just made, when it was locked, or when its journal was begun."""
    (tmp_path / "out.partial").mkdir()
    for name in names:
        (tmp_path / "out.partial" / name).touch()

    merge(plan, tmp_path / "out")

    assert (tmp_path / "out" / "config.json").is_file()
