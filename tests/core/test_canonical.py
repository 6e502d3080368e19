from itertools import chain

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blockmerge.core.canonical import Rename, align
from tests.core.checkpoints import layers, renamed

BERT = {
    "bert.embeddings.word_embeddings.weight": (50, 8),
    "bert.embeddings.LayerNorm.weight": (8,),
    **layers("bert.encoder.layer"),
    "cls.predictions.transform.dense.weight": (8, 8),
    "cls.predictions.transform.dense.bias": (8,),
}
OPT = {
    "model.decoder.embed_tokens.weight": (50, 8),
    **layers("model.decoder.layers"),
    "model.decoder.final_layer_norm.weight": (8,),
}
GPT2 = {"transformer.wte.weight": (50, 8), **layers("transformer.h"), "transformer.ln_f.weight": (8,)}
LLAVA = {
    "model.language_model.embed_tokens.weight": (50, 8),
    **layers("model.language_model.layers"),
    "model.vision_tower.embeddings.class_embedding": (8,),
    **layers("model.vision_tower.encoder.layers", 2),
    "model.multi_modal_projector.linear_1.weight": (8, 8),
    "model.multi_modal_projector.linear_1.bias": (8,),
    "lm_head.weight": (50, 8),
}


@pytest.mark.parametrize(
    ("own", "changes", "renames"),
    [
        (BERT, [("bert.", "")], (Rename("", "bert"),)),
        (renamed(BERT, ("bert.", "")), [("enc", "bert.enc"), ("emb", "bert.emb")], (Rename("bert", ""),)),
        (OPT, [("model.", "")], (Rename("", "model"),)),
        (GPT2, [("transformer.", "")], (Rename("", "transformer"),)),
        (BERT, [("bert.", "0.auto_model.")], (Rename("0.auto_model", "bert"),)),
        (
            LLAVA,
            [
                ("model.language_model.", "language_model.model."),
                ("model.vision_tower.", "vision_tower.vision_model."),
                ("model.multi_modal_projector.", "multi_modal_projector."),
                ("lm_head.", "language_model.lm_head."),
            ],
            (
                Rename("language_model.model", "model.language_model"),
                Rename("vision_tower.vision_model", "model.vision_tower"),
                Rename("", "model"),
                Rename("language_model", ""),
            ),
        ),
    ],
)
def test_a_known_other_spelling_meets_every_tensor(
    own: dict[str, tuple[int, ...]], changes: list[tuple[str, str]], renames: tuple[Rename, ...]
) -> None:
    other = renamed(own, *changes)

    alignment = align(own, other)

    assert alignment.renames == renames
    assert [own[target] for target in alignment.names.values()] == list(other.values())


def test_gamma_beta_and_wrappers_are_read_as_today() -> None:
    own = {"embeddings.LayerNorm.weight": (8,), "embeddings.LayerNorm.bias": (8,), **layers("encoder.layer")}
    other = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): shape
        for name, shape in renamed(own, ("encoder.", "module.encoder._orig_mod.")).items()
    }

    alignment = align(own, other)

    assert list(alignment.names.values()) == list(own)
    assert alignment.renames == ()
    assert alignment.respelled == len([name for name in own if name not in other])


def test_a_layer_scale_called_gamma_is_no_norm() -> None:
    own = {"encoder.layer.0.gamma": (8,), "encoder.layer.0.weight": (8,)}
    other = {"encoder.layer.0.weight": (8,), "encoder.layer.0.gamma": (8,)}

    assert align(own, other).names == {name: name for name in other}


def test_a_pooler_does_not_become_a_head_of_the_same_shape() -> None:
    other = {
        **{name: shape for name, shape in BERT.items() if not name.startswith("cls.")},
        "bert.pooler.dense.weight": (8, 8),
        "bert.pooler.dense.bias": (8,),
    }

    alignment = align(BERT, other)

    assert alignment.renames == ()
    assert alignment.names["bert.pooler.dense.weight"] == "bert.pooler.dense.weight"


def test_an_encoder_does_not_become_a_decoder() -> None:
    alignment = align(layers("model.decoder.layers"), layers("model.encoder.layers"))

    assert alignment.renames == ()


def test_what_meets_nothing_is_spelled_as_its_neighbours_are() -> None:
    other = renamed({**GPT2, "transformer.h.0.extra.weight": (8,)}, ("transformer.", ""))

    assert align(GPT2, other).names["h.0.extra.weight"] == "transformer.h.0.extra.weight"


PARTS = st.sampled_from(["model", "encoder", "h", "0", "1", "weight", "bias", "LayerNorm", "gamma", "module"])
NAMES = st.lists(st.lists(PARTS, min_size=1, max_size=6).map(".".join), unique=True, max_size=12)


@settings(max_examples=500)
@given(NAMES, NAMES)
def test_no_two_tensors_are_led_to_one_name(own: list[str], other: list[str]) -> None:
    alignment = align(dict.fromkeys(own, (2,)), dict.fromkeys(other, (2,)))

    assert alignment.names.keys() == set(other)
    assert len(set(alignment.names.values())) == len(other)
    assert all(alignment.names[name] == name for name in set(own) & set(other))


@given(st.sampled_from([BERT, OPT, GPT2, LLAVA]), st.data())
def test_order_does_not_matter(own: dict[str, tuple[int, ...]], data: st.DataObject) -> None:
    other = renamed(own, (f"{next(iter(own)).split('.')[0]}.", ""))
    shuffled = dict(data.draw(st.permutations(list(other.items()))))

    assert align(own, shuffled).names == align(own, other).names


def test_equal_names_need_no_renames() -> None:
    assert align(BERT, dict(chain(reversed(BERT.items())))).renames == ()
