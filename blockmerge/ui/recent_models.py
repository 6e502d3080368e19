"""The models that a person has worked with last, which come first where one is chosen."""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from blockmerge.checkpoints.models import is_meant_on_hub
from blockmerge.core.recipe import parse_recipe
from blockmerge.errors import InputError
from blockmerge.jobs.states import Job
from blockmerge.ui.recipe_shelf import KeptRecipe

MOST_RECENT = 12
LOOKED_AT = 24  # of the newest jobs, and of the newest recipes


def recent_first(offered: Mapping[str, Path], jobs: Sequence[Job], kept: Sequence[KeptRecipe]) -> Sequence[str]:
    """All that is offered, the models of the newest jobs and recipes before the others, those of the Hub too."""
    names = {str(folder): name for name, folder in offered.items()}
    used = [(job.created, _references(job.recipe)) for job in jobs[:LOOKED_AT]]
    used += [(recipe.saved, tuple(recipe.recipe.references.values())) for recipe in kept[:LOOKED_AT]]
    used.sort(key=lambda one: one[0], reverse=True)
    recent = dict.fromkeys(names.get(reference, reference) for _, references in used for reference in references)
    known = dict.fromkeys(_without_commit(name) for name in recent if name in offered or is_meant_on_hub(name))
    return list(dict.fromkeys([*list(known)[:MOST_RECENT], *offered]))


def _without_commit(name: str) -> str:
    """A job pins the commit of a model on the Hub; the next one is to have the newest."""
    return re.sub(r"@[0-9a-f]{40}$", "", name)


@lru_cache(maxsize=256)
def _references(recipe: str) -> tuple[str, ...]:
    try:
        return tuple(parse_recipe(recipe).references.values())
    except InputError:
        return ()  # a job of an older version is no reason not to open the page
