"""What the Hub has: models by a few letters of their name, and the recipes inside those that were merged."""

from collections.abc import Sequence
from dataclasses import dataclass

from blockmerge.checkpoints.card import RECIPE_FILE
from blockmerge.checkpoints.safetensors import read_header
from blockmerge.checkpoints.writer import RECIPE
from blockmerge.core.hub_reference import HubReference
from blockmerge.errors import CheckpointError, HubRefusalError
from blockmerge.hub.client import Hub, look_up
from blockmerge.hub.failures import in_sentences
from blockmerge.hub.headers import open_headers
from blockmerge.hub.ranges import RemoteFile

MOST_FOUND = 10
LONGEST_RECIPE = 1_000_000  # bytes

_NAME = 100  # characters; a longer one is no model's


@dataclass(frozen=True, slots=True)
class Found:
    """`name` is a Hub id; `downloads` are those of the last month."""

    name: str
    downloads: int


def search_models(hub: Hub, text: str) -> Sequence[Found]:
    """The models that are downloaded most, of those whose name has these letters; an id or address names itself first.

    Raises HubRefusalError or HubError.
    """
    if hub.offline:
        raise HubRefusalError("The Hub is not searched, as HF_HUB_OFFLINE is set. Unset it, and start the page again.")
    reference = _named_by(hub, text)
    wanted = reference.repository if reference else text
    with in_sentences(hub.attempt(HubReference(wanted))):
        listed = hub.api.list_models(search=wanted, sort="downloads", limit=MOST_FOUND)
        found = [Found(model.id, max(int(model.downloads or 0), 0)) for model in listed if len(model.id) <= _NAME]
    named = (
        [Found(str(reference), next((one.downloads for one in found if one.name == wanted), 0))] if reference else []
    )
    return [*named, *(one for one in found if not named or one.name != wanted)][:MOST_FOUND]


def _named_by(hub: Hub, text: str) -> HubReference | None:
    try:
        return hub.read_reference(text)
    except CheckpointError:  # half an id, as it is being typed
        return None


def read_recipe(hub: Hub, text: str) -> str:
    """The recipe of a result, from the file that was pushed with it or from its weight files; it was not looked at.

    Raises CheckpointError, HubRefusalError, HubError or StorageError.
    """
    listing = look_up(hub, hub.the_reference(text))
    size = listing.files.get(RECIPE_FILE, 0)
    if 0 < size <= LONGEST_RECIPE:
        with in_sentences(hub.attempt(listing.reference)):
            return RemoteFile(hub, listing.reference, RECIPE_FILE, size).read(0, size).decode(errors="replace")
    checkpoint = open_headers(hub, listing)
    first = checkpoint.shards[0].name
    metadata = read_header(checkpoint.folder / first).metadata if first.endswith(".safetensors") else {}
    if RECIPE not in metadata:
        raise HubRefusalError(
            f"{listing.repository} holds no recipe: only what blockmerge made does. Choose it as a model instead."
        )
    return metadata[RECIPE]
