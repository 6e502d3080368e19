import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from blockmerge.checkpoints.verify import verify_result
from blockmerge.checkpoints.writer import index_json
from blockmerge.core.plan import OutputShard, Plan
from blockmerge.core.progress import Progress, Stage
from blockmerge.core.tensors import DType
from blockmerge.errors import MergeCancelledError, VerifyError
from tests.checkpoints.planned import FIRST, SECOND, open_input, single_file, step_of, two_shards, write_result

INDEX = "model.safetensors.index.json"
AGAIN = "Merge again; if it happens twice, check the disk and the memory of this machine."


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return two_shards(open_input(tmp_path / "input"))


@pytest.fixture
def result(plan: Plan, tmp_path: Path) -> Path:
    return write_result(plan, tmp_path / "result")


def verify(folder: Path, plan: Plan, *, read_data: bool = False) -> list[Progress]:
    told: list[Progress] = []
    verify_result(folder, plan, report=told.append, is_cancelled=lambda: False, read_data=read_data)
    return told


def problems_of(folder: Path, plan: Plan, *, read_data: bool = False) -> tuple[str, ...]:
    with pytest.raises(VerifyError) as caught:
        verify(folder, plan, read_data=read_data)
    *problems, last = caught.value.problems
    assert last == AGAIN
    return tuple(problems)


def flip(path: Path, offset: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[offset] ^= 1
    path.write_bytes(raw)


def other(plan: Plan, change: Callable[[OutputShard], OutputShard]) -> Plan:
    """The plan with its second shard changed."""
    return replace(plan, shards=(plan.shards[0], change(plan.shards[1])))


def test_a_result_that_is_what_its_plan_says_passes(result: Path, plan: Plan) -> None:
    assert verify(result, plan) == [
        Progress(Stage.VERIFY, 0, plan.nbytes),
        Progress(Stage.VERIFY, plan.nbytes, plan.nbytes),
    ]


def test_reading_all_bytes_tells_how_far_it_is(result: Path, plan: Plan) -> None:
    told = verify(result, plan, read_data=True)

    assert [progress.done for progress in told] == [0, 2**20, 2**20 + 20, 2**20 + 32, plan.nbytes, plan.nbytes]
    assert {progress.total for progress in told} == {plan.nbytes}
    assert told[1].detail == FIRST


def test_a_single_file_passes(tmp_path: Path) -> None:
    plan = single_file(open_input(tmp_path / "input"))

    assert verify(write_result(plan, tmp_path / "result"), plan, read_data=True)


@pytest.mark.parametrize(
    ("offset", "tensor", "file"),
    [(-1, "flag", SECOND), (-13, "half", SECOND), (-1, "large", FIRST), (-(2**20), "large", FIRST)],
)
def test_a_flipped_bit_is_found_by_reading_the_data(
    result: Path, plan: Plan, offset: int, tensor: str, file: str
) -> None:
    flip(result / file, offset)

    verify(result, plan)
    assert problems_of(result, plan, read_data=True) == (
        f"'{tensor}' in {file} does not hold the bytes that were written.",
    )


def test_a_shard_that_is_cut_short_is_named(result: Path, plan: Plan) -> None:
    raw = (result / SECOND).read_bytes()
    (result / SECOND).write_bytes(raw[:-1])

    assert problems_of(result, plan) == (
        f"{SECOND} is not the file that was written: its size or its digest differs from blockmerge.json.",
        f"{SECOND} is cut short: {len(raw) - 1} of {len(raw)} bytes are there. Download it again.",
    )


@pytest.mark.parametrize("name", [FIRST, INDEX, "config.json", "sub/notes.txt"])
def test_a_file_that_is_missing_is_named(result: Path, plan: Plan, name: str) -> None:
    (result / name).unlink()

    assert problems_of(result, plan) == (f"{name} is missing in the result.",)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_a_side_file_that_changed_is_named(result: Path, plan: Plan, name: str) -> None:
    flip(result / name, 3)

    assert problems_of(result, plan) == (
        f"{name} is not the file that was written: its size or its digest differs from blockmerge.json.",
    )


def test_a_file_that_the_manifest_does_not_know_is_named(result: Path, plan: Plan) -> None:
    edit_manifest(result, lambda value: value["files"].pop("config.json"))

    assert problems_of(result, plan) == ("blockmerge.json does not name config.json.",)


def test_an_index_of_another_plan_is_refused(result: Path, plan: Plan) -> None:
    changed = index_json(plan).replace(SECOND.encode(), FIRST.encode())
    (result / INDEX).write_bytes(changed)

    assert problems_of(result, plan)[-1] == f"{INDEX} does not match the plan."


def test_an_index_beside_a_single_file_is_refused(tmp_path: Path) -> None:
    plan = single_file(open_input(tmp_path / "input"))
    folder = write_result(plan, tmp_path / "result")
    (folder / INDEX).write_text("{}")

    assert problems_of(folder, plan) == (f"{INDEX} is there, but the result has one file only.",)


def test_another_recipe_is_refused(result: Path, plan: Plan) -> None:
    assert problems_of(result, replace(plan, canonical="other")) == (
        "blockmerge.json holds another recipe than the plan's.",
        f"The metadata of {FIRST} does not hold the plan's recipe.",
        f"The metadata of {SECOND} does not hold the plan's recipe.",
    )


def test_a_tensor_of_another_kind_is_named(result: Path, plan: Plan) -> None:
    half = step_of("half", DType.FLOAT16, (3, 2))

    assert problems_of(result, other(plan, lambda shard: replace(shard, steps=(half, shard.steps[1])))) == (
        "blockmerge.json says that 'half' is bfloat16 [2, 3], the plan says float16 [3, 2].",
        f"'half' in {SECOND} is bfloat16 [2, 3], the plan says float16 [3, 2].",
    )


def test_a_tensor_too_few_is_named(result: Path, plan: Plan) -> None:
    more = step_of("more", DType.FLOAT32, (0,))

    problems = problems_of(result, other(plan, lambda shard: replace(shard, steps=(*shard.steps, more))))

    assert problems == (
        "blockmerge.json lacks the tensor 'more'.",
        f"{INDEX} does not match the plan.",
        f"{SECOND} lacks the tensor 'more'.",
    )


def test_a_tensor_too_many_is_named(result: Path, plan: Plan) -> None:
    problems = problems_of(result, other(plan, lambda shard: replace(shard, steps=shard.steps[:1])))

    assert problems == (
        "blockmerge.json names the tensor 'flag', which is not in the plan.",
        f"{INDEX} does not match the plan.",
        f"{SECOND} holds 'flag', which is not in the plan.",
    )


def test_tensors_in_another_order_are_named(result: Path, plan: Plan) -> None:
    assert problems_of(result, other(plan, lambda shard: replace(shard, steps=shard.steps[::-1]))) == (
        f"{SECOND} holds 'half' in the place of 'flag'.",
    )


def test_somebody_may_cancel_while_the_data_is_read(result: Path, plan: Plan) -> None:
    answers = iter([False, True])

    with pytest.raises(MergeCancelledError) as caught:
        verify_result(result, plan, report=lambda _: None, is_cancelled=lambda: next(answers), read_data=True)

    assert str(caught.value) == "The merge was cancelled while its result was checked."


def edit_manifest(folder: Path, edit: Callable[[dict[str, dict[str, object]]], object]) -> None:
    path = folder / "blockmerge.json"
    value = json.loads(path.read_text())
    edit(value)
    path.write_text(json.dumps(value))
