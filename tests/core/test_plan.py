import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockmerge.checkpoints.folder import open_checkpoint
from blockmerge.core.config_edits import edit_config
from blockmerge.core.hub_reference import HubReference
from blockmerge.core.plan import Action, LeftOut, Plan, SideFileStep, Step, check_models, make_plan
from blockmerge.core.recipe import Recipe, Weights, parse_recipe
from blockmerge.core.tensors import Checkpoint, DType
from blockmerge.core.vocabulary import Vocabulary
from blockmerge.errors import PlanError
from tests.core.made import EMBEDDINGS, HEAD, checkpoint_of, llama, llama_shapes, recipe_of
from tests.core.zoo import read_zoo
from tests.tiny_models import write_llama, write_neox

UP = "model.layers.{}.mlp.up_proj.weight"
FILES = ("config.json", "generation_config.json", "tokenizer.json", "vocab.json")
ZOO = read_zoo()

weights = st.sampled_from([0.0, 1.0, 0.25, 1.5])


def plan_of(text: str, a: Checkpoint | None = None, b: Checkpoint | None = None, **output: object) -> Plan:
    return make_plan(recipe_of(text, **output), {"a": a or llama(), "b": b or llama(name="B")})


def problems_of(recipe: Recipe, a: Checkpoint | None = None, b: Checkpoint | None = None) -> tuple[str, ...]:
    keys = (*recipe.models, *(["base"] if recipe.base else []))
    with pytest.raises(PlanError) as caught:
        make_plan(recipe, {key: llama(name=key) for key in keys} | {"a": a or llama(), "b": b or llama(name="B")})
    return caught.value.problems


def step_of(plan: Plan, name: str) -> Step:
    return next(step for step in plan.steps if step.name == name)


def config_edits_of(plan: Plan) -> dict[str, object]:
    return dict(next(file.edits for file in plan.side_files if file.name == "config.json"))


def zoo_weights(name: str, weight: float) -> str:
    stacks = ZOO[name].depths
    if len(stacks) == 1:
        return f"layers: {weight}"
    recipe_names = [stack.name for stack in check_models(("a", "b"), zoo_pair(name)).stacks]
    return "stacks: {" + ", ".join(f"{stack}: {{layers: {weight}}}" for stack in recipe_names) + "}"


def zoo_pair(name: str) -> dict[str, Checkpoint]:
    zoo = ZOO[name]
    return {key: checkpoint_of(zoo.shapes, zoo.config, name=key.upper()) for key in ("a", "b")}


@pytest.mark.parametrize("name", ZOO)
@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0])
def test_every_architecture_of_the_zoo_can_be_planned(name: str, weight: float) -> None:
    checkpoints = zoo_pair(name)

    plan = make_plan(recipe_of(zoo_weights(name, weight)), checkpoints)

    action = Action.BLEND if weight == 0.5 else Action.COPY
    assert {step.name for step in plan.steps} == checkpoints["a"].tensors.keys()
    assert {step.action for step in plan.steps} == {action}
    assert plan.nbytes == checkpoints["a"].nbytes


@given(
    extra=st.lists(
        st.dictionaries(st.sampled_from(["score.weight", "pooler.weight", "x.ids"]), st.just((3, 8)))
    ).filter(lambda pair: len(pair) == 2),
    tied=st.tuples(st.booleans(), st.booleans()),
    stored=st.tuples(st.booleans(), st.booleans()),
    row=weights,
    layer=weights,
)
def test_every_tensor_of_every_input_is_a_step_or_left_out(
    extra: list[dict[str, tuple[int, ...]]],
    tied: tuple[bool, bool],
    stored: tuple[bool, bool],
    row: float,
    layer: float,
) -> None:
    checkpoints = {
        key: checkpoint_of(
            {**llama_shapes(2, head=has_head or not is_tied), **more},
            {"tie_word_embeddings": is_tied, "vocab_size": 64},
            dtypes={"x.ids": DType.INT64},
        )
        for key, more, is_tied, has_head in zip(("a", "b"), extra, tied, stored, strict=True)
    }

    plan = make_plan(recipe_of(f"layers: {layer}, embeddings: {row}"), checkpoints)

    told = {("a", step.name) for step in plan.steps} | {("b", step.name) for step in plan.steps}
    told |= {(item.model, item.name) for item in plan.left_out}
    assert {(key, name) for key, held in checkpoints.items() for name in held.tensors} <= told
    names = [step.name for step in plan.steps]
    assert len(names) == len(set(names))


@given(layer=weights)
def test_0_and_1_are_copies_of_one_source_and_all_between_is_blended(layer: float) -> None:
    plan = plan_of(f"layers: {layer}")

    for step in plan.steps:
        if layer in (0, 1):
            assert (step.action, [source.model for source in step.sources]) == (Action.COPY, ["ab"[int(layer)]])
        else:
            assert (step.action, [source.model for source in step.sources]) == (Action.BLEND, ["a", "b"])
        assert step.weight == layer


def test_a_copy_says_why() -> None:
    plan = plan_of("layers: [0, 1, 0.25]")

    assert [step_of(plan, UP.format(layer)).reason for layer in range(3)] == ["weight 0", "weight 1", "weight 0.25"]


def test_a_copy_into_another_dtype_is_a_cast() -> None:
    b = checkpoint_of(llama_shapes(), dtypes=dict.fromkeys(llama_shapes(), DType.FLOAT16))

    plan = plan_of("layers: [0, 1, 0.5]", b=b)

    assert [step_of(plan, UP.format(layer)).action for layer in range(3)] == [Action.COPY, Action.CAST, Action.BLEND]
    assert step_of(plan, UP.format(1)).reason == "weight 1, float16 to bfloat16"
    assert {step.dtype for step in plan.steps} == {DType.BFLOAT16}
    assert config_edits_of(plan) == {}


@pytest.mark.parametrize("dtype", [DType.FLOAT32, DType.FLOAT16])
def test_an_output_dtype_is_that_of_every_weight_and_stands_in_the_config(dtype: DType) -> None:
    a = checkpoint_of({**llama_shapes(), "score.weight": (2, 8)}, {"torch_dtype": "bfloat16", "vocab_size": 64})

    plan = plan_of("layers: [0, 1, 0.5]", a=a, dtype=dtype.label)

    assert {step.dtype for step in plan.steps} == {dtype}
    assert {step.action for step in plan.steps} == {Action.CAST, Action.BLEND}
    assert plan.nbytes == a.elements * dtype.bits // 8
    assert config_edits_of(plan) == {"torch_dtype": dtype.label}


def test_the_dtype_that_the_config_says_already_is_not_edited() -> None:
    assert config_edits_of(plan_of("layers: 0.5", dtype="bfloat16")) == {}
    assert config_edits_of(plan_of("layers: 0.5", dtype="float32")) == {"dtype": "float32"}


def test_buffers_and_integers_keep_their_dtype(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(write_neox(tmp_path))

    plan = plan_of("layers: 0.5", checkpoint, checkpoint, dtype="float32")

    mask = step_of(plan, "gpt_neox.layers.0.attention.masked_bias")
    assert (mask.action, mask.dtype, mask.weight) == (Action.COPY, DType.FLOAT16, 0.0)
    assert mask.reason == "a buffer, computed from the config"
    ids = checkpoint_of({**llama_shapes(), "x.ids": (9,)}, dtypes={"x.ids": DType.INT64})
    assert step_of(plan_of("layers: 0.5", ids, ids, dtype="float32"), "x.ids").dtype is DType.INT64


@pytest.mark.parametrize("key", ["dtype", "tie_word_embeddings"])
def test_a_key_of_a_part_is_edited_there_and_not_written_a_second_time(key: str) -> None:
    values = {"dtype": "bfloat16", "tie_word_embeddings": True}
    config = {"vocab_size": 64, "text_config": {"hidden_size": 8, key: values[key]}}
    a, b = checkpoint_of(llama_shapes(), config), checkpoint_of(llama_shapes(), {**config, "text_config": {}})
    edits = edit_config(a, "float32" if key == "dtype" else "as owner", False if key != "dtype" else None, None)

    assert edits == {"text_config": {"hidden_size": 8, key: "float32" if key == "dtype" else False}}
    assert edit_config(b, "float32", False, None) == {"dtype": "float32", "tie_word_embeddings": False}


def vocabularies(tokens: Mapping[str, int] | None) -> dict[str, Checkpoint]:
    """Two models of equal size whose tokenizers differ, where they can be read; B's weights are float16."""
    halves = dict.fromkeys(llama_shapes(), DType.FLOAT16)
    a = checkpoint_of(llama_shapes(), files=FILES)
    b = checkpoint_of(llama_shapes(), files=FILES, dtypes=halves, name="B")
    held = {key: {f"{key} alone": 0, **tokens} if tokens else None for key in "ab"}
    return {key: replace(model, vocabulary=Vocabulary(key, held[key])) for key, model in zip("ab", (a, b), strict=True)}


@pytest.mark.parametrize("giver", ["a", "b"])
def test_generation_config_names_tokens_so_it_goes_with_the_vocabulary(giver: str) -> None:
    pair = vocabularies({"the": 1})

    plan = plan_of("layers: 0.5", pair["a"], pair["b"], tokenizer=giver)

    givers = {file.name: file.model for file in plan.side_files}
    assert givers == {
        "config.json": "a",
        "generation_config.json": giver,
        "tokenizer.json": giver,
        "vocab.json": giver,
    }


def test_rows_of_another_models_vocabulary_have_the_owners_dtype() -> None:
    pair = vocabularies(None)

    plan = plan_of("layers: 0.5", pair["a"], pair["b"], tokenizer="b")

    step = step_of(plan, EMBEDDINGS)
    assert (step.action, step.dtype, [source.model for source in step.sources]) == (Action.CAST, DType.BFLOAT16, ["b"])
    assert step.reason.endswith(", float16 to bfloat16")


def test_code_is_not_carried_along() -> None:
    a = checkpoint_of(llama_shapes(), {"auto_map": {"AutoModel": "x.py"}, "vocab_size": 64})

    assert config_edits_of(plan_of("layers: 0.5", a=a)) == {"auto_map": None}


@given(size=st.integers(10**6, 10**7), sizes=st.lists(st.integers(1, 2 * 10**6), min_size=1, max_size=12))
def test_shards_are_filled_in_order_and_no_fuller_than_they_may_be(size: int, sizes: list[int]) -> None:
    extra = {f"extra.{number}.weight": (elements,) for number, elements in enumerate(sizes)}
    a = checkpoint_of({**llama_shapes(), **extra})

    plan = plan_of("layers: 0.5", a=a, shard_size=size)

    assert [step.name for step in plan.steps] == list(a.tensors)
    for shard, following in zip(plan.shards, plan.shards[1:], strict=False):
        assert shard.nbytes + following.steps[0].nbytes > size
    for shard in plan.shards:
        assert shard.nbytes <= size or len(shard.steps) == 1
    count = len(plan.shards)
    names = [f"model-{number:05}-of-{count:05}.safetensors" for number in range(1, count + 1)]
    assert [shard.name for shard in plan.shards] == (names if count > 1 else ["model.safetensors"])


def test_wider_dtypes_come_first_in_a_shard() -> None:
    a = checkpoint_of({"x.ids": (3,), **llama_shapes()}, dtypes={HEAD: DType.FLOAT32, "x.ids": DType.INT8})

    widths = [step.dtype.bits for step in plan_of("layers: 0", a=a).steps]

    assert widths == sorted(widths, reverse=True)


@pytest.mark.parametrize("giver", ["a", "b"])
def test_tokenizer_files_come_from_the_model_that_the_recipe_names(giver: str) -> None:
    a, b = (checkpoint_of(llama_shapes(), name=name, files=FILES) for name in ("A", "B"))

    plan = plan_of("layers: 0.5", a, b, tokenizer=giver)

    assert {file.name: file.model for file in plan.side_files} == {
        "config.json": "a",
        "generation_config.json": "a",
        "tokenizer.json": giver,
        "vocab.json": giver,
    }
    loser = "b" if giver == "a" else "a"
    assert {item for item in plan.left_out if item.model == loser and "tokenizer" in item.name} == {
        LeftOut(loser, "tokenizer.json", f"this file comes from {giver.upper()}")
    }


def test_every_side_file_is_copied_or_left_out() -> None:
    a, b = checkpoint_of(llama_shapes(), files=FILES), checkpoint_of(llama_shapes(), files=[*FILES, "only_b.json"])

    plan = plan_of("layers: 0.5", a, b)

    told = {(file.model, file.name) for file in plan.side_files} | {(i.model, i.name) for i in plan.left_out}
    assert told == {(key, file.name) for key, held in (("a", a), ("b", b)) for file in held.side_files}
    assert SideFileStep("vocab.json", "a", {}) in plan.side_files


def test_the_canonical_recipe_is_the_same_for_a_preset_and_for_its_numbers() -> None:
    written = "layers: [0, 0.5, 1], embeddings: 0.0, final_norm: 1, head: 1"

    assert plan_of("layers: {preset: rise}").canonical == plan_of(written).canonical


def test_the_canonical_recipe_has_names_and_digests_but_no_path(tmp_path: Path) -> None:
    a, b = (open_checkpoint(write_llama(tmp_path / name, layers=2)) for name in ("first", "second"))

    canonical = plan_of("layers: 0.5", a, b).canonical

    assert str(tmp_path) not in canonical
    assert "./A" not in canonical
    read = parse_recipe(canonical)
    assert read.models == {"a": f"first@{a.header_digest}", "b": f"second@{b.header_digest}"}
    assert read.weights == Weights(layers=(0.5, 0.5), embeddings=0.5, final_norm=0.5, head=0.5)


def test_a_model_of_the_hub_is_named_by_its_commit() -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    from_hub = replace(llama(name="B"), origin=HubReference("org/name", commit))

    models = parse_recipe(plan_of("layers: 0.5", llama(name="A"), from_hub).canonical).models

    assert models == {"a": f"A@{llama(name='A').header_digest}", "b": f"org/name@{commit}"}
    assert from_hub.name == "org/name"


def test_the_canonical_recipe_is_sorted_but_keeps_the_order_of_the_models() -> None:
    text = "output: {dtype: float32}\nmodels: {z: Z, a: A}\nweights: {head: 0, layers: 0.5}\nblockmerge: 1\n"

    canonical = make_plan(
        parse_recipe(text.replace("}\nmodels", ", tokenizer: z}\nmodels")), {"z": llama(name="Z"), "a": llama()}
    ).canonical

    assert canonical == (
        "base: null\n"
        "blockmerge: 1\n"
        "method: linear\n"
        "models: {z: Z@digest-of-Z, a: A@digest-of-A}\n"
        "output: {dtype: float32, nonfinite: refuse, shard_size: 5000000000, tokenizer: z}\n"
        "parameters: {normalize: false}\n"
        "seed: 0\n"
        "weights:\n"
        "  embeddings: 0.5\n"
        "  final_norm: 0.5\n"
        "  head: 0.0\n"
        "  layers: [0.5, 0.5, 0.5]\n"
    )


@given(layer=weights, row=weights, lane=st.none() | weights)
def test_the_canonical_recipe_makes_the_same_plan_again(layer: float, row: float, lane: float | None) -> None:
    plan = plan_of(f"layers: {layer}, head: {row}, tensors: {{'*.1.mlp.*': {row}}}, mlp: {lane or layer}")

    again = make_plan(parse_recipe(plan.canonical), plan.checkpoints)

    assert again.canonical == plan.canonical
    assert again.steps == plan.steps


def test_a_plan_tells_what_it_decided_by_itself() -> None:
    b = checkpoint_of({**llama_shapes(), "score.weight": (2, 8)})

    assert plan_of("layers: [0, 1.5, -0.5]", b=b).notes == (
        "score.weight of B is left out: A has no such tensor.",
        "14 tensors have a weight beyond 0 to 1: the result extrapolates there.",
    )


def test_many_tensors_that_are_left_out_are_one_note(tmp_path: Path) -> None:
    a, b = (open_checkpoint(write_neox(tmp_path / name, buffers=name == "b")) for name in ("a", "b"))

    plan = plan_of("layers: 0.5", a, b)

    assert plan.notes == (
        "Neither A nor B brings tokenizer files, so the rows of the embeddings are matched by number.",
        "gpt_neox.layers.0.attention.bias of B and 5 more tensors are left out: A has no such tensor.",
    )
    assert sum(item.reason == "A has no such tensor" for item in plan.left_out) == 6


def test_a_recipe_for_another_method_is_refused_with_all_reasons() -> None:
    recipe = parse_recipe(
        "blockmerge: 1\nmodels: {a: A, b: B}\nweights: {layers: [0]}\nbase: C\nparameters: {density: 1}\n"
        "output: {tokenizer: c}\n"
    )

    assert problems_of(recipe, b=llama(2)) == (
        "base: linear takes no base. Remove the key or write 'base: null'.",
        "output.tokenizer: 'c' is none of the models base, a, b.",
        "base has 3 layers, B has 2. A blend needs the same number. Choose another B.",
        "parameters.density: linear has no such parameter. Known: normalize.",
    )


@pytest.mark.parametrize(
    ("method", "models", "problem"),
    [
        ("linear", "{a: A}", "models: linear takes 2 or more models, the recipe names 1."),
        ("slerp", "{a: A, b: B, c: C}", "models: slerp takes 2 models, the recipe names 3."),
    ],
)
def test_a_method_says_how_many_models_it_takes(method: str, models: str, problem: str) -> None:
    recipe = parse_recipe(f"blockmerge: 1\nmethod: {method}\nmodels: {models}\nweights: {{layers: 0}}\n")

    assert problem in problems_of(recipe)


def test_problems_of_the_models_and_of_the_weights_are_told_at_once() -> None:
    b = checkpoint_of({**llama_shapes(), EMBEDDINGS: (64, 9)})

    assert problems_of(recipe_of("layers: [0]"), b=b) == (
        f"{EMBEDDINGS} is 64×8 in A and 64×9 in B. These are different sizes of model. Choose another B.",
        "weights.layers: expected 3 numbers, one per layer, found 1.",
    )


def test_a_pair_that_does_not_fit_has_no_layout() -> None:
    with pytest.raises(PlanError, match="A has 3 layers, B has 2"):
        check_models(("a", "b"), {"a": llama(3), "b": llama(2)})


PRINT_A_PLAN = """
import json
from blockmerge.core.describe import describe_plan
from tests.core.test_plan import llama, make_plan, recipe_of, checkpoint_of, llama_shapes
b = checkpoint_of({**llama_shapes(), "score.weight": (2, 8), "pooler.weight": (8, 8)}, files=["vocab.json", "x.json"])
print(json.dumps(describe_plan(make_plan(recipe_of("layers: 0.5, mlp: 1"), {"a": llama(), "b": b}))))
"""


def test_the_plan_does_not_depend_on_the_hash_seed() -> None:
    plans = {
        subprocess.run(
            [sys.executable, "-c", PRINT_A_PLAN],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[2])},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }

    assert len(plans) == 1
