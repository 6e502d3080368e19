"""A result appears under its name whole or not at all, and nothing of the user's is lost."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from threading import Lock

import pytest
from filelock import FileLock

from blockmerge.checkpoints.manifest import Manifest, TensorEntry, write_manifest
from blockmerge.core.plan import Plan
from blockmerge.core.progress import Progress, Stage
from blockmerge.core.tensors import DType
from blockmerge.engine.target import LOCK, Target, part_folder
from blockmerge.errors import MergeCancelledError, OutputExistsError, PlanError, StorageError
from tests.engine.merges import contents, merge, plan_for
from tests.tiny_models import write_llama


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return plan_for(write_llama(tmp_path / "a"), write_llama(tmp_path / "b", seed=1), 0.5)


@pytest.fixture
def taken(tmp_path: Path) -> Path:
    """A folder of the user's where the result should go."""
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    return folder


@pytest.fixture
def result(taken: Path) -> Path:
    """An older result, and something of the user's in it."""
    entry = TensorEntry(DType.FLOAT32, (1,), "00")
    write_manifest(taken, Manifest("0", "blockmerge: 1\n", "0", "x86_64", {"w": entry}))
    return taken


def at(stage: Stage, act: Callable[[], object]) -> Callable[[Progress], None]:
    """A report that acts when the stage is reported for the first time."""
    acts = [act]

    def report(progress: Progress) -> None:
        if progress.stage is stage and acts:
            acts.pop()()

    return report


def refused(kind: type[Exception], plan: Plan, target: Path, **options: bool) -> str:
    before = contents(target.parent)
    with pytest.raises(kind) as caught:
        merge(plan, target, **options)
    assert contents(target.parent) == before
    return str(caught.value)


def test_a_folder_that_exists_is_refused(plan: Plan, taken: Path) -> None:
    assert refused(OutputExistsError, plan, taken) == (
        f"{taken} exists already. Choose another name, or add --overwrite to replace it."
    )


def test_a_file_is_never_replaced(plan: Plan, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")

    assert refused(OutputExistsError, plan, tmp_path / "out", overwrite=True) == (
        f"{tmp_path / 'out'} is a file. Choose another name."
    )


def test_the_folder_that_one_is_in_is_never_replaced(plan: Plan, taken: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(taken)

    assert refused(OutputExistsError, plan, Path(), overwrite=True) == (
        ". is the folder you are in, or one above it. Choose another name."
    )


@pytest.mark.parametrize("inside", [".", "sub", "../a"])
@pytest.mark.parametrize("overwrite", [True, False])
def test_an_output_in_an_input_is_refused(plan: Plan, tmp_path: Path, inside: str, overwrite: bool) -> None:
    out = tmp_path / "a" / inside

    assert refused(PlanError, plan, out, overwrite=overwrite) == (
        f"{out} lies in the same place as model a, {tmp_path / 'a'}. Choose another folder."
    )


def test_an_output_around_the_inputs_is_refused(tmp_path: Path) -> None:
    plan = plan_for(write_llama(tmp_path / "out" / "a"), write_llama(tmp_path / "b", seed=1), 0.5)

    sentence = refused(PlanError, plan, tmp_path / "out", overwrite=True)

    assert sentence.startswith(f"{tmp_path / 'out'} lies in the same place as model a")


def test_an_output_in_an_input_is_seen_through_a_link(plan: Plan, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "b")

    assert "lies in the same place as model b" in refused(PlanError, plan, tmp_path / "link" / "out")


@pytest.mark.parametrize("suffix", [".partial", ".old"])
def test_a_model_is_not_taken_for_the_rest_of_a_merge(tmp_path: Path, suffix: str) -> None:
    a = write_llama(tmp_path / f"out{suffix}")
    plan = plan_for(a, write_llama(tmp_path / "b", seed=1), 0.5)

    assert refused(PlanError, plan, tmp_path / "out", overwrite=True, discard=True) == (
        f"{a} lies in the same place as model a, {a}. Choose another folder."
    )


def test_overwrite_does_not_replace_what_is_no_result(plan: Plan, taken: Path) -> None:
    assert refused(OutputExistsError, plan, taken, overwrite=True) == (
        f"{taken} holds no result of blockmerge, so it is not replaced. "
        "Choose another name, or delete that folder yourself."
    )


def test_overwrite_replaces_an_empty_folder(plan: Plan, taken: Path) -> None:
    (taken / "mine.txt").unlink()

    merge(plan, taken, overwrite=True)

    assert (taken / "model.safetensors").is_file()


def test_overwrite_replaces_the_folder_only_when_the_new_one_is_whole(plan: Plan, result: Path) -> None:
    seen: list[dict[str, bytes]] = []
    before = contents(result)

    merge(plan, result, overwrite=True, report=lambda _: seen.append(contents(result)))

    assert all(found == before for found in seen)
    assert "mine.txt" not in contents(result)
    assert (result / "model.safetensors").is_file()
    assert sorted(path.name for path in result.parent.iterdir()) == ["a", "b", "out"]


def test_overwrite_keeps_the_folder_when_the_merge_is_cancelled(plan: Plan, result: Path) -> None:
    before = contents(result)

    with pytest.raises(MergeCancelledError):
        merge(plan, result, overwrite=True, is_cancelled=lambda: True)

    assert contents(result) == before
    assert sorted(path.name for path in result.parent.iterdir()) == ["a", "b", "out"]


def test_overwrite_follows_a_link_and_keeps_it(plan: Plan, result: Path) -> None:
    link = result.parent / "link"
    link.symlink_to(result)

    merge(plan, link, overwrite=True)

    assert link.is_symlink()
    assert (result / "model.safetensors").is_file()
    assert "mine.txt" not in contents(result)


def test_overwrite_does_not_take_a_folder_where_the_old_one_would_wait(plan: Plan, result: Path) -> None:
    old = result.with_name("out.old")
    old.mkdir()

    assert refused(OutputExistsError, plan, result, overwrite=True) == (
        f"{old} is in the way: the old result would wait there. Rename or delete it."
    )


def test_a_folder_that_comes_during_the_merge_is_not_replaced(plan: Plan, tmp_path: Path) -> None:
    def come() -> None:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "mine.txt").write_text("mine")

    with pytest.raises(OutputExistsError, match="exists already"):
        merge(plan, tmp_path / "out", report=at(Stage.VERIFY, come))

    assert contents(tmp_path / "out") == {"mine.txt": b"mine"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "out"]


def test_the_rest_of_an_unfinished_merge_is_not_deleted_in_silence(plan: Plan, tmp_path: Path) -> None:
    partial = tmp_path / "out.partial"
    (partial / "sub").mkdir(parents=True)
    (partial / "sub" / "model.safetensors").write_bytes(b"half")

    assert refused(OutputExistsError, plan, tmp_path / "out") == (
        f"{partial} is left from a merge that did not finish. Add --discard to delete it and start anew."
    )

    merge(plan, tmp_path / "out", discard=True)

    assert "sub" not in {path.name for path in (tmp_path / "out").iterdir()}
    assert not partial.exists()


def test_two_merges_do_not_write_the_same_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = Target(tmp_path / "out", discard=True)
    target.partial.mkdir()
    monkeypatch.setattr("blockmerge.engine.target.PATIENCE", 0.1)

    with (
        FileLock(target.partial / LOCK),
        pytest.raises(OutputExistsError, match=r"is being written by another merge\. Wait for it, or cancel it\."),
        part_folder(target, {}),
    ):
        pass

    assert target.partial.is_dir()


def test_a_merge_that_follows_one_that_is_just_removing_its_folder_finds_it_whole_or_gone(tmp_path: Path) -> None:
    """As after a worker's death: its merge still ends while a colleague's begins at the same place."""
    target, inside = Target(tmp_path / "out"), Lock()

    def attempts(_: int) -> None:
        for _ in range(25):
            with suppress(MergeCancelledError), part_folder(target, {"merge": "the same"}):
                with ExitStack() as stack:
                    assert inside.acquire(blocking=False), "two merges are in one folder"
                    stack.callback(inside.release)
                    for number in range(20):
                        (target.partial / f"model-{number}.safetensors").write_bytes(b"half")
                raise MergeCancelledError

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(attempts, range(4)))

    assert not target.partial.exists()


def test_folders_above_are_made_and_go_again_when_the_merge_is_cancelled(plan: Plan, tmp_path: Path) -> None:
    with pytest.raises(MergeCancelledError):
        merge(plan, tmp_path / "new" / "deep" / "out", is_cancelled=lambda: True)

    assert not (tmp_path / "new").exists()

    merge(plan, tmp_path / "new" / "deep" / "out")

    assert (tmp_path / "new" / "deep" / "out" / "model.safetensors").is_file()


@pytest.mark.parametrize("name", ["file/out", "n" * 300])
def test_a_folder_that_cannot_be_made_is_a_sentence(plan: Plan, tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(StorageError, match=r"cannot be made: .+\. Choose another folder\."):
        merge(plan, tmp_path / "above" / ".." / name)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "file"]
