from collections.abc import Mapping
from pathlib import Path

import pytest

from blockmerge.checkpoints.folder import open_checkpoint
from blockmerge.core.matching import Matching, match
from blockmerge.core.tensors import Checkpoint, DType
from blockmerge.errors import CheckpointError
from tests.core.made import EMBEDDINGS, Shapes, checkpoint_of, llama, llama_shapes
from tests.core.zoo import read_zoo
from tests.tiny_models import write_neox

UP = "model.layers.0.mlp.up_proj.weight"
MASKS = "attention.bias", "attention.masked_bias", "attention.rotary_emb.inv_freq"


def matched(a: Checkpoint, b: Checkpoint) -> Matching:
    return match(("a", "b"), {"a": a, "b": b})


def problems_of(a: Shapes, b: Shapes) -> tuple[str, ...]:
    return matched(checkpoint_of(a), checkpoint_of(b, name="B")).problems


def reasons_of(matching: Matching) -> Mapping[str, str]:
    return {pair.name: pair.copy_reason for pair in matching.pairs if pair.copy_reason}


def test_tensors_of_equal_names_are_pairs_in_the_order_of_the_owner() -> None:
    a, b = llama(), llama(name="B")

    matching = matched(a, b)

    assert [pair.name for pair in matching.pairs] == list(a.tensors)
    assert all(pair.sources == (("a", a.tensors[pair.name]), ("b", b.tensors[pair.name])) for pair in matching.pairs)
    assert (matching.problems, matching.left_out) == ((), ())


def test_a_model_of_another_depth_is_refused_in_one_sentence() -> None:
    matching = matched(llama(30), llama(24))

    assert matching.problems == ("A has 30 layers, B has 24. A blend needs the same number. Choose another B.",)
    assert matching.pairs == ()


def test_each_stack_of_another_depth_is_named() -> None:
    zoo = read_zoo()["t5"]
    short = {name: shape for name, shape in zoo.shapes.items() if not name.startswith("decoder.block.2.")}

    matching = matched(checkpoint_of(zoo.shapes, {"model_type": "t5"}), checkpoint_of(short, {"model_type": "t5"}))

    assert matching.problems == (
        "A has 3 layers in decoder, B has 2. A blend needs the same number. Choose another B.",
    )


def test_another_kind_of_model_is_refused_by_its_stacks() -> None:
    zoo = read_zoo()["t5"]

    matching = matched(llama(), checkpoint_of(zoo.shapes, {"model_type": "t5"}))

    assert matching.problems == (
        "A has the stacks layers, B has decoder, encoder. These are different kinds of model. Choose another B.",
    )


def test_keys_of_one_letter_are_capitals_and_others_stand_as_they_are() -> None:
    matching = match(("writer", "b"), {"writer": llama(3), "b": llama(2)})

    assert matching.problems == ("writer has 3 layers, B has 2. A blend needs the same number. Choose another B.",)


def test_other_shapes_are_refused_with_both() -> None:
    b = {**llama_shapes(), UP: (12, 8)}

    assert problems_of(llama_shapes(), b) == (
        f"{UP} is 16×8 in A and 12×8 in B. These are different sizes of model. Choose another B.",
    )


def test_of_many_other_shapes_the_first_speaks() -> None:
    b = {**llama_shapes(), EMBEDDINGS: (), UP: (12, 8), "model.norm.weight": (9,)}

    assert problems_of(llama_shapes(), b) == (
        f"{EMBEDDINGS} is 64×8 in A and a single number in B. 2 more differ too. "
        "These are different sizes of model. Choose another B.",
    )


@pytest.mark.parametrize("dtype", [DType.FLOAT8_E4M3, DType.FLOAT64, DType.INT64])
def test_a_dtype_that_cannot_be_averaged_is_refused(dtype: DType) -> None:
    b = checkpoint_of(llama_shapes(), dtypes={UP: dtype, EMBEDDINGS: dtype})

    assert matched(llama(), b).problems == (
        f"{EMBEDDINGS} of B is {dtype.label}, which cannot be averaged. 1 more like it. Use the original weights.",
    )


def test_a_wrong_dtype_hides_no_wrong_shape() -> None:
    b = checkpoint_of({**llama_shapes(), UP: (12, 8)}, dtypes={EMBEDDINGS: DType.FLOAT64})

    assert len(matched(llama(), b).problems) == 2


def test_integers_of_the_owner_are_copied() -> None:
    a = checkpoint_of({**llama_shapes(), "embeddings.ids": (1, 9)}, dtypes={"embeddings.ids": DType.INT64})

    matching = matched(a, a)

    assert reasons_of(matching) == {"embeddings.ids": "whole numbers are never averaged"}
    assert matching.problems == ()


@pytest.mark.parametrize(("a_has", "b_has"), [(True, True), (True, False), (False, True)])
def test_buffers_are_copied_from_the_owner_or_left_out(tmp_path: Path, a_has: bool, b_has: bool) -> None:
    a = open_checkpoint(write_neox(tmp_path / "a", buffers=a_has))
    b = open_checkpoint(write_neox(tmp_path / "b", buffers=b_has))
    buffers = [f"gpt_neox.layers.{layer}.{name}" for layer in range(2) for name in MASKS]

    matching = matched(a, b)

    assert matching.problems == ()
    assert reasons_of(matching) == dict.fromkeys(buffers if a_has else [], "a buffer, computed from the config")
    assert sorted(matching.left_out) == [("b", name, "A has no such tensor") for name in buffers if not a_has]


def test_the_bias_of_a_linear_is_no_buffer() -> None:
    name = "model.layers.{}.attn.bias"
    shapes = {**llama_shapes(), **{name.format(layer): (8,) for layer in range(3)}}

    assert reasons_of(matched(checkpoint_of(shapes), checkpoint_of(shapes))) == {}


def test_what_only_the_owner_has_outside_the_layers_is_copied() -> None:
    a = checkpoint_of({**llama_shapes(), "score.weight": (2, 8)})

    matching = matched(a, llama())

    assert reasons_of(matching) == {"score.weight": "B has no such tensor"}
    assert (matching.problems, matching.left_out) == ((), ())


def test_what_only_the_other_has_outside_the_layers_is_left_out() -> None:
    b = checkpoint_of({**llama_shapes(), "score.weight": (2, 8)})

    matching = matched(llama(), b)

    assert matching.left_out == (("b", "score.weight", "A has no such tensor"),)
    assert matching.problems == ()


def test_what_only_one_has_inside_the_layers_is_refused() -> None:
    more = {**llama_shapes(), **{f"model.layers.{layer}.self_attn.q_norm.weight": (8,) for layer in range(3)}}
    one = {**llama_shapes(), "model.layers.1.self_attn.sinks": (8,)}

    assert problems_of(more, llama_shapes()) == (
        "A has model.layers.0.self_attn.q_norm.weight and 2 more tensors inside its layers, B has not. "
        "Merge models of one architecture.",
    )
    assert problems_of(llama_shapes(), one) == (
        "B has model.layers.1.self_attn.sinks inside its layers, A has not. Merge models of one architecture.",
    )


def test_a_model_without_layers_is_refused() -> None:
    with pytest.raises(CheckpointError, match="No layers were found"):
        matched(llama(), checkpoint_of({"weight": (8, 8)}))
