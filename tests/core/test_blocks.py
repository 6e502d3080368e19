from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockmerge.core.blocks import Blocks, StackBlocks, TensorWeights, list_blocks, resolve_weights
from blockmerge.core.detection import detect_layout
from blockmerge.core.layout import Layout
from tests.core.made import EMBEDDINGS, HEAD, llama_shapes, recipe_of, zoo_layout

LLAMA = detect_layout(llama_shapes(4), {})
T5 = zoo_layout("t5")
LLAVA = zoo_layout("llava")
UP = "model.layers.{}.mlp.up_proj.weight"
QUERY = "model.layers.{}.self_attn.q_proj.weight"


def weights_of(text: str, layout: Layout = LLAMA) -> Mapping[str, float]:
    weights = resolve_weights(recipe_of(text), layout)
    assert isinstance(weights, TensorWeights), weights
    return weights.by_name


def problems_of(text: str, layout: Layout = LLAMA) -> tuple[str, ...]:
    problems = resolve_weights(recipe_of(text), layout)
    assert isinstance(problems, tuple)
    return problems


def line_of(weights: Mapping[str, float], name: str) -> list[float]:
    return [weights[name.format(layer)] for layer in range(4)]


def test_one_stack_has_its_rows_beside_its_layers() -> None:
    lanes = ("attention", "mlp", "norm")

    assert list_blocks(LLAMA) == Blocks((StackBlocks("layers", 4, lanes, ()),), ("embeddings", "final_norm", "head"))


def test_several_stacks_have_rows_of_their_own_and_rows_between_them() -> None:
    lanes = ("attention", "mlp", "norm")

    assert list_blocks(T5) == Blocks(
        (StackBlocks("decoder", 3, lanes, ("final_norm",)), StackBlocks("encoder", 2, lanes, ("final_norm",))),
        ("embeddings",),
    )
    assert list_blocks(LLAVA) == Blocks(
        (
            StackBlocks("text", 3, lanes, ("embeddings", "final_norm", "head")),
            StackBlocks("vision", 2, lanes, ("embeddings", "final_norm")),
        ),
        ("connector",),
    )


@pytest.mark.parametrize("text", ["0.25", "[0.25, 0.25, 0.25, 0.25]", "{anchors: [0.25]}", "{preset: flat-25}"])
def test_a_number_a_list_and_a_shape_mean_the_same(text: str) -> None:
    recipe, layout = recipe_of(f"layers: {text}"), LLAMA

    weights = resolve_weights(recipe, layout)

    assert isinstance(weights, TensorWeights)
    assert set(weights.by_name.values()) == {0.25}
    assert weights.by_name.keys() == layout.places.keys()
    assert weights.resolved == {"layers": [0.25] * 4, "embeddings": 0.25, "final_norm": 0.25, "head": 0.25}


def test_strength_and_flip_belong_to_a_shape() -> None:
    weights = weights_of("layers: {preset: rise, strength: 0.6, flip: true}")

    assert line_of(weights, UP) == [0.6, 0.4, 0.2, 0.0]


def test_a_lane_wins_over_layers() -> None:
    weights = weights_of("layers: [0, 0.1, 0.2, 0.3], mlp: {preset: fall}")

    assert line_of(weights, UP) == [1.0, 0.667, 0.333, 0.0]
    assert line_of(weights, QUERY) == [0.0, 0.1, 0.2, 0.3]


def test_a_glob_wins_over_lanes_layers_and_rows() -> None:
    weights = weights_of("layers: 0, mlp: 0.1, head: 0.2, tensors: {'*.1.mlp.*': 0.9, 'lm_*': 0.8, '*.2.self*': 0.7}")

    assert line_of(weights, UP) == [0.1, 0.9, 0.1, 0.1]
    assert line_of(weights, QUERY) == [0.0, 0.0, 0.7, 0.0]
    assert weights[HEAD] == 0.8


def test_a_row_left_out_follows_its_end_layer() -> None:
    weights = weights_of("layers: [0.1, 0.2, 0.3, 0.4]")

    assert (weights[EMBEDDINGS], weights["model.norm.weight"], weights[HEAD]) == (0.1, 0.4, 0.4)


def test_a_row_follows_layers_and_not_a_lane() -> None:
    assert weights_of("layers: 0.5, norm: 0.9")["model.norm.weight"] == 0.5


@given(weight=st.sampled_from([0.0, 1.0]), layout=st.sampled_from([LLAMA, T5, LLAVA]))
def test_all_0_is_a_and_all_1_is_b(weight: float, layout: Layout) -> None:
    names = [stack.name for stack in layout.stacks]
    text = ", ".join(f"{name}: {{layers: {weight}}}" for name in names)

    weights = weights_of(f"stacks: {{{text}}}" if len(names) > 1 else f"layers: {weight}", layout)

    assert set(weights.values()) == {weight}
    assert weights.keys() == layout.places.keys()


def test_each_stack_has_its_own_weights_and_rows() -> None:
    weights = weights_of("stacks: {encoder: {layers: [0.1, 0.2], mlp: 0.9}, decoder: {layers: 0, final_norm: 0.5}}", T5)

    assert weights["encoder.block.1.layer.0.SelfAttention.q.weight"] == 0.2
    assert weights["encoder.block.1.layer.1.DenseReluDense.wi.weight"] == 0.9
    assert weights["encoder.final_layer_norm.weight"] == 0.2
    assert weights["decoder.final_layer_norm.weight"] == 0.5


def test_a_row_of_no_stack_follows_the_first_or_the_last_stack() -> None:
    weights = weights_of("stacks: {text: {layers: 0.2}, vision: {layers: [0.3, 0.4]}}", LLAVA)

    assert weights["multi_modal_projector.linear_1.weight"] == 0.4
    assert weights_of("stacks: {encoder: {layers: 0.1}, decoder: {layers: 0.2}}", T5)["shared.weight"] == 0.2
    assert (
        weights_of("stacks: {text: {layers: 0}, vision: {layers: 0}}, connector: 1", LLAVA)[
            "multi_modal_projector.linear_1.weight"
        ]
        == 1.0
    )


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("layers: [0, 1]", ("weights.layers: expected 4 numbers, one per layer, found 2.",)),
        ("layers: 0, mlp: []", ("weights.mlp: expected 4 numbers, one per layer, found 0.",)),
        (
            "layers: 0, router: 1",
            ("weights.router: these checkpoints have no such lane. Known: attention, mlp, norm.",),
        ),
        (
            "layers: 0, connector: 1",
            ("weights.connector: these checkpoints have no such row. Known here: embeddings, final_norm, head.",),
        ),
        ("", ("weights.layers: this key is missing, and nothing else steers attention, mlp, norm.",)),
        ("mlp: 1, norm: 0", ("weights.layers: this key is missing, and nothing else steers attention.",)),
        (
            "attention: 0, mlp: 1, norm: 0, head: 1",
            (
                "weights.embeddings: this key is missing, and there is no line 'layers' to follow.",
                "weights.final_norm: this key is missing, and there is no line 'layers' to follow.",
            ),
        ),
        (
            "layers: 0, stacks: {layers: {}}",
            ("weights.stacks: these checkpoints have one stack; write its weights beside it.",),
        ),
        (
            "layers: 0, tensors: {'model.layers.9.*': 1}",
            (
                "weights.tensors['model.layers.9.*']: no tensor has such a name, "
                "e.g. 'model.embed_tokens.weight' is one.",
            ),
        ),
        (
            "layers: 0, tensors: {'*.mlp.*': 0.1, '*.0.*': 0.2}",
            (
                "weights.tensors: '*.mlp.*' says 0.1 and '*.0.*' says 0.2 for model.layers.0.mlp.up_proj.weight. "
                "Keep one.",
            ),
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused_with_the_way_out(text: str, problems: tuple[str, ...]) -> None:
    assert problems_of(text) == problems


def test_two_globs_may_agree_on_a_tensor() -> None:
    assert weights_of("layers: 0, tensors: {'*.mlp.*': 0.1, '*.0.mlp.*': 0.1}")[UP.format(0)] == 0.1


def test_lanes_alone_may_steer_everything() -> None:
    weights = weights_of("attention: 0.1, mlp: 0.2, norm: 0.3, embeddings: 0, final_norm: 0, head: 1")

    assert (weights[UP.format(3)], weights[QUERY.format(3)], weights[HEAD]) == (0.2, 0.1, 1.0)


def test_several_stacks_want_their_weights_in_stacks() -> None:
    assert problems_of("layers: 0.5, mlp: 1, head: 0, stacks: {encoders: {}}", T5) == (
        "weights.stacks.encoders: there is no such stack. Known: decoder, encoder.",
        "weights.layers: these checkpoints have 2 stacks; write weights.stacks.decoder.layers.",
        "weights.mlp: these checkpoints have 2 stacks; write weights.stacks.decoder.mlp.",
        "weights.stacks.decoder.layers: this key is missing, and nothing else steers attention, mlp, norm.",
        "weights.stacks.encoder.layers: this key is missing, and nothing else steers attention, mlp, norm.",
        "weights.head: these checkpoints have no such row. Known here: embeddings.",
    )


def test_all_that_does_not_fit_is_told_at_once() -> None:
    assert problems_of("layers: [0], router: 1, outside: 1, tensors: {x: 1}") == (
        "weights.layers: expected 4 numbers, one per layer, found 1.",
        "weights.router: these checkpoints have no such lane. Known: attention, mlp, norm.",
        "weights.outside: these checkpoints have no such row. Known here: embeddings, final_norm, head.",
        "weights.tensors['x']: no tensor has such a name, e.g. 'model.embed_tokens.weight' is one.",
    )
