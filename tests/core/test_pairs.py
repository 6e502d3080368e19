from itertools import permutations

import pytest

from blockmerge.core.layout import Place
from blockmerge.core.matching import match
from blockmerge.core.pairs import Matching, shape_text
from blockmerge.core.plan import make_plan
from blockmerge.core.recipe import parse_recipe
from blockmerge.core.tensors import Checkpoint, DType
from tests.core.checkpoints import Shapes, checkpoint_of, layers, renamed

BODY = {"bert.embeddings.word_embeddings.weight": (50, 8), **layers("bert.encoder.layer")}
CONFIG = {"model_type": "bert", "num_hidden_layers": 3, "vocab_size": 50}


def match_two(a: Checkpoint, b: Checkpoint, tokenizer: str = "") -> Matching:
    return match(("a", "b"), {"a": a, "b": b}, tokenizer)


def match_shapes(a: Shapes, b: Shapes) -> Matching:
    return match_two(checkpoint_of(a, CONFIG), checkpoint_of(b, CONFIG))


def sources_of(matching: Matching) -> dict[str, list[str]]:
    return {pair.name: [f"{key}:{tensor.name}" for key, tensor in pair.sources] for pair in matching.pairs}


def test_the_owners_names_are_kept_and_the_others_own_names_are_read() -> None:
    matching = match_shapes(BODY, renamed(BODY, ("bert.", "")))

    assert matching.problems == ()
    assert list(sources_of(matching)) == list(BODY)
    assert sources_of(matching)["bert.encoder.layer.1.mlp.up_proj.weight"] == [
        "a:bert.encoder.layer.1.mlp.up_proj.weight",
        "b:encoder.layer.1.mlp.up_proj.weight",
    ]
    assert matching.notes == ("The names of B are read with 'bert.' before them.",)


def test_the_other_way_round_the_prefix_is_dropped() -> None:
    matching = match_shapes(renamed(BODY, ("bert.", "")), BODY)

    assert matching.problems == ()
    assert matching.notes == ("The names of B are read without 'bert.' before them.",)


def test_old_norms_and_wrappers_are_counted_in_a_note() -> None:
    other = {name.replace("LayerNorm.weight", "LayerNorm.gamma"): shape for name, shape in BODY.items()}

    assert match_shapes(BODY, other).notes == (
        "3 names of B are read as they are written today: weight and bias for gamma and beta, and without 'module.' "
        "and '_orig_mod.'.",
    )


def test_outside_the_layers_the_owners_is_copied_and_the_others_left_out() -> None:
    matching = match_shapes(
        {**BODY, "cls.predictions.bias": (50,)}, renamed({**BODY, "bert.pooler.dense.weight": (8, 8)}, ("bert.", ""))
    )

    assert matching.problems == ()
    assert sources_of(matching)["cls.predictions.bias"] == ["a:cls.predictions.bias"]
    assert matching.pairs[-1].copy_reason == "B has no such tensor"
    assert matching.left_out == (("b", "pooler.dense.weight", "A has no such tensor"),)


@pytest.mark.parametrize("lonely", ["a", "b"])
def test_47_a_tensor_inside_the_layers_that_one_lacks_is_refused(lonely: str) -> None:
    more = {**BODY, "bert.encoder.layer.1.extra.weight": (8, 8), "bert.encoder.layer.2.extra.weight": (8, 8)}
    matching = match_shapes(*((more, BODY) if lonely == "a" else (BODY, more)))

    here, there = ("A", "B") if lonely == "a" else ("B", "A")
    assert matching.problems == (
        f"{here} has bert.encoder.layer.1.extra.weight and 1 more tensors inside its layers, {there} has not. "
        "Merge models of one architecture.",
    )


def test_a_lonely_tensor_inside_renamed_layers_is_refused_too() -> None:
    other = renamed({**BODY, "bert.encoder.layer.1.extra.weight": (8, 8)}, ("bert.", ""))

    assert match_shapes(BODY, other).problems == (
        "B has encoder.layer.1.extra.weight inside its layers, A has not. Merge models of one architecture.",
    )


@pytest.mark.parametrize("buffer", ["attention.masked_bias", "attention.bias", "attention.rotary_emb.inv_freq"])
def test_buffers_may_be_missing_on_either_side_and_are_never_averaged(buffer: str) -> None:
    name = f"bert.encoder.layer.0.{buffer}"
    shape = (1, 1, 4, 4) if buffer == "attention.bias" else (4,)
    with_buffer = {**BODY, name: shape}

    here, both, there = (
        match_shapes(*pair) for pair in ((with_buffer, BODY), (with_buffer, with_buffer), (BODY, with_buffer))
    )

    assert (here.problems, both.problems, there.problems) == ((), (), ())
    assert sources_of(here)[name] == sources_of(both)[name] == [f"a:{name}"]
    assert both.pairs[-1].copy_reason == "a buffer, computed from the config"
    assert there.left_out == (("b", name, "A has no such tensor"),)


def test_a_bias_called_like_a_mask_is_a_weight() -> None:
    shapes = {**BODY, "bert.encoder.layer.0.attention.bias": (8,)}

    assert sources_of(match_shapes(shapes, shapes))["bert.encoder.layer.0.attention.bias"] == [
        "a:bert.encoder.layer.0.attention.bias",
        "b:bert.encoder.layer.0.attention.bias",
    ]


@pytest.mark.parametrize(("digests", "fits"), [(("x", "x"), True), (("x", "y"), False)])
def test_38_whole_numbers_are_copied_where_equal_and_refused_where_not(digests: tuple[str, str], fits: bool) -> None:
    shapes = {**BODY, "bert.encoder.table": (8,)}
    a, b = (
        checkpoint_of(
            shapes, CONFIG, dtypes={"bert.encoder.table": DType.INT64}, integers={"bert.encoder.table": digest}
        )
        for digest in digests
    )

    matching = match_two(a, b)

    assert matching.problems == (
        ()
        if fits
        else (
            "bert.encoder.table holds whole numbers that differ between A and B, and these cannot be averaged. "
            "Choose another B.",
        )
    )
    assert matching.pairs[-1].copy_reason == "whole numbers are never averaged"


def test_48_another_number_of_layers_is_refused_with_both_numbers() -> None:
    config = {**CONFIG, "num_hidden_layers": 2}
    other = checkpoint_of({name: shape for name, shape in BODY.items() if ".2." not in name}, config)

    assert match_two(checkpoint_of(BODY, CONFIG), other).problems == (
        "A has 3 layers, B has 2. A blend needs the same number. Choose another B.",
    )


def test_49_43_another_width_is_refused_and_never_broadcast() -> None:
    other = {**BODY, **layers("bert.encoder.layer", width=1)}

    assert match_shapes(BODY, other).problems == (
        "bert.encoder.layer.0.attention.query.weight is 8×8 in A and 1×1 in B. 14 more differ too. "
        "These are different sizes of model. Choose another B.",
    )


def test_50_another_model_type_with_the_same_tensors_is_said() -> None:
    matching = match_two(checkpoint_of(BODY, CONFIG), checkpoint_of(BODY, {**CONFIG, "model_type": "roberta"}))

    assert matching.problems == ()
    assert matching.notes == ("A says it is bert, B says it is roberta; their tensors fit. The result is bert.",)


def with_experts(count: int) -> dict[str, tuple[int, ...]]:
    return {
        **BODY,
        **{f"bert.encoder.layer.1.experts.{number}.up.weight": (8, 8) for number in range(count)},
    }


def test_60_another_number_of_experts_is_refused_with_both_numbers() -> None:
    assert match_shapes(with_experts(4), with_experts(8)).problems == (
        "A has 4 experts in a layer, B has 8. A blend needs the same number. Choose another B.",
    )


def test_experts_in_one_tensor_and_one_by_one_are_refused_with_a_way_out() -> None:
    fused = {**BODY, "bert.encoder.layer.1.experts.gate_up_proj": (4, 8, 8)}

    assert match_shapes(fused, with_experts(4)).problems == (
        "A stores the experts of a layer in one tensor, B in one for each. "
        "Load A in transformers and save it with save_pretrained, then choose that copy.",
    )


def test_stacks_are_compared_by_what_they_are() -> None:
    body = {"model.embed_tokens.weight": (50, 8)}
    one = {**body, **layers("model.decoder.layers"), **layers("model.encoder.layers", 2)}
    config = {"num_hidden_layers": 3, "encoder_layers": 2}
    other = {**renamed(one, ("model.", "")), "lm_head.weight": (50, 8)}

    matching = match_two(checkpoint_of(one, config), checkpoint_of(dict(reversed(other.items())), config))

    assert matching.problems == ()
    assert [stack.name for stack in matching.layout.stacks] == ["decoder", "encoder"]


def test_different_kinds_of_model_are_refused() -> None:
    both = {**layers("model.decoder.layers"), **layers("model.encoder.layers")}

    assert match_shapes(both, layers("model.decoder.layers")).problems == (
        "A has the stacks decoder, encoder, B has decoder. These are different kinds of model. Choose another B.",
    )


HEADED = {**BODY, "lm_head.weight": (50, 8)}
TIED = {**CONFIG, "tie_word_embeddings": True}
UNTIED = {**CONFIG, "tie_word_embeddings": False}


def test_45_two_tied_models_have_no_head_row_even_if_a_file_stores_both() -> None:
    matching = match_two(checkpoint_of(HEADED, TIED), checkpoint_of(BODY, TIED))

    assert matching.layout.places["lm_head.weight"].module == "embeddings"
    assert sources_of(matching)["lm_head.weight"] == sources_of(matching)["bert.embeddings.word_embeddings.weight"]
    assert matching.mixed_head is None


def test_45_the_tied_sides_head_is_its_embeddings() -> None:
    matching = match_two(checkpoint_of(HEADED, UNTIED), checkpoint_of(BODY, TIED))

    assert matching.layout.places["lm_head.weight"].module == "head"
    assert sources_of(matching)["lm_head.weight"] == ["a:lm_head.weight", "b:bert.embeddings.word_embeddings.weight"]
    assert matching.mixed_head is not None
    assert matching.mixed_head.tied_keys == ("b",)


def test_a_tied_config_may_stand_in_the_text_part() -> None:
    config = {"num_hidden_layers": 3, "text_config": {"tie_word_embeddings": True, "vocab_size": 50}}

    matching = match_two(checkpoint_of(HEADED, config), checkpoint_of(BODY, config))

    assert matching.layout.places["lm_head.weight"] == Place("encoder", None, "embeddings")


def test_every_tensor_of_both_is_paired_or_left_out() -> None:
    a, b = (
        checkpoint_of({**HEADED, "cls.bias": (50,)}, TIED),
        checkpoint_of({**renamed(HEADED, ("bert.", "")), "pooler.dense.weight": (8, 8)}, TIED),
    )

    matching = match_two(a, b)

    read = {(key, tensor.name) for pair in matching.pairs for key, tensor in pair.sources}
    left = {(key, name) for key, name, _ in matching.left_out}
    copies = {("a", "lm_head.weight"), ("b", "lm_head.weight")}  # of the embeddings, from which they are made
    assert read | left | copies == {("a", name) for name in a.tensors} | {("b", name) for name in b.tensors}
    assert [pair.name for pair in matching.pairs] == list(a.tensors)


@pytest.mark.parametrize(("shape", "text"), [((2, 3), "2×3"), ((), "a single number")])
def test_shapes_are_written_as_people_do(shape: tuple[int, ...], text: str) -> None:
    assert shape_text(shape) == text


@pytest.mark.parametrize("order", list(permutations("tun")))
def test_three_models_of_which_one_is_tied_and_one_has_no_head_have_a_plan(order: tuple[str, ...]) -> None:
    base = {"model.embed_tokens.weight": (64, 8), **layers("model.layers")}
    config = {"num_hidden_layers": 3, "vocab_size": 64, "architectures": ["LlamaForCausalLM"]}
    models = {
        "t": checkpoint_of(base, {**config, "tie_word_embeddings": True}),
        "u": checkpoint_of({**base, "lm_head.weight": (64, 8)}, {**config, "tie_word_embeddings": False}),
        "n": checkpoint_of(base, {**config, "tie_word_embeddings": False, "architectures": ["LlamaModel"]}),
    }
    shares = "".join(f"  {key}: {{layers: {share}}}\n" for key, share in zip(order, (0.25, 0.25, 0.5), strict=True))
    names = ", ".join(f"{key}: {key}" for key in order)
    recipe = parse_recipe(f"blockmerge: 1\nmodels: {{{names}}}\nweights:\n{shares}output: {{tokenizer: {order[0]}}}\n")

    plan = make_plan(recipe, {key: models[key] for key in order})

    heads = [(step.reason, step.sources[0].model) for step in plan.steps if step.name == "lm_head.weight"]
    assert heads == ([] if order[0] == "n" else [("N has no such tensor", order[0])])
