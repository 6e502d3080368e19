"""Weights of single tensors that a recipe on the page holds: they win over the bars, which do not show them."""

from collections.abc import Mapping

from blockmerge.core.recipe import Recipe


def globs_of(recipe: Recipe | None) -> Mapping[str, float]:
    """The weights of single tensors of a recipe, whichever model they are for."""
    if recipe is None:
        return {}
    held = [recipe.weights, *recipe.weights.by_model.values()]
    return {glob: weight for lines in held for glob, weight in lines.tensors.items()}


def without_globs(recipe: Recipe | None) -> Recipe | None:
    if recipe is None:
        return None
    by_model = {key: lines.model_copy(update={"tensors": {}}) for key, lines in recipe.weights.by_model.items()}
    weights = recipe.weights.model_copy(update={"tensors": {}, "by_model": by_model})
    return recipe.model_copy(update={"weights": weights})
