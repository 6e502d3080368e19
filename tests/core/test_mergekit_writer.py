"""Plans in mergekit's grammar, read back by mergekit's own reader of settings."""

import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from blockmerge.core.hub_reference import HubReference
from blockmerge.core.mergekit_writer import mergekit_of_result, write_mergekit
from blockmerge.core.plan import Plan, make_plan
from blockmerge.core.recipe import parse_recipe
from blockmerge.errors import RecipeError
from tests.core.made import EMBEDDINGS, HEAD, checkpoint_of, llama, llama_shapes

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # it names numpy.core
    from mergekit.config import MergeConfiguration, evaluate_setting

LAYERS = 3


def plan_of(text: str, **models: Any) -> Plan:
    recipe = parse_recipe(f"blockmerge: 1\n{text}")
    return make_plan(recipe, {key: models.get(key) or llama(LAYERS, name=key) for key in recipe.references})


def pair(weights: str, method: str = "linear") -> Plan:
    return plan_of(f"method: {method}\nmodels: {{a: ./A, b: ./B}}\nweights: {{{weights}}}\n")


def as_mergekit_reads(setting: Any, plan: Plan) -> Mapping[str, float]:
    depth = plan.layout.stacks[0].depth
    return {
        name: evaluate_setting(name, setting, 0 if place.layer is None else place.layer / (depth - 1), validate=float)
        for name, place in plan.layout.places.items()
    }


def written(plan: Plan) -> MergeConfiguration:
    return MergeConfiguration.model_validate(yaml.safe_load(write_mergekit(plan)))


def test_in_a_result_models_stand_by_their_commits_and_folders_by_their_names() -> None:
    origin = HubReference("org/b", "0123456789abcdef0123456789abcdef01234567")
    models = {"a": llama(LAYERS, name="A"), "b": replace(llama(LAYERS, name="B"), origin=origin)}
    plan = plan_of("models: {a: /home/ann/A, b: org/b}\nweights: {layers: 0.5}\n", **models)

    text = mergekit_of_result(plan)

    assert [
        entry.model.model.path for entry in MergeConfiguration.model_validate(yaml.safe_load(text)).models or []
    ] == [
        "A",
        "org/b",
    ]
    assert f"org/b@{origin.revision}" in text
    assert "/home/ann" not in text
    random = plan_of(
        "method: dare_linear\nbase: C\nmodels: {a: ./A, b: ./B}\nweights: {a: {layers: 1}, b: {layers: 1}}\n"
    )
    assert mergekit_of_result(random) == ""


def test_a_linear_pair_is_two_lines_of_weights_that_sum_to_1() -> None:
    plan = pair("layers: [0, 0.25, 1], embeddings: 0.1")

    assert write_mergekit(plan) == (
        "merge_method: linear\n"
        "base_model: ./A\n"
        "models:\n"
        "- model: ./A\n"
        "  parameters:\n"
        "    weight:\n"
        "    - {filter: embed_tokens, value: 0.9}\n"
        "    - {filter: model.norm, value: 0.0}\n"
        "    - {filter: lm_head, value: 0.0}\n"
        "    - value: [1.0, 0.75, 0.0]\n"
        "- model: ./B\n"
        "  parameters:\n"
        "    weight:\n"
        "    - {filter: embed_tokens, value: 0.1}\n"
        "    - {filter: model.norm, value: 1.0}\n"
        "    - {filter: lm_head, value: 1.0}\n"
        "    - value: [0.0, 0.25, 1.0]\n"
        "parameters: {normalize: false}\n"
        "dtype: float32\n"
        "out_dtype: bfloat16\n"
    )


weights = st.integers(0, 1000).map(lambda number: number / 1000)


@settings(max_examples=40)
@given(
    layers=st.lists(weights, min_size=LAYERS, max_size=LAYERS),
    lanes=st.dictionaries(
        st.sampled_from(["attention", "mlp", "norm"]), st.lists(weights, min_size=LAYERS, max_size=LAYERS)
    ),
    rows=st.dictionaries(st.sampled_from(["embeddings", "final_norm", "head"]), weights),
)
def test_mergekit_reads_the_number_of_every_tensor(
    layers: list[float], lanes: dict[str, list[float]], rows: dict[str, float]
) -> None:
    said = {"layers": layers, **lanes, **rows}
    plan = pair(", ".join(f"{key}: {value}" for key, value in said.items()))

    theirs = as_mergekit_reads(written(plan).models[1].parameters["weight"], plan)  # type: ignore[index]

    for step in plan.steps:
        assert theirs[step.name] == pytest.approx(step.weight, abs=1e-9)


def test_slerp_is_one_line_from_the_base() -> None:
    plan = pair("layers: [0, 0.25, 1], mlp: 0.5", "slerp")
    theirs = written(plan)

    assert str(theirs.base_model) == "./A"
    numbers = as_mergekit_reads(theirs.parameters["t"], plan)  # type: ignore[index]
    assert numbers["model.layers.1.self_attn.q_proj.weight"] == 0.25
    assert numbers["model.layers.1.mlp.up_proj.weight"] == 0.5


def test_ties_says_density_lambda_and_normalize() -> None:
    plan = plan_of(
        "method: ties\nmodels: {b: ./B, c: ./C}\nbase: ./A\n"
        "weights: {b: {layers: 0.5}, c: {layers: [0, 1, 0.5]}}\n"
        "parameters: {density: 0.3, normalize: true}\noutput: {tokenizer: base}\n"
    )
    theirs = written(plan)

    assert str(theirs.base_model) == "./A"
    assert theirs.parameters == {"density": 0.3, "lambda": 1.0, "normalize": True}
    numbers = as_mergekit_reads(theirs.models[1].parameters["weight"], plan)  # type: ignore[index]
    assert (numbers[EMBEDDINGS], numbers["model.layers.1.mlp.up_proj.weight"], numbers[HEAD]) == (0, 1, 0.5)


@pytest.mark.parametrize(
    ("method", "weights", "reason"),
    [
        ("dare_linear", "b: {layers: 0.5}", "DARE drops numbers at random, and mergekit draws others."),
        (
            "nearswap",
            "layers: 0.5",
            "mergekit knows no strength for NearSwap: only a weight of 1 in every block can be written.",
        ),
        ("arcee_fusion", "layers: 1", "Arcee Fusion: mergekit samples its quartiles, here they are exact."),
    ],
)
def test_what_mergekit_cannot_say_is_refused_with_the_reason(method: str, weights: str, reason: str) -> None:
    plan = plan_of(
        f"method: {method}\nmodels: {{b: ./B}}\nbase: ./A\nweights: {{{weights}}}\noutput: {{tokenizer: base}}\n"
    )

    with pytest.raises(RecipeError) as refused:
        write_mergekit(plan)
    assert refused.value.problems == (reason,)


def test_another_tokenizer_and_other_names_are_refused_together() -> None:
    bare = {name.removeprefix("model."): shape for name, shape in llama_shapes(LAYERS).items()}
    plan = plan_of(
        "models: {a: ./A, b: ./B}\nweights: {layers: 0.5}\noutput: {tokenizer: b}\n", b=checkpoint_of(bare, name="B")
    )

    with pytest.raises(RecipeError) as refused:
        write_mergekit(plan)
    assert refused.value.problems == (
        "The models spell their tensors' names differently, and mergekit looks for one spelling.",
        "The tokenizer is another model's than the first. mergekit would rearrange the embeddings with it.",
    )


def test_a_glob_on_some_layers_becomes_a_list() -> None:
    shapes = llama_shapes(12)
    models = {key: checkpoint_of(shapes, name=key) for key in "ab"}
    text = 'models: {a: ./A, b: ./B}\nweights: {layers: 0.5, tensors: {"model.layers.?.mlp.*": 0.9}}\n'

    theirs = written(plan_of(text, **models)).models[1].parameters["weight"]  # type: ignore[index]

    numbers = as_mergekit_reads(theirs, plan_of(text, **models))
    assert numbers["model.layers.9.mlp.up_proj.weight"] == 0.9
    assert numbers["model.layers.11.mlp.up_proj.weight"] == 0.5
