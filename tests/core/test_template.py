import pytest

from blockmerge.core.blocks import list_blocks
from blockmerge.core.detection import detect_layout
from blockmerge.core.layout import Layout
from blockmerge.core.plan import make_plan
from blockmerge.core.recipe import StackWeights, parse_recipe
from blockmerge.core.template import write_template
from tests.core.made import llama, llama_shapes, zoo_layout
from tests.core.zoo import read_zoo

MODELS = {"a": "./A", "b": "./B"}


def template_of(layout: Layout, models: dict[str, str] = MODELS) -> str:
    return write_template(models, "linear", list_blocks(layout))


def test_a_template_of_three_layers() -> None:
    assert template_of(detect_layout(llama_shapes(3), {})) == (
        """\
blockmerge: 1
method: linear  # The average of the weights.
models: {a: "./A", b: "./B"}
base: null
weights:  # 0 is all a, 1 is all b
  layers:
    - 0.5  # layer 0
    - 0.5  # layer 1
    - 0.5  # layer 2
  # attention: 0.5  # for this module, wins over layers
  # mlp: 0.5  # for this module, wins over layers
  # norm: 0.5  # for this module, wins over layers
  embeddings: 0.5
  final_norm: 0.5
  head: 0.5
  # tensors: {"*.layers.3.mlp.*": 0.9}  # globs on tensor names; they win over all
parameters: {}
seed: 0
output: {dtype: as owner, shard_size: 5GB, tokenizer: a, nonfinite: refuse}
"""
    )


@pytest.mark.parametrize("name", read_zoo())
def test_a_template_parses_and_names_every_layer_and_row_at_a_half(name: str) -> None:
    blocks = list_blocks(zoo_layout(name))

    text = template_of(zoo_layout(name))

    weights = parse_recipe(text).weights
    single = len(blocks.stacks) == 1
    assert weights.rows == dict.fromkeys(blocks.rows, 0.5)
    assert set(weights.stacks) == (set() if single else {stack.name for stack in blocks.stacks})
    for stack in blocks.stacks:
        own: StackWeights = weights if single else weights.stacks[stack.name]
        assert own.layers == (0.5,) * stack.depth
        assert own.lanes == {}
        assert single or own.rows == dict.fromkeys(stack.rows, 0.5)
        for lane in stack.lanes:
            assert f"# {lane}: 0.5  #" in text
    assert text.count("# layer ") == sum(stack.depth for stack in blocks.stacks)


def test_a_lane_may_be_uncommented() -> None:
    text = template_of(detect_layout(llama_shapes(3), {})).replace("# mlp: 0.5", "mlp: 0.9").replace("# tens", "tens")

    recipe = parse_recipe(text)

    assert recipe.weights.lanes == {"mlp": 0.9}
    assert recipe.weights.tensors == {"*.layers.3.mlp.*": 0.9}


def test_a_template_is_a_recipe_that_can_be_planned_as_it_is() -> None:
    recipe = parse_recipe(template_of(detect_layout(llama_shapes(3), {})))

    assert {step.weight for step in make_plan(recipe, {"a": llama(), "b": llama()}).steps} == {0.5}


@pytest.mark.parametrize("reference", ["C:\\models\\A", 'it\'s: a "model"', "模型", "1e5", "# no comment", "a\nb"])
def test_any_folder_name_is_read_back(reference: str) -> None:
    models = {"a": reference, "b": "./B"}

    assert parse_recipe(template_of(detect_layout(llama_shapes(3), {}), models)).models == models
