"""Every method from file to file: the same numbers as in memory, to the bit, however the work is cut and shared out."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from blockmerge.checkpoints.models import open_models
from blockmerge.core.method import WeightKind
from blockmerge.core.plan import Action, Plan, make_plan
from blockmerge.core.recipe import parse_recipe
from blockmerge.kernels import KERNELS
from blockmerge.kernels.in_memory import merge_tensors
from blockmerge.kernels.kernel import Setting
from blockmerge.kernels.random_numbers import key_of
from tests.engine.merges import contents, merge
from tests.engine.oracle import read_raw
from tests.kernels.cases import CASES, Case, case, weights_for
from tests.tiny_models import write_llama

# Embeddings of three slices and a rest, rows of 192 numbers that fit no digest block, and tensors of one row.
SIZES = {"layers": 2, "hidden": 192, "vocab": 4500}
TORCH = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
SEED = 11

every_case = pytest.mark.parametrize("case", CASES, ids=str)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base in float32 and models in all three dtypes, in files of other layouts."""
    folder = tmp_path_factory.mktemp("models")
    write_llama(folder / "base", dtype="float32", seed=0, **SIZES)
    for seed, (key, dtype) in enumerate({"a": "bfloat16", "b": "float32", "c": "float16"}.items(), 1):
        write_llama(folder / key, dtype=dtype, seed=seed, shards=seed, **SIZES)
    return folder


def recipe_for(case: Case, folder: Path, weights: object = None, **output: object) -> str:
    keys = "abc"[: case.models]
    told = weights_for(case)
    if weights is not None:
        lines = weights
    elif case.entry.kind is WeightKind.STRENGTH:
        lines = {"layers": 0.75}
    elif case.entry.kind is WeightKind.SHARE and case.models == 2:
        lines = {"layers": told[1]}
    else:
        lines = {key: {"layers": weight} for key, weight in zip(keys, told, strict=True)}
    given = dict(case.parameters)
    if case.entry.kind is WeightKind.SHARE and case.models == 2:
        given.pop("normalize", None)
    return json.dumps(
        {
            "blockmerge": 1,
            "method": case.method,
            "models": {key: str(folder / key) for key in keys},
            "base": str(folder / "base") if case.has_base else None,
            "weights": lines,
            "parameters": given,
            "seed": SEED,
            "output": output,
        }
    )


def plan_for(case: Case, folder: Path, weights: object = None, **output: object) -> Plan:
    recipe = parse_recipe(recipe_for(case, folder, weights, **output))
    return make_plan(recipe, open_models(recipe.references))


def tensors_of(folder: Path) -> dict[str, Tensor]:
    return {
        name: torch.frombuffer(bytearray(raw), dtype=TORCH[code]).view(shape)
        for name, (code, shape, raw) in read_raw(folder).items()
    }


def in_memory(case: Case, plan: Plan) -> dict[str, Tensor]:
    """The result as one pure function of the tensors of each name."""
    inputs = {key: tensors_of(checkpoint.folder) for key, checkpoint in plan.checkpoints.items()}
    keys = "abc"[: case.models]
    result = {}
    for step in plan.steps:
        setting = Setting(
            weights=step.weights,
            parameters=step.parameters,
            elements=step.sources[0].tensor.elements,
            has_base=case.has_base,
            keys=tuple(key_of(SEED, key, step.name) for key in keys),
        )
        tensors = [inputs[source.model][step.name].float() for source in step.sources]
        strength = 1.0 if step.weights else step.weight
        scope = case.entry.scope_for(step.parameters)
        result[step.name] = merge_tensors(KERNELS[case.method], tensors, setting, scope, strength)
    return result


@every_case
def test_a_merge_of_files_is_the_merge_in_memory_rounded_once(case: Case, folder: Path, tmp_path: Path) -> None:
    plan = plan_for(case, folder, dtype="bfloat16")

    merge(plan, tmp_path / "out")

    written = tensors_of(tmp_path / "out")
    assert all(step.action is Action.BLEND for step in plan.steps)
    for name, wanted in in_memory(case, plan).items():
        assert torch.equal(written[name].view(torch.int16), wanted.bfloat16().view(torch.int16)), name


@every_case
def test_threads_chunks_and_units_change_no_bit(
    case: Case, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_for(case, folder)
    merge(plan, tmp_path / "out", threads=1)

    monkeypatch.setattr("blockmerge.engine.chunks.CHUNK", 3 << 20)
    monkeypatch.setattr("blockmerge.engine.units.UNIT", 10**6)
    monkeypatch.setattr("blockmerge.engine.schedule.WINDOW_TENSORS", 2)
    monkeypatch.setattr("blockmerge.engine.read_ahead.WINDOW", 10**6)
    merge(plan, tmp_path / "again", threads=3)

    assert contents(tmp_path / "out") == contents(tmp_path / "again")


def sample_small_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if they were large."""
    monkeypatch.setattr("blockmerge.kernels.ranks.LARGE", 1)
    monkeypatch.setattr("blockmerge.kernels.kernel._RUNS", 8)
    monkeypatch.setattr("blockmerge.kernels.kernel._RUN", 1000)


@pytest.mark.parametrize("case", [case for case in CASES if case.method.startswith(("ties", "breadcrumbs"))], ids=str)
def test_a_threshold_that_was_looked_for_near_that_of_a_sample_is_the_same(
    case: Case, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_for(case, folder)
    merge(plan, tmp_path / "out")

    sample_small_tensors(monkeypatch)
    merge(plan, tmp_path / "again", threads=3)

    assert contents(tmp_path / "out") == contents(tmp_path / "again")


@pytest.mark.parametrize("wanted", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("method", [case("ties", 3), case("slerp", 2), case("della", 3)], ids=str)
def test_all_dtypes_come_in_and_go_out(method: Case, wanted: str, folder: Path, tmp_path: Path) -> None:
    plan = plan_for(method, folder, dtype=wanted)

    merge(plan, tmp_path / "out")

    written = tensors_of(tmp_path / "out")
    for name, exact in in_memory(method, plan).items():
        assert torch.equal(written[name], exact.to(getattr(torch, wanted))), name


def test_two_processes_with_other_hash_seeds_make_the_same_files(folder: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.json"
    recipe.write_text(recipe_for(case("dare_ties", 3), folder))

    for seed in "01":
        command = [sys.executable, "-m", "blockmerge", "merge", str(recipe), "--out", str(tmp_path / seed)]
        environ = {**os.environ, "PYTHONHASHSEED": seed}
        subprocess.run(command, env=environ, check=True, capture_output=True)

    assert contents(tmp_path / "0") == contents(tmp_path / "1")


def test_another_seed_is_another_result(folder: Path, tmp_path: Path) -> None:
    text = recipe_for(case("dare_linear", 2), folder)
    plans = [
        make_plan(recipe, open_models(recipe.references))
        for recipe in (parse_recipe(text), parse_recipe(text.replace('"seed": 11', '"seed": 12')))
    ]

    digests = [merge(plan, tmp_path / str(number)).digest for number, plan in enumerate(plans)]

    assert digests[0] != digests[1]


AMOUNTS = [one for one in CASES if one.entry.kind is WeightKind.AMOUNT]
STRENGTHS = [one for one in CASES if one.entry.kind is WeightKind.STRENGTH]
SHARES = [one for one in CASES if one.entry.kind is WeightKind.SHARE]


@pytest.mark.parametrize("case", AMOUNTS, ids=str)
def test_amounts_of_zero_are_the_base_to_the_bit(case: Case, folder: Path, tmp_path: Path) -> None:
    merge(plan_for(case, folder, {key: {"layers": 0} for key in "abc"[: case.models]}), tmp_path / "out")

    assert read_raw(tmp_path / "out") == read_raw(folder / "base")


@pytest.mark.parametrize("case", STRENGTHS, ids=str)
def test_a_strength_of_zero_is_the_owner_to_the_bit(case: Case, folder: Path, tmp_path: Path) -> None:
    merge(plan_for(case, folder, {"layers": 0}), tmp_path / "out")

    assert read_raw(tmp_path / "out") == read_raw(folder / ("base" if case.has_base else "a"))


@pytest.mark.parametrize("case", SHARES, ids=str)
@pytest.mark.parametrize("whole", range(3))
def test_a_whole_share_is_that_model(case: Case, whole: int, folder: Path, tmp_path: Path) -> None:
    whole = min(whole, case.models - 1)
    key = "abc"[whole]
    if case.models == 2:
        weights: object = {"layers": whole}
    else:
        weights = {name: {"layers": int(name == key)} for name in "abc"[: case.models]}
    plan = plan_for(case, folder, weights, dtype={"a": "bfloat16", "b": "float32", "c": "float16"}[key])

    merge(plan, tmp_path / "out")

    assert {step.action for step in plan.steps} == {Action.COPY}
    assert read_raw(tmp_path / "out") == read_raw(folder / key)


def test_the_whole_difference_of_one_model_is_that_model(folder: Path, tmp_path: Path) -> None:
    weights = {"a": {"layers": 0}, "b": {"layers": 1}}

    merge(plan_for(case("task_arithmetic", 2), folder, weights), tmp_path / "out")

    assert read_raw(tmp_path / "out") == read_raw(folder / "b")
