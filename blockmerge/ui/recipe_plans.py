"""Recipes beside the models of this machine."""

from collections.abc import Sequence

from blockmerge.checkpoints.library import Library
from blockmerge.checkpoints.models import Open
from blockmerge.core.plan import Plan, make_plan
from blockmerge.core.recipe import Recipe, parse_recipe
from blockmerge.errors import BlockmergeError, InputError
from blockmerge.jobs.states import Job, JobState


def plan_here(library: Library, recipe: Recipe, open_one: Open) -> Plan | Sequence[str]:
    """The plan of a recipe with its models as `open_one` opens them by name, or every reason why there is none."""
    named = on_this_page(library, recipe)
    try:
        models = {key: open_one(reference) for key, reference in named.references.items()}
        return make_plan(named, models)
    except BlockmergeError as error:
        return error.problems


def result_of(library: Library, recipe: Recipe, jobs: Sequence[Job]) -> Job | None:
    """The first of these jobs that made this recipe, and whose result is still there."""
    wanted = on_this_page(library, recipe)
    for job in jobs:
        if job.state is JobState.DONE and job.recipe and job.out.is_dir():
            try:
                made = parse_recipe(job.recipe)
            except InputError:
                continue  # of another version
            if on_this_page(library, made) == wanted:
                return job
    return None


def on_this_page(library: Library, recipe: Recipe) -> Recipe:
    """The recipe with its models called as the page offers them, where it does: no path of this machine in a link."""
    names = {str(folder): name for name, folder in library.offered().items()}
    models = {key: names.get(reference, reference) for key, reference in recipe.models.items()}
    base = None if recipe.base is None else names.get(recipe.base, recipe.base)
    return recipe.model_copy(update={"models": models, "base": base})
