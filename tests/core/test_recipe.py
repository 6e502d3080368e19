import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockmerge.core.layout import LANES, ROWS
from blockmerge.core.recipe import Output, Recipe, ShapeLine, StackWeights, Weights, dump_recipe, parse_recipe
from blockmerge.core.shapes import load_presets
from blockmerge.errors import RecipeError

HEAD = "blockmerge: 1\nmodels: {a: ./A, b: ./B}\n"
WHOLE = HEAD + "weights: {layers: 0.5}\n"

numbers = st.floats(-1, 2)
texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12) | st.sampled_from(["1e5", "no", "~", "a: b"])
shapes = st.builds(
    ShapeLine,
    anchors=st.lists(numbers, min_size=1, max_size=5).map(tuple),
    strength=st.floats(0, 1),
    flip=st.booleans(),
) | st.builds(ShapeLine, preset=st.sampled_from(tuple(load_presets())), strength=st.floats(0, 1), flip=st.booleans())
lines = st.none() | numbers | st.lists(numbers, max_size=6).map(tuple) | shapes
stack_keys = {"layers": lines, **dict.fromkeys(LANES, lines), **dict.fromkeys(ROWS, st.none() | numbers)}
weights = st.builds(
    Weights,
    **stack_keys,
    stacks=st.dictionaries(texts, st.builds(StackWeights, **stack_keys), max_size=2),
    tensors=st.dictionaries(texts, numbers, max_size=3),
)
outputs = st.builds(
    Output,
    dtype=st.sampled_from(["as owner", "float32", "float16", "bfloat16"]),
    shard_size=st.integers(10**6, 10**13),
    tokenizer=texts,
    nonfinite=st.sampled_from(["refuse", "warn"]),
)
recipes = st.builds(
    Recipe,
    models=st.dictionaries(texts, texts, min_size=1, max_size=3),
    base=st.none() | texts,
    weights=weights,
    seed=st.integers(0, 2**63 - 1),
    output=outputs,
)


def problems_of(text: str) -> tuple[str, ...]:
    with pytest.raises(RecipeError) as caught:
        parse_recipe(text)
    return caught.value.problems


def test_the_shortest_recipe_has_models_and_weights() -> None:
    recipe = parse_recipe(WHOLE)

    assert recipe == Recipe(models={"a": "./A", "b": "./B"}, weights=Weights(layers=0.5))
    assert (recipe.method, recipe.base, recipe.seed) == ("linear", None, 0)
    assert recipe.output == Output(dtype="as owner", shard_size=5 * 10**9, tokenizer="a", nonfinite="refuse")


def test_a_line_is_a_number_a_list_or_a_shape() -> None:
    recipe = parse_recipe(
        HEAD + "weights: {layers: 1, mlp: [0, 0.5], norm: {anchors: [0, 1], flip: true}, other: {preset: rise}}"
    )

    assert recipe.weights.layers == 1.0
    assert recipe.weights.lanes == {
        "mlp": (0.0, 0.5),
        "norm": ShapeLine(anchors=(0.0, 1.0), flip=True),
        "other": ShapeLine(preset="rise"),
    }


@given(recipe=recipes)
def test_what_is_dumped_is_parsed_to_an_equal_recipe(recipe: Recipe) -> None:
    assert parse_recipe(dump_recipe(recipe)) == recipe


def test_the_order_of_the_models_is_kept() -> None:
    recipe = parse_recipe("blockmerge: 1\nmodels: {z: Z, a: A}\nweights: {layers: 0}\n")

    assert recipe.owner == "z"
    assert list(parse_recipe(dump_recipe(recipe)).models) == ["z", "a"]


def test_the_base_owns_the_result_where_there_is_one() -> None:
    assert parse_recipe(WHOLE + "base: ./C").owner == "base"


def test_minus_zero_is_zero() -> None:
    assert dump_recipe(parse_recipe(HEAD + "weights: {layers: -0.0}")) == dump_recipe(
        parse_recipe(HEAD + "weights: {layers: 0}")
    )


@pytest.mark.parametrize(
    ("text", "nbytes"),
    [
        ("5GB", 5 * 10**9),
        ("500MB", 5 * 10**8),
        ("500 MB", 5 * 10**8),
        ("2GiB", 2 * 2**30),
        ("512MiB", 512 * 2**20),
        ("0.5GB", 5 * 10**8),
        ("1.25MB", 1_250_000),
        ("1000000", 10**6),
    ],
)
def test_a_size_is_a_number_and_a_unit(text: str, nbytes: int) -> None:
    assert parse_recipe(f"{WHOLE}output: {{shard_size: {text}}}").output.shard_size == nbytes


@pytest.mark.parametrize("text", ["5TB", "5 gb", "-5GB", "GB", "5", "0.5MB", "1e3MB", "5GB5", "true", "[1]", "null"])
def test_what_is_no_size_is_refused(text: str) -> None:
    [problem] = problems_of(f"{WHOLE}output: {{shard_size: {text}}}")

    assert problem.startswith(("output.shard_size: expected a size such as 5GB", "output.shard_size: expected 1MB or"))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "",
            "The recipe must be a mapping that starts with 'blockmerge: 1'. docs/recipe.md shows one.",
        ),
        (
            "models: {a: A}",
            "The recipe does not start with 'blockmerge: 1', so this may be another kind of file.",
        ),
        ("blockmerge: 2", "blockmerge: expected 1, the version of recipes that is read here, found 2."),
        ("blockmerge: true", "blockmerge: expected 1, the version of recipes that is read here, found True."),
        ("blockmerge: 1.0", "blockmerge: expected 1, the version of recipes that is read here, found 1.0."),
        (HEAD, "weights: this key is missing. docs/recipe.md shows a whole recipe."),
        (HEAD + "weights:", "weights: expected keys with values, found nothing."),
        (WHOLE + "outputs: {}", "outputs: this key is unknown. Did you mean 'output'?"),
        (
            WHOLE + "x: 1",
            "x: this key is unknown. Known: blockmerge, method, models, base, weights, parameters, seed, output.",
        ),
        (WHOLE + "out.put: 1", "['out.put']: this key is unknown. Did you mean 'output'?"),
        (WHOLE + "method: liner", "method: 'liner' is not a merge method. Did you mean 'linear'?"),
        (WHOLE + "base: 3", "base: expected a text, found 3."),
        (WHOLE + "seed: -1", "seed: expected 0 or more, found -1."),
        (WHOLE + "seed: 1.5", "seed: expected a whole number, found 1.5."),
        (
            WHOLE + "seed: 9223372036854775808",
            "seed: expected less than 9223372036854775808, found 9223372036854775808.",
        ),
        (WHOLE + "parameters: 3", "parameters: expected keys with values, found 3."),
        (
            WHOLE + "output: {dtype: int8}",
            "output.dtype: expected 'as owner', 'float32', 'float16' or 'bfloat16', found 'int8'.",
        ),
        (WHOLE + "output: {nonfinite: no}", "output.nonfinite: expected 'refuse' or 'warn', found 'no'."),
        (WHOLE + "output: {tokeniser: a}", "output.tokeniser: this key is unknown. Did you mean 'tokenizer'?"),
        (
            WHOLE + "output: {shard_size: 5TB}",
            "output.shard_size: expected a size such as 5GB or 500MB (MB, GB, MiB or GiB), found '5TB'.",
        ),
        (WHOLE + "output: {shard_size: 5}", "output.shard_size: expected 1MB or more, found 5."),
    ],
)
def test_a_problem_says_where_and_what_was_expected(text: str, problem: str) -> None:
    assert problems_of(text) == (problem,)


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("layrs: 1", "weights.layrs: this key is unknown. Did you mean 'layers'?"),
        ("layers: [0, 0, 2.5]", "weights.layers[2]: expected 2 or less, found 2.5."),
        ("layers: -1.5", "weights.layers: expected -1 or more, found -1.5."),
        ("layers: no", "weights.layers: expected a number, found 'no'."),
        ("layers: true", "weights.layers: expected a number, found True."),
        ("layers: 1e999", "weights.layers: expected a number, found inf."),
        ("layers: {}", "weights.layers: a shape has either anchors or a preset."),
        ("mlp: {anchors: [0], preset: rise}", "weights.mlp: a shape has either anchors or a preset."),
        ("mlp: {anchors: []}", "weights.mlp.anchors: expected 1 or more entries, found []."),
        ("mlp: {anchors: 3}", "weights.mlp.anchors: expected a list of numbers, found 3."),
        ("mlp: {anchors: [1, x]}", "weights.mlp.anchors[1]: expected a number, found 'x'."),
        ("mlp: {anchor: [1]}", "weights.mlp.anchor: this key is unknown. Did you mean 'anchors'?"),
        ("norm: {preset: rize}", "weights.norm.preset: 'rize' is not a preset. Did you mean 'rise'?"),
        ("norm: {preset: rise, strength: 2}", "weights.norm.strength: expected 1 or less, found 2."),
        ("norm: {preset: rise, flip: 1}", "weights.norm.flip: expected true or false, found 1."),
        ("head: [1]", "weights.head: expected a number, found [1]."),
        ("tensors: {'model.*': 3}", "weights.tensors['model.*']: expected 2 or less, found 3."),
        ("stacks: 3", "weights.stacks: expected keys with values, found 3."),
        ("stacks: {text: 0.5}", "weights.stacks.text: expected keys with values, found 0.5."),
        ("stacks: {text: {mpl: 1}}", "weights.stacks.text.mpl: this key is unknown. Did you mean 'mlp'?"),
        (
            "stacks: {text: {layers: {strenght: 1, preset: rise}}}",
            "weights.stacks.text.layers.strenght: this key is unknown. Did you mean 'strength'?",
        ),
        (
            "stacks: {text: {tensors: {}}}",
            "weights.stacks.text.tensors: this key is unknown. Known: layers, attention, mlp, norm, router, mixer, "
            "other, embeddings, final_norm, head, connector, outside.",
        ),
    ],
)
def test_a_problem_of_a_weight_has_its_path(entry: str, problem: str) -> None:
    assert problems_of(HEAD + f"weights: {{{entry}}}") == (problem,)


@pytest.mark.parametrize(
    ("models", "problem"),
    [
        ("{}", "models: expected 1 or more entries, found {}."),
        ("[A, B]", "models: expected keys with values, found ['A', 'B']."),
        ("{a: 3}", "models.a: expected a text, found 3."),
        ("{a: ''}", "models.a: expected a text, found ''."),
        ("{1: A}", "models[1]: expected a text, found 1."),
        ("{list: 3}", "models.list: expected a text, found 3."),
    ],
)
def test_a_problem_of_a_model_has_its_path(models: str, problem: str) -> None:
    assert problems_of(f"blockmerge: 1\nmodels: {models}\nweights: {{layers: 0}}") == (problem,)


def test_every_problem_is_told_at_once() -> None:
    text = "blockmerge: 1\nmethod: slurp\nweights: {layer: [0], head: 3, stacks: {e: {mlp: x}}}\nseeds: 0\n"

    assert problems_of(text) == (
        "method: 'slurp' is not a merge method. Did you mean 'slerp'?",
        "models: this key is missing. docs/recipe.md shows a whole recipe.",
        "weights.head: expected 2 or less, found 3.",
        "weights.stacks.e.mlp: expected a number, found 'x'.",
        "weights.layer: this key is unknown. Did you mean 'layers'?",
        "seeds: this key is unknown. Did you mean 'seed'?",
    )


def test_a_long_value_is_cut_in_the_error() -> None:
    [problem] = problems_of(HEAD + f"weights: {{layers: {'x' * 100}}}")

    assert problem == f"weights.layers: expected a number, found '{'x' * 56}…."
