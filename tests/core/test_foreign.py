"""Recipes that were written elsewhere: what is read, what is said about it, and what is refused."""

import json
from collections.abc import Mapping
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blockmerge.core.foreign import read_foreign
from blockmerge.core.mergekit_reader import Reading
from blockmerge.core.mergekit_writer import write_mergekit
from blockmerge.core.plan import make_plan
from blockmerge.core.recipe import Recipe, ShapeLine, parse_recipe
from blockmerge.errors import RecipeError
from tests.core.made import EMBEDDINGS, HEAD, llama

PAIR = ("example/lowercase", "example/capitals")
TWO = "models: [{model: a}, {model: b}]\n"
LAYERS = 4
UP = "model.layers.{}.mlp.up_proj.weight"
QUERY = "model.layers.{}.self_attn.q_proj.weight"


def read(text: str) -> Reading:
    return read_foreign(text, PAIR)


def weights_of(recipe: Recipe, layers: int = LAYERS) -> Mapping[str, float]:
    models = {key: llama(layers, name=key) for key in recipe.references}
    return {step.name: step.weight for step in make_plan(recipe, models).steps}


numbers = st.integers(0, 1000).map(lambda number: number / 1000)


@settings(max_examples=30)
@given(
    method=st.sampled_from(["linear", "slerp"]),
    layers=st.lists(numbers, min_size=LAYERS, max_size=LAYERS),
    mlp=st.lists(numbers, min_size=LAYERS, max_size=LAYERS) | st.none(),
    head=numbers,
)
def test_what_is_written_for_mergekit_is_read_back(
    method: str, layers: list[float], mlp: list[float] | None, head: float
) -> None:
    lane = f"mlp: {mlp}, " if mlp else ""
    recipe = parse_recipe(
        f"blockmerge: 1\nmethod: {method}\nmodels: {{a: ./A, b: ./B}}\n"
        f"weights: {{layers: {layers}, {lane}head: {head}}}\n"
    )
    text = write_mergekit(make_plan(recipe, {key: llama(LAYERS, name=key) for key in "ab"}))

    again = read(text).recipe

    assert (again.method, again.models) == (recipe.method, recipe.models)
    assert weights_of(again) == pytest.approx(weights_of(recipe), abs=1e-6)


def test_a_slerp_with_gradients_is_read_and_told() -> None:
    reading = read("""
        merge_method: slerp
        base_model: org/a
        models: [{model: org/a}, {model: org/b}]
        parameters:
          t:
            - {filter: self_attn, value: [0, 0.5, 0.3, 0.7, 1]}
            - {filter: mlp, value: [1, 0.5, 0.7, 0.3, 0]}
            - {value: 0.5}
        dtype: bfloat16
    """)

    weights = reading.recipe.weights
    assert reading.recipe.models == {"a": "org/a", "b": "org/b"}
    assert isinstance(weights.attention, ShapeLine)
    assert weights.attention.anchors == (0, 0.5, 0.3, 0.7, 1)
    assert weights.layers == 0.5
    assert reading.exact == ("The weights, the method and the models are read as they are written.",)
    assert reading.approximate == (
        "A list of numbers is spread evenly over the layers, as in mergekit, and rounded to three decimals.",
        "mergekit rounds the models to bfloat16 before merging; here only the result.",
    )


def test_final_norm_and_head_take_the_first_number_of_a_list_as_in_mergekit() -> None:
    recipe = read(
        "merge_method: slerp\nbase_model: a\nmodels: [{model: a}, {model: b}]\nparameters: {t: [0.2, 1]}\n"
    ).recipe

    found = weights_of(recipe)
    assert (found[EMBEDDINGS], found["model.norm.weight"], found[HEAD]) == (0.2, 0.2, 0.2)


def test_weights_are_shares_where_mergekit_divides_by_their_sum() -> None:
    two = (
        "merge_method: linear\nmodels:\n- {model: a, parameters: {weight: 3}}\n- {model: b, parameters: {weight: 1}}\n"
    )

    assert read(two).recipe.weights.layers == 0.25
    with pytest.raises(
        RecipeError, match=r"^weight: without normalize the weights of a block must sum to 1, found 4\.$"
    ):
        read(two + "parameters: {normalize: false}\n")


def test_slices_that_only_set_weights_are_a_number_per_layer() -> None:
    slice_ = (
        "- sources: [{{model: a, layer_range: [{0}, {1}]}}, {{model: b, layer_range: [{0}, {1}]}}]\n"
        "  parameters: {{t: {2}}}\n"
    )
    text = (
        "merge_method: slerp\nbase_model: a\nslices:\n" + slice_.format(0, 1, 0.1) + slice_.format(1, 4, "[0.2, 0.8]")
    )

    reading = read(text)

    assert reading.recipe.weights.layers == (0.1, 0.2, 0.5, 0.8)
    assert reading.exact == ("4 layers, the method and the models are read as they are written.",)
    assert weights_of(reading.recipe)[UP.format(2)] == 0.5


def test_slices_that_stack_layers_are_refused() -> None:
    text = "merge_method: passthrough\nslices:\n" + "".join(
        f"- sources: [{{model: a, layer_range: [{first}, {first + 8}]}}]\n" for first in (0, 4)
    )

    with pytest.raises(RecipeError) as refused:
        read(text)
    assert str(refused.value) == (
        "slices[1]: expected layers from 8 on, the same of every model. A file that stacks, repeats or drops layers "
        "makes another depth, which a recipe cannot say."
    )


def test_the_task_arithmetic_family_says_what_mergekit_takes_silently() -> None:
    recipe = read("""
        merge_method: ties
        base_model: base
        models:
          - {model: base}
          - {model: x, parameters: {weight: 0.5, density: 0.3}}
          - {model: y, parameters: {weight: [0, 1], density: 0.3}}
    """).recipe

    assert (recipe.base, recipe.models) == ("base", {"a": "x", "b": "y"})
    assert recipe.parameters == {"density": 0.3, "lambda": 1.0, "normalize": True}
    assert recipe.weights.by_model["a"].layers == 0.5
    assert weights_of(recipe)[QUERY.format(3)] == 1


def test_an_unknown_filter_becomes_a_glob() -> None:
    recipe = read(
        "merge_method: slerp\nbase_model: a\nmodels: [{model: a}, {model: b}]\n"
        "parameters: {t: [{filter: up_proj, value: 0.9}, {value: 0.5}]}\n"
    ).recipe

    assert recipe.weights.tensors == {"*up_proj*": 0.9}
    assert weights_of(recipe)[UP.format(0)] == 0.9


@pytest.mark.parametrize("count", [25, 26])
def test_the_numbers_of_supermerger_are_one_curve(count: int) -> None:
    reading = read(", ".join(str(round(number / 24, 3)) for number in range(-(count - 25), 25)))

    found = weights_of(reading.recipe, 25)
    assert found[UP.format(0)] == 0
    assert found[UP.format(12)] == 0.5
    assert found[UP.format(24)] == 1
    assert tuple(reading.recipe.models.values()) == PAIR
    assert len(reading.approximate) == (2 if count == 25 else 3)


def test_our_own_recipe_is_read_whole_also_as_json() -> None:
    text = '{"blockmerge": 1, "models": {"a": "./A", "b": "./B"}, "weights": {"layers": 0.5}}'

    assert read(text) == Reading(parse_recipe(text), ("The whole recipe is read as it is written.",), ())


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (" \n", "This is empty. Paste a recipe, a mergekit file, or the 26 numbers of SuperMerger."),
        ("x" * 1_000_001, "This is larger than 1 MB. A recipe is a page of text; is this the right file?"),
        (
            "hello",
            "This is no recipe: expected 'blockmerge: 1' at its beginning, a mergekit file with merge_method, or the "
            "26 numbers of SuperMerger.",
        ),
        (
            "0.5, 0.5",
            "Expected the 26 numbers of SuperMerger (BASE, IN00 to IN11, M00, OUT00 to OUT11), found 2. Weights of "
            "your own layers go into the text view of the Merge tab.",
        ),
        ("1e, 2", "These are not numbers: '1e'."),
        ("merge_method: sleep\nmodels: []", "merge_method: 'sleep' is not a merge method. Did you mean 'slerp'?"),
        ("merge_method: slerp", "Expected either models or slices, as mergekit does."),
        (
            "merge_method: linear\nmodels: [{model: a+lora}]",
            "models[0].model: expected the name of a model, found 'a+lora'. Adapters are not read.",
        ),
        (f"merge_method: linear\n{TWO}", "weight: linear needs this number of a, and it is not there."),
        ("merge_method: slerp\nmodels: [{model: a}]", "slerp: expected two models, and one of them as base_model."),
        (
            f"merge_method: slerp\nbase_model: a\n{TWO}parameters: {{t: [{{filter: mlp, value: 1}}]}}",
            "t: there is no number for what no filter names. Add an entry with a value alone.",
        ),
        (
            f"merge_method: slerp\nbase_model: a\n{TWO}parameters: {{t: .nan}}",
            "t: expected a number, found '.nan'.",
        ),
        (
            "merge_method: linear\nmodels: [{model: a}]\nmodules: {}",
            "modules: files for several modules are not read. Draw the weights of each stack instead.",
        ),
    ],
)
def test_what_is_no_recipe_gets_a_sentence(text: str, sentence: str) -> None:
    with pytest.raises(RecipeError) as refused:
        read(text)
    assert str(refused.value) == sentence


words = st.sampled_from(["a", 1, 0.5, None, True, [0, 1], {"value": 1}, {"filter": "mlp", "value": [0, 1]}, "nan", []])


@settings(max_examples=100)
@given(
    st.dictionaries(
        st.sampled_from(["models", "slices", "base_model", "parameters", "dtype", "tokenizer_source"]),
        words | st.lists(st.dictionaries(st.sampled_from(["model", "parameters", "sources", "layer_range"]), words)),
    )
)
def test_a_forged_file_is_read_or_refused_and_never_breaks(value: dict[str, object]) -> None:
    with suppress(RecipeError):
        read(json.dumps({"merge_method": "slerp", **value}))
