import re
from pathlib import Path

import pytest

from blockmerge.core.recipe import Output, Recipe, ShapeLine, StackWeights, Weights, parse_recipe
from blockmerge.core.shapes import load_presets

DOCS = (Path(__file__).parents[2] / "docs" / "recipe.md").read_text("utf-8")
BLOCKS = re.findall(r"^```yaml\n(.*?)^```$", DOCS, re.M | re.S)


@pytest.mark.parametrize("block", BLOCKS)
def test_every_recipe_in_the_docs_parses(block: str) -> None:
    assert len(parse_recipe(block).models) == 2


@pytest.mark.parametrize("model", [Recipe, Weights, StackWeights, ShapeLine, Output])
def test_every_key_of_a_recipe_is_in_the_docs(model: type[Recipe]) -> None:
    missing = [
        key for key in model.model_fields if key != "by_model" and f"`{key}`" not in DOCS and f"`{key}: " not in DOCS
    ]

    assert missing == []


def test_the_first_recipe_in_the_docs_is_a_whole_one() -> None:
    assert parse_recipe(BLOCKS[0]).model_fields_set == set(Recipe.model_fields)
    assert parse_recipe(BLOCKS[0]).output.model_fields_set == set(Output.model_fields)


def test_the_presets_stand_in_the_docs_in_their_order_and_words() -> None:
    rows = re.findall(r"^\| `([\w-]+)` \| (.*) \|$", DOCS, re.M)

    presets = [(preset.name, preset.description) for preset in load_presets().values()]
    assert [row for row in rows if row[0] in load_presets()] == presets
