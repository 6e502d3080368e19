"""The models that were downloaded from the Hub, for whoever sits at this machine: the Settings tab lists them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from blockmerge.core.describe import size_text
from blockmerge.core.hub_reference import parse_hub_reference
from blockmerge.core.recipe import parse_recipe
from blockmerge.errors import InputError, JobRequestError
from blockmerge.jobs.states import LOCAL
from blockmerge.jobs.store import Store
from blockmerge.ui.tabs import Context
from blockmerge.ui.wording import say

if TYPE_CHECKING:
    from blockmerge.hub.client import Hub


def downloaded(context: Context) -> Sequence[dict[str, object]]:
    from blockmerge.hub.cache import cached_models  # the Hub's client, wanted by few tabs

    needed = needed_models(context.store)
    return [
        {"name": one.name, "size": size_text(one.nbytes), "changed": one.used, "needed": one.name in needed}
        for one in cached_models(_hub(context))
    ]


def delete_downloaded(context: Context, name: str) -> str:
    """What came of it, in a sentence. Raises HubRefusalError, or JobRequestError where a job that is not over needs
    the model."""
    from blockmerge.hub.cache import delete_cached

    if name in needed_models(context.store):
        raise JobRequestError(say("settings.cached_needed", name=name))
    return say("settings.cached_deleted", name=name, size=size_text(delete_cached(_hub(context), name)))


def needed_models(store: Store) -> frozenset[str]:
    """The repositories that the recipes of live jobs name."""
    return frozenset(name for job in store.live() for name in _repositories(job.recipe))


def _repositories(text: str) -> Sequence[str]:
    try:
        found = [parse_hub_reference(reference) for reference in parse_recipe(text).references.values()]
    except InputError:
        return ()  # the job itself will say what is wrong with it
    return [reference.repository for reference in found if reference is not None]


def _hub(context: Context) -> "Hub":
    return context.identity.hub_of(LOCAL)
