from collections.abc import Mapping

import pytest

from blockmerge.core.detection import detect_layout
from blockmerge.core.layout import Place
from blockmerge.core.matching import match
from blockmerge.core.quirks import find_quirks, load_quirks, read_quirk
from blockmerge.errors import RecipeError
from tests.core.checkpoints import checkpoint_of, layers

Shapes = dict[str, tuple[int, ...]]

SWIN: Shapes = {
    "swin.embeddings.patch_embeddings.projection.weight": (8, 3, 4, 4),
    **{
        f"swin.encoder.layers.{stage}.blocks.{block}.{part}": (8, 8)
        for stage, depth in enumerate((2, 2, 3))
        for block in range(depth)
        for part in ("attention.self.query.weight", "intermediate.dense.weight")
    },
    "swin.encoder.layers.0.downsample.reduction.weight": (8, 8),
}
WAV2VEC2: Shapes = {
    **{
        f"wav2vec2.feature_extractor.conv_layers.{number}.{part}": shape
        for number in range(7)
        for part, shape in (("conv.weight", (16, 16, 3)), ("layer_norm.weight", (16,)))
    },
    "wav2vec2.feature_projection.projection.weight": (8, 16),
    **layers("wav2vec2.encoder.layers"),
}
DEBERTA: Shapes = {
    **layers("deberta.encoder.layer"),
    "deberta.encoder.LayerNorm.weight": (8,),
    "deberta.encoder.rel_embeddings.weight": (16, 8),
    "deberta.encoder.conv.LayerNorm.weight": (8,),
}


@pytest.mark.parametrize(
    ("config", "shapes", "name", "place"),
    [
        ({"model_type": "swin"}, SWIN, "swin.encoder.layers.1.blocks.1.intermediate.dense.weight", (3, "mlp")),
        ({"model_type": "swin"}, SWIN, "swin.encoder.layers.2.blocks.2.attention.self.query.weight", (6, "attention")),
        ({"model_type": "swin"}, SWIN, "swin.encoder.layers.0.downsample.reduction.weight", (1, "other")),
        (
            {"model_type": "wav2vec2"},
            WAV2VEC2,
            "wav2vec2.feature_projection.projection.weight",
            (None, "embeddings"),
        ),
        ({"model_type": "deberta-v2"}, DEBERTA, "deberta.encoder.LayerNorm.weight", (None, "embeddings")),
        ({"model_type": "deberta-v2"}, DEBERTA, "deberta.encoder.conv.LayerNorm.weight", (None, "outside")),
        (
            {"model_type": "some-vlm", "text_config": {"model_type": "opt"}},
            {**layers("language_model.decoder.layers"), "language_model.decoder.project_in.weight": (8, 4)},
            "language_model.decoder.project_in.weight",
            (None, "embeddings"),
        ),
        (
            {"model_type": "opt"},
            {**layers("decoder.layers"), "decoder.project_in.weight": (8, 4)},
            "decoder.project_in.weight",
            (None, "embeddings"),
        ),
    ],
)
def test_a_quirk_gives_a_tensor_its_place(
    config: Mapping[str, object], shapes: Shapes, name: str, place: tuple[int | None, str]
) -> None:
    layout = detect_layout(shapes, config)

    assert len(layout.stacks) == 1
    assert layout.places[name] == Place(layout.places[name].stack, *place)
    for held in layout.places.values():
        if held.layer is not None:
            assert held.module in layout.stacks[0].modules[held.layer]


def test_albert_says_that_its_layer_is_the_model() -> None:
    checkpoint = checkpoint_of(layers("encoder.layers"), {"model_type": "albert"})

    assert match(("a", "b"), {"a": checkpoint, "b": checkpoint}).notes == (
        "ALBERT runs its one layer many times, so the weight of a layer is the weight of the whole model.",
    )


def test_every_file_is_read_and_gives_its_reason() -> None:
    assert {"albert", "swin", "wav2vec2", "deberta-v2", "opt"} <= load_quirks().keys()
    assert all(len(quirk.reason) > 40 for quirk in load_quirks().values())


def test_a_kind_of_model_without_a_file_has_no_quirks() -> None:
    assert find_quirks({"model_type": "llama", "text_config": {"model_type": "no-such"}}) == ()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("rows: {}", "x.yaml needs a 'reason': why names and shapes are not enough for this kind of model."),
        (
            "reason: y\nhidden: [a]",
            "x.yaml has the unknown key 'hidden'. Known: reason, note, flatten, rows, lanes.",
        ),
        (
            "reason: y\nrows: {a: tail}",
            "x.yaml says 'tail'. Rows are embeddings, final_norm, head, connector, outside; lanes are attention, mlp, "
            "norm, router, mixer, other.",
        ),
    ],
)
def test_a_wrong_file_is_refused_with_a_sentence(text: str, sentence: str) -> None:
    with pytest.raises(RecipeError) as caught:
        read_quirk("x", text)

    assert str(caught.value) == sentence
