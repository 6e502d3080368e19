"""From kept recipes to what the Recipes tab says about them: plain values, no widgets."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from blockmerge.core.blocks import resolve_line
from blockmerge.core.mergekit_reader import Reading
from blockmerge.core.mergekit_writer import write_mergekit
from blockmerge.core.methods import METHODS
from blockmerge.core.plan import Plan
from blockmerge.core.recipe import Recipe, ShapeLine, StackWeights, dump_recipe
from blockmerge.errors import RecipeError
from blockmerge.ui.plan_views import formula
from blockmerge.ui.recipe_shelf import KeptRecipe
from blockmerge.ui.wording import say

DRAWN_LAYERS = 32  # of a recipe that fits any number of layers

Line = float | tuple[float, ...] | ShapeLine


@dataclass(frozen=True, slots=True)
class Weights:
    """One line of a recipe to look at; `layers` None is any number of them."""

    numbers: tuple[float, ...]
    layers: int | None


def weights_of(recipe: Recipe, drawn: int = DRAWN_LAYERS) -> Weights:
    """The line that says most: of all modules, else of the first lane, in the first stack, of the last model.

    One that fits any number of layers is drawn at `drawn` of them.
    """
    lines: StackWeights = next(reversed(recipe.weights.by_model.values()), recipe.weights)
    if not _lines(lines):
        lines = next((stack for stack in recipe.weights.stacks.values() if _lines(stack)), lines)
    line: Line = next(iter(_lines(lines)), 0.0)
    depth = len(line) if isinstance(line, tuple) else None
    numbers = resolve_line(line, depth or drawn)
    assert not isinstance(numbers, str)  # a list has its own depth
    return Weights(numbers, depth)


def _lines(weights: StackWeights) -> Sequence[Line]:
    return [line for line in (weights.layers, *weights.lanes.values()) if line is not None]


def pair_text(recipe: Recipe) -> str:
    """The models' names without their folders."""
    return " × ".join(short_name(reference) for reference in recipe.references.values())


def short_name(reference: str) -> str:
    return reference.replace("\\", "/").rstrip("/").rpartition("/")[2] or reference


def listed(kept: KeptRecipe) -> dict[str, object]:
    weights = weights_of(kept.recipe)
    return {
        "id": kept.id,
        "name": kept.name,
        "note": kept.note,
        "pair": pair_text(kept.recipe),
        "saved": kept.saved,
        "weights": weights.numbers,
    }


def shown(kept: KeptRecipe, planned: Plan | Sequence[str], compared: KeptRecipe | None) -> dict[str, object]:
    """Everything about one recipe; `planned` is its plan on this machine, or every reason why there is none."""
    recipe = kept.recipe
    weights = weights_of(recipe)
    references = [*recipe.references.values()]
    return {
        **listed(kept),
        "about": say(
            "recipes.about",
            pair=pair_text(recipe),
            method=METHODS[recipe.method].title,
            dtype=_dtype(recipe),
        ),
        "depth": say("recipes.layers", count=weights.layers)
        if weights.layers
        else say("recipes.anywhere", count=DRAWN_LAYERS),
        "layers": weights.layers,
        "a": short_name(references[0]),
        "b": short_name(references[-1]),
        "formula": formula(planned)[0].parts if isinstance(planned, Plan) else [],
        "problems": [] if isinstance(planned, Plan) else list(planned),
        "notes": list(planned.notes) if isinstance(planned, Plan) else [],
        "other": _comparison(kept, compared) if compared else None,
        "yaml": dump_recipe(recipe),
        "json": recipe_json(recipe),
        **_mergekit(planned),
    }


def _dtype(recipe: Recipe) -> str:
    dtype = recipe.output.dtype
    return say("recipes.as_owner") if dtype == "as owner" else dtype


def recipe_json(recipe: Recipe) -> str:
    return json.dumps(recipe.model_dump(mode="json", exclude_defaults=True) | {"blockmerge": 1}, ensure_ascii=False)


def _mergekit(planned: Plan | Sequence[str]) -> dict[str, object]:
    if not isinstance(planned, Plan):
        return {"mergekit": "", "unsaid": [say("recipes.mergekit_models")]}
    try:
        return {"mergekit": write_mergekit(planned), "unsaid": []}
    except RecipeError as error:
        return {"mergekit": "", "unsaid": [say("recipes.mergekit_not"), *error.problems]}


def _comparison(mine: KeptRecipe, other: KeptRecipe) -> dict[str, object]:
    return {
        "id": other.id,
        "name": other.name,
        "weights": weights_of(other.recipe).numbers,
        "words": difference(mine.recipe, other.recipe),
    }


def difference(mine: Recipe, other: Recipe) -> str:
    """Two recipes in words, by the lines that are drawn."""
    ours, theirs = weights_of(mine), weights_of(other)
    depth = max(len(ours.numbers), len(theirs.numbers))
    pairs = [(_at(ours.numbers, layer, depth), _at(theirs.numbers, layer, depth)) for layer in range(depth)]
    sentences = []
    if mine.method != other.method:
        titles = {"mine": METHODS[mine.method].title, "other": METHODS[other.method].title}
        sentences.append(say("recipes.method_differs", **titles))
    if pair_text(mine) != pair_text(other):
        sentences.append(say("recipes.models_differ"))
    if all(one == two for one, two in pairs):
        return " ".join([*sentences, say("recipes.same")])
    far = max(range(depth), key=lambda layer: abs(pairs[layer][0] - pairs[layer][1]))
    one, two = (f"{weight:.2f}" for weight in pairs[far])
    is_layer = ours.layers is not None and len(ours.numbers) == len(theirs.numbers)
    place = {"layer": far} if is_layer else {"percent": round(100 * far / (depth - 1))}
    means = [f"{sum(line) / len(line):.2f}" for line in (ours.numbers, theirs.numbers)]
    sentences.append(say("recipes.means", mine=means[0], other=means[1]))
    name = "recipes.furthest_layer" if is_layer else "recipes.furthest_depth"
    return " ".join([*sentences, say(name, mine=one, other=two, **place)])


def _at(numbers: Sequence[float], layer: int, depth: int) -> float:
    return numbers[layer * len(numbers) // depth]


def report(name: str, reading: Reading) -> list[list[str]]:
    """What is told after an import: lines of a kind and a sentence."""
    lines = [["ok", say("recipes.imported", name=name)]]
    lines += [["ok", f"{say('recipes.exact')} {sentence}"] for sentence in reading.exact]
    lines += [["warn", f"{say('recipes.approximate')} {sentence}"] for sentence in reading.approximate]
    return lines if reading.approximate else [*lines, ["ok", say("recipes.nothing_approximate")]]
