"""Tied and untied heads, and what the plan makes of two models of which only one is tied."""

from dataclasses import replace

import pytest

from blockmerge.core.detection import detect_layout
from blockmerge.core.heads import Head, find_head
from blockmerge.core.layout import Place
from blockmerge.core.matching import match
from blockmerge.core.plan import Action, LeftOut, Plan, make_plan
from blockmerge.core.tensors import Checkpoint
from blockmerge.errors import PlanError
from tests.core.made import EMBEDDINGS, HEAD, checkpoint_of, llama, llama_shapes, recipe_of, zoo_layout
from tests.core.zoo import read_zoo

TIED, UNTIED = llama(tied=True, name="tied"), llama(name="untied")
STORED = llama(tied=True, stores_head=True, name="stored")  # tied, and its file holds the copy as well
KINDS = [TIED, UNTIED, STORED]


def head_of(checkpoint: Checkpoint) -> Head | None:
    shapes = {name: tensor.shape for name, tensor in checkpoint.tensors.items()}
    return find_head(checkpoint, detect_layout(shapes, checkpoint.config))


def plan_of(a: Checkpoint, b: Checkpoint, weights: str) -> Plan:
    return make_plan(recipe_of(weights), {"a": a, "b": b})


def sources_of(plan: Plan, name: str) -> list[tuple[str, str]]:
    return next([(s.model, s.tensor.name) for s in step.sources] for step in plan.steps if step.name == name)


def edits_of(plan: Plan) -> dict[str, object]:
    return dict(next(file.edits for file in plan.side_files if file.name == "config.json"))


def names_of(plan: Plan) -> set[str]:
    return {step.name for step in plan.steps}


def test_a_head_is_found_by_its_shape_and_the_config_says_whether_it_is_tied() -> None:
    assert head_of(UNTIED) == Head(EMBEDDINGS, HEAD, tied=False)
    assert head_of(TIED) == Head(EMBEDDINGS, None, tied=True)
    assert head_of(STORED) == Head(EMBEDDINGS, HEAD, tied=True)


@pytest.mark.parametrize(("samples", "tied"), [(("x", "x"), True), (("x", "y"), False)])
def test_two_stored_copies_are_tied_where_they_begin_alike(samples: tuple[str, str], tied: bool) -> None:
    stored = replace(STORED, samples=dict(zip((EMBEDDINGS, HEAD), samples, strict=True)))

    assert head_of(stored) == Head(EMBEDDINGS, HEAD, tied=tied)


def test_a_matrix_of_another_shape_in_the_head_is_not_the_tied_one() -> None:
    zoo = read_zoo()["bert"]

    head = head_of(checkpoint_of(zoo.shapes, {**zoo.config, "tie_word_embeddings": True}))

    assert "cls.predictions.transform.dense.weight" in zoo.shapes
    assert head == Head("bert.embeddings.word_embeddings.weight", None, tied=True)


def test_a_missing_head_is_a_tied_one_in_a_language_model_and_none_in_an_encoder() -> None:
    shapes = llama_shapes(head=False)

    assert head_of(checkpoint_of(shapes, {"architectures": ["GPT2LMHeadModel"]})) == Head(EMBEDDINGS, None, tied=True)
    assert head_of(checkpoint_of(shapes, {"architectures": ["LlamaModel"]})) is None
    assert head_of(checkpoint_of(shapes, {"tie_word_embeddings": False, "architectures": ["LlamaForCausalLM"]})) is None


def test_both_tied_have_no_head_row() -> None:
    plan = plan_of(TIED, TIED, "layers: 0.5")

    assert "head" not in plan.layout.rows
    assert HEAD not in names_of(plan)
    assert edits_of(plan) == {}


def test_both_untied_have_two_rows() -> None:
    plan = plan_of(UNTIED, UNTIED, "layers: 0.5, embeddings: 0, head: 1")

    assert sources_of(plan, EMBEDDINGS) == [("a", EMBEDDINGS)]
    assert sources_of(plan, HEAD) == [("b", HEAD)]
    assert edits_of(plan) == {}


@pytest.mark.parametrize("other", [TIED, STORED], ids=["not stored in B", "stored in B"])
def test_a_tied_head_that_is_stored_gets_the_bytes_of_the_embeddings(other: Checkpoint) -> None:
    plan = plan_of(STORED, other, "layers: [0, 0.5, 1], embeddings: 0.3")

    head, embeddings = (next(step for step in plan.steps if step.name == name) for name in (HEAD, EMBEDDINGS))
    assert "head" not in plan.layout.rows
    assert (head.sources, head.weight, head.action) == (embeddings.sources, 0.3, Action.BLEND)
    assert head.place == embeddings.place


def test_a_glob_cannot_pull_a_tied_head_from_its_embeddings() -> None:
    with pytest.raises(PlanError) as caught:
        plan_of(STORED, STORED, "layers: 0, tensors: {'lm_head.*': 1}")

    assert str(caught.value) == (
        "weights.tensors: lm_head.weight is tied to model.embed_tokens.weight, so one weight was expected for both, "
        "found 1.0 and 0.0. Write a glob that names both, or neither."
    )


def test_a_copy_that_only_the_other_stores_is_left_out() -> None:
    plan = plan_of(TIED, STORED, "layers: 0.5")

    assert HEAD not in names_of(plan)
    assert LeftOut("b", HEAD, "A has no such tensor") in plan.left_out


@pytest.mark.parametrize(
    ("a", "b", "sources"),
    [
        (TIED, UNTIED, [("a", EMBEDDINGS), ("b", HEAD)]),
        (STORED, UNTIED, [("a", EMBEDDINGS), ("b", HEAD)]),
        (UNTIED, TIED, [("a", HEAD), ("b", EMBEDDINGS)]),
        (UNTIED, STORED, [("a", HEAD), ("b", EMBEDDINGS)]),
    ],
)
def test_the_head_of_a_tied_model_is_its_embeddings(
    a: Checkpoint, b: Checkpoint, sources: list[tuple[str, str]]
) -> None:
    plan = plan_of(a, b, "layers: 0.5")

    assert sources_of(plan, HEAD) == sources
    assert plan.layout.rows == ("embeddings", "final_norm", "head")
    assert edits_of(plan) == ({"tie_word_embeddings": False} if a.config["tie_word_embeddings"] else {})
    assert plan.notes == (
        f"The head of {'A' if a is not UNTIED else 'B'} is its embeddings. "
        f"The result has a head of its own: {HEAD}, 0.0 MB.",
    )


@pytest.mark.parametrize(("a", "b", "weight"), [(TIED, UNTIED, 0), (STORED, UNTIED, 0), (UNTIED, TIED, 1)])
def test_a_result_that_takes_both_ends_from_the_tied_side_is_tied(a: Checkpoint, b: Checkpoint, weight: int) -> None:
    plan = plan_of(a, b, f"layers: 0.5, embeddings: {weight}, head: {weight}")

    tied = "A" if weight == 0 else "B"
    reason = f"the result is tied, as {tied} is: its embeddings are its head"
    assert HEAD not in names_of(plan)
    assert edits_of(plan) == ({} if a.config["tie_word_embeddings"] else {"tie_word_embeddings": True})
    assert plan.notes == (f"{HEAD} is not written: {reason}.",)
    assert {item for item in plan.left_out if item.name == HEAD} == {
        LeftOut(key, HEAD, reason) for key, held in (("a", a), ("b", b)) if HEAD in held.tensors
    }


def test_embeddings_that_are_blended_leave_the_tied_head_as_it_was() -> None:
    plan = plan_of(TIED, UNTIED, "layers: 0.5, embeddings: 0.5, head: 0")

    assert sources_of(plan, HEAD) == [("a", EMBEDDINGS)]
    assert edits_of(plan) == {"tie_word_embeddings": False}


@pytest.mark.parametrize("a", KINDS, ids=lambda held: held.name)
@pytest.mark.parametrize("b", KINDS, ids=lambda held: held.name)
@pytest.mark.parametrize("weights", ["layers: 0", "layers: 1", "layers: 0.5", "layers: {preset: rise}"])
def test_no_head_is_dropped_in_silence(a: Checkpoint, b: Checkpoint, weights: str) -> None:
    plan = plan_of(a, b, weights)

    told = names_of(plan) | {item.name for item in plan.left_out}
    assert told >= a.tensors.keys() | b.tensors.keys()


def test_the_head_of_a_vision_language_model_belongs_to_its_text() -> None:
    zoo, head = read_zoo()["llava"], "language_model.lm_head.weight"
    untied = checkpoint_of(zoo.shapes, {**zoo.config, "tie_word_embeddings": False})
    shapes = {name: shape for name, shape in zoo.shapes.items() if name != head}
    tied = checkpoint_of(shapes, {**zoo.config, "tie_word_embeddings": True})

    matching = match(("a", "b"), {"a": tied, "b": untied})

    assert zoo_layout("llava").places[head] == matching.layout.places[head] == Place("text", None, "head")
