from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockmerge.checkpoints.folder import open_checkpoint
from blockmerge.core.detection import detect_layout
from blockmerge.core.layout import LANES, ROWS, Layout, Place
from blockmerge.errors import CheckpointError
from tests.core.made import Shapes, llama_shapes, zoo_layout
from tests.core.zoo import Architecture, read_zoo
from tests.tiny_models import write_gpt2, write_llama, write_neox

ZOO = read_zoo()
TOWERS = ("vision", "audio")
# What zoo_names.json calls a tensor outside the layers that has no better name.
OTHER, OUTSIDE = "other", "outside"
# Tensors whose class in zoo_names.json is not ours, with the reason why ours is right.
OURS: Mapping[str, Mapping[str, str]] = {
    # It normalises what enters the first layer of the vision tower.
    "llava": {f"vision_tower.pre_layrnorm.{value}": "embeddings:vision" for value in ("weight", "bias")},
}
# Where file and algorithm agree and a person would not; a later rule for the architecture may mend it.
# DeBERTa's encoder.LayerNorm is called a final norm, although it belongs to rel_embeddings;
# DeBERTa's encoder.conv.conv is called embeddings, although it is a layer beside the stack;
# OPT-350m's project_in and project_out are rows "outside", although they belong to embeddings and head.
NEEDS_THE_CONFIG = "albert"  # one shared layer counts 0 and no further: only the config tells that it is a stack


def layout_of(shapes: Shapes, **config: object) -> Layout:
    return detect_layout(shapes, config)


def layout_on_disk(folder: Path) -> Layout:
    checkpoint = open_checkpoint(folder)
    return detect_layout({name: tensor.shape for name, tensor in checkpoint.tensors.items()}, checkpoint.config)


def depths_of(layout: Layout) -> Mapping[str, int]:
    return {stack.name: stack.depth for stack in layout.stacks}


def rows_of(layout: Layout) -> Mapping[str, str]:
    return {name: place.module for name, place in layout.places.items() if place.layer is None}


def class_of(place: Place, towers: set[str | None]) -> str:
    return place.module + (f":{place.stack}" if place.stack in towers else "")


@pytest.mark.parametrize("architecture", ZOO.values(), ids=ZOO)
def test_every_tensor_of_the_zoo_has_its_place(architecture: Architecture) -> None:
    layout = detect_layout(architecture.shapes, architecture.config)

    assert {stack.prefix: stack.depth for stack in layout.stacks} == architecture.depths
    towers = {stack.name for stack in layout.stacks} & set(TOWERS)
    assert layout.places.keys() == architecture.classes.keys()
    for name, place in layout.places.items():
        kind = OURS.get(architecture.name, {}).get(name, architecture.classes[name])
        assert class_of(place, {*towers}) == kind.replace(OTHER, OUTSIDE), name


@pytest.mark.parametrize("architecture", ZOO.values(), ids=ZOO)
def test_the_stacks_of_the_zoo_are_found_without_a_config(architecture: Architecture) -> None:
    if architecture.name == NEEDS_THE_CONFIG:
        with pytest.raises(CheckpointError):
            detect_layout(architecture.shapes, {})
        return
    layout = detect_layout(architecture.shapes, {})

    assert {stack.prefix: stack.depth for stack in layout.stacks} == architecture.depths


@pytest.mark.parametrize("name", ZOO)
def test_a_layout_is_made_of_the_known_words(name: str) -> None:
    layout = zoo_layout(name)

    assert {place.module for place in layout.places.values() if place.layer is not None} <= set(LANES) - {"other"}
    assert {place.module for place in layout.places.values() if place.layer is None} == set(layout.rows)
    assert layout.rows == tuple(row for row in ROWS if row in layout.rows)
    for stack in layout.stacks:
        for layer, modules in enumerate(stack.modules):
            held = {p.module for p in layout.places.values() if (p.stack, p.layer) == (stack.name, layer)}
            assert modules == tuple(lane for lane in LANES if lane in held)


@pytest.mark.parametrize(
    ("name", "stacks"),
    [
        ("llama", ["layers"]),
        ("gpt2", ["h"]),
        ("bert", ["encoder"]),
        ("bert_encoder_only", ["encoder"]),
        ("opt", ["decoder"]),
        ("bart", ["decoder", "encoder"]),
        ("t5", ["decoder", "encoder"]),
        ("llava", ["text", "vision"]),
        ("qwen2_vl", ["text", "vision"]),
        ("siglip", ["text", "vision"]),
        ("vit", ["vision"]),
        ("whisper", ["decoder", "audio"]),
    ],
)
def test_a_stack_has_the_name_that_people_use(name: str, stacks: list[str]) -> None:
    assert [stack.name for stack in zoo_layout(name).stacks] == stacks


def test_two_stacks_that_no_word_tells_apart_are_called_by_the_ends_of_their_paths() -> None:
    layer = {"q_proj.weight": (8, 8), "mlp.weight": (8, 8), "norm.weight": (8,)}
    shapes = {
        f"{prefix}.{index}.{name}": shape
        for prefix, depth in (("left.net.layers", 2), ("right.net.layers", 3), ("middle.blocks", 4))
        for index in range(depth)
        for name, shape in layer.items()
    }

    assert depths_of(layout_of(shapes)) == {"left.net.layers": 2, "right.net.layers": 3, "blocks": 4}


def test_llama_on_disk(tmp_path: Path) -> None:
    layout = layout_on_disk(write_llama(tmp_path))

    assert depths_of(layout) == {"layers": 4}
    assert layout.stacks[0].prefix == "model.layers"
    assert layout.stacks[0].modules == (("attention", "mlp", "norm"),) * 4
    assert rows_of(layout) == {
        "model.embed_tokens.weight": "embeddings",
        "model.norm.weight": "final_norm",
        "lm_head.weight": "head",
    }
    assert layout.places["model.layers.2.self_attn.o_proj.weight"] == Place("layers", 2, "attention")


@pytest.mark.parametrize("prefix", ["transformer.", ""])
def test_gpt2_on_disk_with_and_without_its_prefix(tmp_path: Path, prefix: str) -> None:
    layout = layout_on_disk(write_gpt2(tmp_path, prefix=prefix))

    assert depths_of(layout) == {"h": 2}
    assert rows_of(layout) == {
        f"{prefix}wte.weight": "embeddings",
        f"{prefix}wpe.weight": "embeddings",
        f"{prefix}ln_f.weight": "final_norm",
        f"{prefix}ln_f.bias": "final_norm",
    }


def test_the_buffers_of_neox_lie_in_its_attention(tmp_path: Path) -> None:
    layout = layout_on_disk(write_neox(tmp_path))

    assert depths_of(layout) == {"layers": 2}
    assert layout.places["gpt_neox.layers.1.attention.masked_bias"] == Place("layers", 1, "attention")
    assert layout.places["gpt_neox.layers.1.attention.rotary_emb.inv_freq"] == Place("layers", 1, "attention")


def test_experts_are_no_layers() -> None:
    layout = zoo_layout("mixtral")

    assert depths_of(layout) == {"layers": 3}
    assert layout.stacks[0].modules == (("attention", "mlp", "norm", "router"),) * 3
    assert layout.places["model.layers.2.block_sparse_moe.experts.3.w1.weight"] == Place("layers", 2, "mlp")


def test_layers_of_one_stack_may_have_different_modules() -> None:
    assert zoo_layout("deepseek_v3").stacks[0].modules == (
        ("attention", "mlp", "norm"),
        ("attention", "mlp", "norm", "router"),
        ("attention", "mlp", "norm", "router"),
    )
    assert zoo_layout("jamba").stacks[0].modules[0] == ("mlp", "norm", "mixer")


def test_a_gate_of_llama_is_no_router() -> None:
    shapes = {**llama_shapes(2), **{f"model.layers.{layer}.mlp.gate.weight": (16, 8) for layer in range(2)}}

    places = layout_of(shapes, num_experts=4).places

    assert places["model.layers.0.mlp.gate.weight"].module == "mlp"


def test_a_matrix_in_a_layer_is_no_norm_whatever_its_name() -> None:
    shapes = {**llama_shapes(2), **{f"model.layers.{layer}.adanorm.weight": (16, 8) for layer in range(2)}}

    assert layout_of(shapes).places["model.layers.0.adanorm.weight"].module == "other"


def test_what_lies_between_tower_and_text_is_the_connector() -> None:
    places = zoo_layout("llava").places

    assert places["multi_modal_projector.linear_1.weight"] == Place(None, None, "connector")
    assert places["vision_tower.embeddings.patch_embedding.weight"] == Place("vision", None, "embeddings")
    assert places["language_model.lm_head.weight"] == Place("text", None, "head")


def test_a_missing_layer_is_an_empty_one_where_the_config_counts_it() -> None:
    shapes = {name: shape for name, shape in llama_shapes(4).items() if ".layers.2." not in name}

    layout = layout_of(shapes, num_hidden_layers=4)

    assert [len(modules) for modules in layout.stacks[0].modules] == [3, 3, 0, 3]
    with pytest.raises(CheckpointError):
        layout_of(shapes)


def test_a_single_layer_needs_the_config() -> None:
    assert depths_of(layout_of(llama_shapes(1), num_hidden_layers=1)) == {"layers": 1}
    with pytest.raises(CheckpointError):
        layout_of(llama_shapes(1))


@pytest.mark.parametrize("rename", [("layers.", "layers_"), ("model.", "0.model."), ("model.", "module._orig_mod.")])
def test_names_may_be_glued_or_wrapped(rename: tuple[str, str]) -> None:
    shapes = {name.replace(*rename): shape for name, shape in llama_shapes(3).items()}

    layout = layout_of(shapes, vocab_size=64)

    assert depths_of(layout) == {"layers": 3}
    assert sorted(rows_of(layout).values()) == ["embeddings", "final_norm", "head"]


@pytest.mark.parametrize(
    "shapes",
    [
        {},
        {"weight": (8, 8), "0": (8,), "": (1,)},
        {"layers.0.weight": (8, 8), "layers.1.weight": (8, 8)},
        {"layers.1.a.weight": (8, 8), "layers.1.b.weight": (8, 8), "layers.2.a.weight": (8, 8)},
        {f"layers.{'9' * 5000}.a.weight": (8, 8), f"layers.{'9' * 5000}.b.weight": (8, 8)},
    ],
)
def test_a_checkpoint_without_layers_is_refused(shapes: Shapes) -> None:
    with pytest.raises(CheckpointError) as caught:
        layout_of(shapes, num_hidden_layers=1)

    assert str(caught.value) == (
        "No layers were found in the names of the tensors: nothing in them counts 0, 1, 2 … over parts alike. "
        "Choose a model made of layers."
    )


NAMES = st.lists(
    st.sampled_from(["layers", "h", "0", "1", "2", "mlp", "norm", "attn", "weight", "bias", "x_1", "é", ""]),
    min_size=1,
    max_size=6,
).map(".".join)


@given(extra=st.dictionaries(NAMES, st.lists(st.integers(0, 9), max_size=4).map(tuple), max_size=8))
def test_every_tensor_has_one_place_whatever_its_name(extra: Shapes) -> None:
    shapes = {**llama_shapes(3), **extra}

    layout = layout_of(shapes, num_hidden_layers=3, vocab_size=64)

    assert layout.places.keys() == shapes.keys()
    depths = depths_of(layout)
    for place in layout.places.values():
        assert place.module in (ROWS if place.layer is None else LANES)
        assert place.layer is None or place.layer < depths[place.stack or ""]


def test_the_order_of_the_tensors_changes_no_place() -> None:
    for architecture in ZOO.values():
        forward = detect_layout(architecture.shapes, architecture.config)
        backward = detect_layout(dict(reversed(list(architecture.shapes.items()))), architecture.config)

        assert backward.places == forward.places
        assert backward.rows == forward.rows
        assert set(backward.stacks) == set(forward.stacks)


LAYER: Shapes = {"attn.q.weight": (8, 8), "mlp.up.weight": (8, 8), "norm.weight": (8,)}


def stack_of(prefix: str, depth: int = 3, parts: Shapes = LAYER) -> Shapes:
    return {f"{prefix}.{layer}.{name}": shape for layer in range(depth) for name, shape in parts.items()}


def test_a_list_of_convolutions_is_no_stack_beside_one_that_has_matrices() -> None:
    frames = stack_of("feature_extractor.conv_layers", 7, {"conv.weight": (64, 64, 3), "layer_norm.weight": (64,)})

    assert [stack.prefix for stack in layout_of({**frames, **stack_of("encoder.layers")}).stacks] == ["encoder.layers"]
    assert [stack.prefix for stack in layout_of(frames).stacks] == ["feature_extractor.conv_layers"]


def test_lists_side_by_side_that_are_parts_of_layers_make_one_stack() -> None:
    xlm = {
        **stack_of("transformer.attentions", parts={"q_lin.weight": (8, 8), "out_lin.weight": (8, 8)}),
        **stack_of("transformer.ffns", parts={"lin1.weight": (8, 8), "lin2.weight": (8, 8)}),
        **stack_of("transformer.layer_norm1", parts={"weight": (8,)}),
        **stack_of("transformer.others", 2, {"weight": (8,)}),
    }

    layout = layout_of(xlm)

    assert [(stack.name, stack.modules) for stack in layout.stacks] == [
        ("attentions", (("attention", "mlp", "norm"),) * 3)
    ]
    assert layout.places["transformer.layer_norm1.2.weight"] == Place("attentions", 2, "norm")
    assert layout.places["transformer.others.1.weight"].layer is None


@pytest.mark.parametrize(
    ("prefixes", "names"),
    [
        (["model.audio_tower.layers", "model.vision_tower.layers", "model.llm.layers"], ["audio", "vision", "text"]),
        (["visual.blocks", "model.layers"], ["vision", "text"]),
        (["speech.encoder.layers", "speech.decoder.layers"], ["encoder", "decoder"]),
    ],
)
def test_a_tower_is_known_by_its_name_where_there_is_one(prefixes: list[str], names: list[str]) -> None:
    # Sound is cut into patches by a convolution of as many dimensions as that of images, and images by a matrix.
    stem = {f"{prefixes[0]}".replace("layers", "stem.weight"): (8, 1, 3, 3)} if "audio" in prefixes[0] else {}
    shapes = {**stem, **{name: shape for prefix in prefixes for name, shape in stack_of(prefix).items()}}

    assert [stack.name for stack in layout_of(shapes).stacks] == names


def test_without_a_name_the_config_says_whether_a_convolution_takes_sound_or_images() -> None:
    shapes = {"encoder.subsampling.conv.weight": (8, 1, 3, 3), **stack_of("encoder.layers")}

    assert [stack.name for stack in layout_of(shapes, num_mel_bins=80).stacks] == ["audio"]
    assert [stack.name for stack in layout_of(shapes, image_size=8).stacks] == ["vision"]


def test_a_parameter_of_three_dimensions_is_no_convolution() -> None:
    shapes = {"qformer.query_tokens": (1, 4, 8), **stack_of("qformer.layers"), **stack_of("model.layers")}

    assert [stack.name for stack in layout_of(shapes).stacks] == ["qformer.layers", "model.layers"]


@pytest.mark.parametrize("name", ["conv.conv", "conv.depthwise_conv", "temporal_block.conv_1d", "lconv1d.linear_end"])
def test_convolutions_inside_layers_mix_tokens(name: str) -> None:
    layout = layout_of(stack_of("layers", parts={**LAYER, f"{name}.weight": (8, 8)}))

    assert layout.places[f"layers.1.{name}.weight"].module == "mixer"


def test_a_norm_before_the_layers_belongs_to_the_embeddings_and_one_behind_them_is_the_final_one() -> None:
    names = ("vision_model.pre_layrnorm", "vision_model.post_layernorm")
    shapes = {**stack_of("vision_model.encoder.layers"), **{f"{name}.weight": (8,) for name in names}}

    rows = rows_of(layout_of(shapes))

    assert rows == {
        "vision_model.pre_layrnorm.weight": "embeddings",
        "vision_model.post_layernorm.weight": "final_norm",
    }
    assert rows_of(layout_of({**stack_of("layers"), "norm.weight": (8,)})) == {"norm.weight": "final_norm"}
