"""A merge in the making: what the page says about two models, and what it lets into the queue."""

import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from blockmerge.checkpoints.library import Library
from blockmerge.errors import InputError, JobRequestError
from blockmerge.jobs.states import JobState
from blockmerge.ui.draft import Draft, Drafting
from blockmerge.ui.equaliser.grid import Grid
from blockmerge.ui.forms import Form
from blockmerge.ui.globs import globs_of, without_globs
from blockmerge.ui.lines.line import Line
from blockmerge.ui.loader.loader import Opening
from blockmerge.ui.mends import mended
from blockmerge.ui.plan_views import single_tensors
from blockmerge.ui.tabs import Context
from tests.tiny_models import write_checkpoint, write_llama, write_tokenizer
from tests.ui.conftest import Bench

EMPTY = Form({})
CHOOSE = "Choose two models to see what the merge needs."


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
    return Drafting(Context(bench.settings, bench.store, Library((models,), any_path=False), bench.identity))


def pair(a: str = "left", b: str = "right", **fields: object) -> Form:
    return replace(EMPTY, models={"a": a, "b": b}, **fields)  # type: ignore[arg-type]


def said(lines: Sequence[Line]) -> list[str]:
    """All but what is folded, and buttons."""
    return [line.text for line in lines if line.text and not line.inside]


def acts(lines: Sequence[Line]) -> list[tuple[str, str]]:
    return [(act.label, act.do or act.at) for line in lines for act in line.acts]


def fold(draft: Draft) -> Line:
    return draft.checks[-1]


def grid_of(draft: Draft) -> Grid:
    assert draft.grid is not None
    return draft.grid


def test_with_nothing_chosen_it_asks_for_two_models(drafting: Drafting) -> None:
    draft = drafting.look(EMPTY)

    assert said(draft.bar) == [CHOOSE]
    assert (draft.grid, draft.plan, draft.ready) == (None, None, False)


def test_one_model_is_described_while_the_other_is_not_chosen(drafting: Drafting) -> None:
    draft = drafting.look(pair(b=""))

    assert said(draft.facts["a"])[:2] == ["llama", "4 layers"]
    assert "b" not in draft.facts
    assert not draft.ready


def test_a_pair_that_fits_gets_a_grid_a_sentence_and_a_name(drafting: Drafting) -> None:
    draft = drafting.look(pair())

    assert said(draft.checks) == [
        "These two can be merged. 39 of 39 tensors match.",
        "Neither A nor B brings tokenizer files, so the rows of the embeddings are matched by number.",
    ]
    assert grid_of(draft).lines == {("layers", "layers"): (0.5,) * 4}
    assert (grid_of(draft).meaning.a, grid_of(draft).meaning.b) == ("left", "right")
    assert said(draft.formula) == [
        "Merged = left × (1 − w) + right × w, with w = 0.50. 0 layers are copied, 4 computed."
    ]
    assert draft.name == "left-x-right"
    assert draft.ready


def test_what_was_checked_is_folded_while_all_of_it_passes(drafting: Drafting) -> None:
    checks = fold(drafting.look(pair()))

    assert (checks.text, checks.is_open) == ("8 checks passed", False)
    assert {line.kind for line in checks.inside} == {"ok"}
    assert [line.text for line in checks.inside[:7]] == [
        "Files: the headers of 2 weight files are read, and none is missing.",
        "Kind: llama, with 4 layers in each.",
        "Tensors: 39 of 39 match in name and shape.",
        "Numbers: bfloat16, not quantised.",
        "Vocabulary: no model brings tokenizer files, so rows are matched by number.",
        "Weights: one for each block, each in the range of the method.",
        "Name: left-x-right is free.",
    ]
    assert re.fullmatch(r"Disk: [\d.]+ kB are needed, .* are free\.", checks.inside[7].text)


def test_a_check_that_fails_opens_the_fold_and_a_button_mends_it(drafting: Drafting) -> None:
    drafting.add(pair(name="mine"))

    draft = drafting.look(pair(name="mine"))

    assert (fold(draft).text, fold(draft).is_open) == ("7 of 8 checks passed", True)
    [wrong] = [line.text for line in fold(draft).inside if line.kind == "bad"]
    assert wrong == "A job of the name mine is in line already. Choose another name."
    assert acts(draft.bar) == [("Use mine-2", "name")]
    assert drafting.other_name("mine") == "mine-2"


def test_a_name_that_no_folder_can_have_gets_one_like_it(drafting: Drafting) -> None:
    assert acts(drafting.look(pair(name="../Up here")).bar) == [("Use up-here", "name")]
    assert acts(drafting.look(pair(name="con")).bar) == []  # and there is none like it
    assert drafting.other_name("a" * 100) == "a" * 93


def test_models_that_do_not_fit_are_chosen_again_with_a_button(drafting: Drafting) -> None:
    assert acts(drafting.look(pair(b="deep")).checks) == [("Choose another B", "model-b")]
    assert acts(drafting.look(pair(a="gone")).checks) == [("Choose another A", "model-a")]


def test_weights_that_the_method_does_not_take_are_brought_inside_with_a_button(drafting: Drafting) -> None:
    grid = grid_of(drafting.look(pair()))
    beyond = replace(
        grid, lines={("layers", "layers"): (-0.5, 0.25, 0.75, 1.5)}, rows={**grid.rows, (None, "head"): 2.0}
    )
    form = pair(grid=beyond, method="slerp")

    assert acts(drafting.look(form).checks) == [("Bring all weights into 0 to 1", "inside")]

    inside = mended(form, "inside")
    assert grid_of(drafting.look(inside)).lines == {("layers", "layers"): (0.0, 0.25, 0.75, 1.0)}
    assert drafting.look(inside).ready


def test_shares_of_three_that_do_not_sum_to_1_are_scaled_with_a_button(drafting: Drafting, models: Path) -> None:
    write_llama(models / "third", layers=4, seed=5)
    form = replace(EMPTY, models={"a": "left", "b": "right", "c": "third"}, parameters={"normalize": False})

    assert acts(drafting.look(form).checks) == [("Scale the shares to a sum of 1", "normalize")]
    assert drafting.look(mended(form, "normalize")).ready


def test_other_tokenizers_are_taken_with_a_button(drafting: Drafting, models: Path) -> None:
    for name, vocab in (("left", 64), ("right", 60)):
        write_tokenizer(models / name, vocab=vocab)

    draft = drafting.look(pair())

    assert acts(draft.checks) == [("Take the tokenizer of B", "tokenizer")]
    assert mended(pair(), "tokenizer").tokenizer == "b"
    assert acts(drafting.look(pair(tokenizer="b")).checks) == [("Take the tokenizer of A", "tokenizer")]


@pytest.mark.parametrize("asked", ["", "name", "inside", "delete everything"])
def test_a_button_that_there_is_not_mends_nothing(asked: str) -> None:
    with pytest.raises(JobRequestError, match=r"^This was not understood\. Reload the page\.$"):
        mended(EMPTY, asked)


def test_the_name_of_a_shape_is_known_again(drafting: Drafting) -> None:
    text = "blockmerge: 1\nmodels: {{a: left, b: right}}\nweights: {{layers: {}}}\n"
    rise, own = text.format("[0, 0.333, 0.667, 1]"), text.format("[0, 0.1, 0, 1]")

    def shape_of(*told: str) -> str:
        return grid_of(drafting.look(drafting.fill(Opening(*told)))).shape

    assert shape_of(rise, "") == "Rise"
    assert shape_of(own, "") == "From a recipe"
    assert shape_of(own, "", "Late rise, edited") == "Late rise, edited"


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
    assert grid_of(swapped).meaning.a == "right"
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


def test_a_method_with_a_base_says_what_is_missing_and_then_has_a_line_for_each_model(drafting: Drafting) -> None:
    write_llama(drafting.context.settings.output / "base", layers=4, seed=9)
    library = Library((*drafting.context.library._roots, drafting.context.settings.output), any_path=False)
    drafting = replace(drafting, context=replace(drafting.context, library=library))

    without = drafting.look(pair(method="ties"))
    draft = drafting.look(pair(method="ties", base="base"))

    assert said(without.bar) == ["Choose the base to see what the merge needs."]
    assert [stack.name for stack in grid_of(draft).blocks.stacks] == ["a", "b"]
    assert grid_of(draft).meaning.models == {"a": "left", "b": "right"}
    assert said(draft.checks)[0] == "These 3 can be merged. 39 of 39 tensors match."
    assert draft.ready
    assert draft.recipe is not None
    assert (draft.recipe.base, list(draft.recipe.weights.by_model)) == ("base", ["a", "b"])


def test_what_is_missing_is_named_in_words(drafting: Drafting) -> None:
    assert said(drafting.look(replace(EMPTY, method="sce")).bar) == [
        "Choose the base, model A and model B to see what the merge needs."
    ]
    assert said(drafting.look(pair(b="")).bar) == ["Choose model B to see what the merge needs."]


def test_a_recipe_of_a_result_finds_its_models_by_their_header(drafting: Drafting) -> None:
    plan = drafting.look(pair()).plan
    assert plan is not None

    form = drafting.fill(Opening(plan.canonical, "left-x-right"))

    assert form.models == {"a": "left", "b": "right"}
    assert drafting.look(form).ready
    other = drafting.fill(Opening(plan.canonical.replace("left@", "right@"), ""))
    assert other.models["a"] == "right"  # not the one with this header; the name is all that can be offered


def test_weights_of_a_recipe_that_do_not_fit_are_told(drafting: Drafting) -> None:
    form = drafting.fill(Opening("blockmerge: 1\nmodels: {a: left, b: right}\nweights: {layers: [0, 1]}\n", ""))

    draft = drafting.look(form)

    assert said(draft.checks)[-2:] == [
        "The weights do not fit these models, so every block begins at 0.50.",
        "weights.layers: expected 4 numbers, one per layer, found 2.",
    ]
    assert draft.ready


def test_weights_that_nobody_drew_are_dropped_without_a_word(drafting: Drafting) -> None:
    before = drafting.look(pair())

    draft = drafting.look(pair("deep", "deep", origin=before.recipe))

    assert said(draft.checks)[0] == "These two can be merged. 57 of 57 tensors match."
    assert not any("do not fit" in line for line in said(draft.checks))


def test_weights_of_single_tensors_are_told_and_can_be_dropped(drafting: Drafting) -> None:
    weights = '{layers: 0.5, tensors: {"model.layers.3.mlp.*": 0.9}}'
    form = drafting.fill(Opening(f"blockmerge: 1\nmodels: {{a: left, b: right}}\nweights: {weights}\n", ""))

    assert said(single_tensors(globs_of(form.origin))) == [
        "The recipe sets single tensors by name, which the bars do not show: model.layers.3.mlp.* 0.9."
    ]
    kept, dropped = drafting.look(form), drafting.look(replace(form, origin=without_globs(form.origin)))
    assert kept.recipe is not None
    assert dropped.recipe is not None
    assert globs_of(kept.recipe) == {"model.layers.3.mlp.*": 0.9}
    assert globs_of(dropped.recipe) == {}
    assert single_tensors(globs_of(dropped.recipe)) == []
