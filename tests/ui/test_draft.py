"""A merge in the making: what the page says about two models, and what it lets into the queue."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from blockmerge.checkpoints.library import Library
from blockmerge.errors import InputError, JobRequestError
from blockmerge.jobs.states import JobState
from blockmerge.ui.draft import CHOOSE, Draft, Drafting
from blockmerge.ui.equaliser.grid import Grid
from blockmerge.ui.forms import DEFAULT_SHARD_SIZE, Form
from blockmerge.ui.tabs import Context
from tests.tiny_models import write_checkpoint, write_llama
from tests.ui.conftest import Bench

EMPTY = Form("", "", None, "", DEFAULT_SHARD_SIZE)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    root = tmp_path / "models"
    write_llama(root / "left", layers=4, seed=1)
    write_llama(root / "right", layers=4, seed=2)
    write_llama(root / "deep", layers=6, seed=3)
    write_llama(root / "wide", layers=4, hidden=64, seed=4)
    return root


@pytest.fixture
def drafting(bench: Bench, models: Path) -> Drafting:
    return Drafting(Context(bench.settings, bench.store, Library((models,), any_path=False)))


def pair(a: str = "left", b: str = "right", **fields: object) -> Form:
    return replace(EMPTY, a=a, b=b, **fields)  # type: ignore[arg-type]


def said(lines: object) -> list[str]:
    assert isinstance(lines, list | tuple)
    return ["".join(text for _, text in line.parts) for line in lines]


def grid_of(draft: Draft) -> Grid:
    assert draft.grid is not None
    return draft.grid


def test_with_nothing_chosen_it_asks_for_two_models(drafting: Drafting) -> None:
    draft = drafting.look(EMPTY)

    assert said(draft.bar) == [CHOOSE]
    assert (draft.grid, draft.plan, draft.ready) == (None, None, False)


def test_one_model_is_described_while_the_other_is_not_chosen(drafting: Drafting) -> None:
    draft = drafting.look(pair(b=""))

    assert said(draft.facts[0])[:2] == ["llama", "4 layers"]
    assert said(draft.facts[1]) == []
    assert not draft.ready


def test_a_pair_that_fits_gets_a_grid_a_sentence_and_a_name(drafting: Drafting) -> None:
    draft = drafting.look(pair())

    assert said(draft.checks) == [
        "These two can be merged. 39 of 39 tensors match.",
        "Neither A nor B brings tokenizer files, so the rows of the embeddings are matched by number.",
    ]
    assert grid_of(draft).lines == {("layers", "layers"): (0.5,) * 4}
    assert (grid_of(draft).a, grid_of(draft).b) == ("left", "right")
    assert said(draft.formula) == [
        "Merged = left × (1 − w) + right × w, with w = 0.50. 0 layers are copied, 4 computed."
    ]
    assert draft.name == "left-x-right"
    assert draft.ready


def test_models_of_other_depth_are_refused_with_both_numbers(drafting: Drafting) -> None:
    draft = drafting.look(pair(b="deep"))

    assert said(draft.checks) == [
        "These two cannot be merged.",
        "A has 4 layers, B has 6. A blend needs the same number. Choose another B.",
    ]
    assert (draft.grid, draft.ready) == (None, False)


def test_a_folder_that_is_no_model_is_named(drafting: Drafting, models: Path) -> None:
    (models / "left" / "config.json").unlink()
    drafting = replace(drafting, context=replace(drafting.context, library=Library((models,), any_path=True)))

    draft = drafting.look(pair(a=str(models / "left")))

    assert said(draft.checks)[1] == (
        "Model A: left has no config.json. Choose the folder that holds config.json and the weight files."
    )


def test_a_shard_that_is_cut_short_is_named(drafting: Drafting, models: Path) -> None:
    file = models / "right" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-10])

    draft = drafting.look(pair())

    assert said(draft.checks)[0] == "These two cannot be merged."
    assert said(draft.checks)[1].startswith("Model B: model.safetensors is cut short: ")


def test_a_file_without_layers_is_told_like_any_other_problem(drafting: Drafting, models: Path) -> None:
    write_checkpoint(models / "bare", {"weight": np.zeros((2, 2), np.float32)}, {"model_type": "none"}, dtype="float32")

    draft = drafting.look(pair(b="bare"))

    assert said(draft.checks)[1].startswith("Model B: No layers were found in the names of the tensors")


def test_weights_stay_when_another_pair_of_the_same_depth_is_chosen(drafting: Drafting) -> None:
    grid = grid_of(drafting.look(pair()))
    drawn = replace(grid, lines={("layers", "layers"): (0.0, 0.25, 0.75, 1.0)}, shape="Rise, edited")

    swapped = drafting.look(pair(a="right", b="left", grid=drawn))

    assert grid_of(swapped).lines == drawn.lines
    assert grid_of(swapped).a == "right"
    assert "2 layers are copied, 2 computed." in said(swapped.formula)[0]


def test_a_job_in_line_says_what_the_page_showed(drafting: Drafting, bench: Bench) -> None:
    draft = drafting.look(pair())
    drawn = replace(grid_of(draft), lines={("layers", "layers"): (0.0, 0.25, 0.75, 1.0)}, shape="Mine")

    number = drafting.add(pair(grid=drawn, name="mine"))

    job = bench.store.get(number)
    assert (job.name, job.state, job.models, job.shape) == ("mine", JobState.WAITING, ("left", "right"), "Mine")
    assert job.weights == (0.0, 0.25, 0.75, 1.0)
    assert job.out == bench.settings.output / "mine"
    assert yaml.safe_load(job.recipe)["weights"]["layers"] == [0.0, 0.25, 0.75, 1.0]


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        (EMPTY, CHOOSE),
        (pair(b="wide"), "These two cannot be merged."),
        (pair(name="../up"), "Use letters, digits, dot, dash and underscore only."),
        (pair(name="con"), "con is the name of a device on Windows. Choose another name."),
        (pair(shard_size="lots"), "This cannot be merged."),
    ],
)
def test_what_cannot_be_merged_never_comes_into_the_queue(
    drafting: Drafting, bench: Bench, form: Form, expected: str
) -> None:
    with pytest.raises(InputError) as caught:
        drafting.add(form)

    assert caught.value.problems[0] == expected
    assert bench.store.recent(10) == ()


def test_a_result_is_never_overwritten(drafting: Drafting, bench: Bench) -> None:
    (bench.settings.output / "mine").mkdir(parents=True)

    draft = drafting.look(pair(name="mine"))
    with pytest.raises(JobRequestError) as caught:
        drafting.add(pair(name="mine"))

    assert str(caught.value) == f"{bench.settings.output / 'mine'} exists already. Choose another name."
    assert not draft.ready
    assert said(draft.bar) == [str(caught.value)]


def test_a_name_in_line_is_taken_and_the_next_one_is_offered(drafting: Drafting) -> None:
    drafting.add(pair(name="mine"))

    assert said(drafting.look(pair(name="mine")).bar) == [
        "A job of the name mine is in line already. Choose another name."
    ]
    assert drafting.free_name("mine") == "mine-2"
    drafting.add(pair(name="mine-2"))
    assert drafting.free_name("mine") == "mine-3"
    assert drafting.free_name("mine-2") == "mine-3"


def test_a_merge_that_does_not_fit_on_the_disk_is_refused(drafting: Drafting, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))

    draft = drafting.look(pair())

    assert not draft.ready
    assert said(draft.bar) == [
        "The result does not fit on this disk. Free some space, or set BLOCKMERGE_OUTPUT to another disk."
    ]
