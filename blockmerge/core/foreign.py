"""Recipes that were written elsewhere: our own files, mergekit's, and the 26 numbers of SuperMerger."""

import re

from blockmerge.core.mergekit_reader import Reading, read_mergekit
from blockmerge.core.recipe import read_recipe
from blockmerge.core.yaml_reader import read_yaml
from blockmerge.errors import RecipeError

MAX_BYTES = 1_000_000
BLOCKS = 25  # of an image model's U-Net, in and out; SuperMerger writes the text encoder, BASE, before them

_NUMBERS = re.compile(r"[-+\d.eE,;\s]+")


def read_foreign(text: str, models: tuple[str, str]) -> Reading:
    """The recipe in a text, whatever wrote it. `models` stand in where the text names none.

    Raises RecipeError with every reason why there is none.
    """
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise RecipeError("This is larger than 1 MB. A recipe is a page of text; is this the right file?")
    if not text.strip():
        raise RecipeError("This is empty. Paste a recipe, a mergekit file, or the 26 numbers of SuperMerger.")
    if _NUMBERS.fullmatch(text):
        return _read_block_numbers(text, models)
    value = read_yaml(text.removeprefix("\ufeff"), "The text")
    if isinstance(value, dict) and "merge_method" in value:
        return read_mergekit(value)
    if isinstance(value, dict) and "blockmerge" in value:
        return Reading(read_recipe(value), ("The whole recipe is read as it is written.",), ())
    raise RecipeError(
        "This is no recipe: expected 'blockmerge: 1' at its beginning, a mergekit file with merge_method, or the 26 "
        "numbers of SuperMerger."
    )


def _read_block_numbers(text: str, models: tuple[str, str]) -> Reading:
    words = [word for word in re.split(r"[,;\s]+", text) if word]
    try:
        numbers = [float(word) for word in words]
    except ValueError as error:
        raise RecipeError(
            f"These are not numbers: {str(error).removeprefix('could not convert string to float: ')}."
        ) from error
    if len(numbers) not in (BLOCKS, BLOCKS + 1):
        raise RecipeError(
            f"Expected the {BLOCKS + 1} numbers of SuperMerger (BASE, IN00 to IN11, M00, OUT00 to OUT11), found "
            f"{len(numbers)}. Weights of your own layers go into the text view of the Merge tab."
        )
    blocks = numbers[-BLOCKS:]
    recipe = {
        "blockmerge": 1,
        "models": dict(zip("ab", models, strict=True)),
        "weights": {"layers": {"anchors": blocks}},
    }
    base = [f"BASE, {numbers[0]:g}, was for the text encoder of an image model and is left out."]
    return Reading(
        read_recipe(recipe),
        (),
        (
            f"The {BLOCKS} blocks of an image model are read as one curve over the depth, IN00 first, OUT11 last.",
            *(base if len(numbers) > BLOCKS else ()),
            f"The numbers name no models, so {' and '.join(models)} stand in. Choose yours on the Merge tab.",
        ),
    )
