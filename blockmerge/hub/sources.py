"""Models by reference: folders on this machine, and repositories on the Hub."""

from collections.abc import Mapping
from pathlib import Path

from blockmerge.checkpoints.models import Open, is_there, open_folder
from blockmerge.core.hub_reference import HubReference
from blockmerge.core.progress import IsCancelled, Report
from blockmerge.core.tensors import Checkpoint
from blockmerge.errors import HubRefusalError
from blockmerge.hub.cached import find_commit
from blockmerge.hub.client import Hub, look_up
from blockmerge.hub.download import check_space, download, plan_download
from blockmerge.hub.headers import open_headers


def opener(hub: Hub) -> Open:
    """What open_models opens a reference with: a folder where there is one of that name, else headers from the Hub.

    Offline it is what has been downloaded before, for whoever sits at this machine.
    """

    def open_one(text: str) -> Checkpoint:
        reference = None if is_there(text) else hub.read_reference(text)
        return open_folder(text) if reference is None else _open(hub, reference)

    return open_one


def open_text(hub: Hub, text: str) -> Checkpoint:
    """The model of the Hub that a text names, whatever folders there are. Raises as `opener`'s function does."""
    return _open(hub, hub.the_reference(text))


def _open(hub: Hub, reference: HubReference) -> Checkpoint:
    if not hub.offline:
        return open_headers(hub, look_up(hub, reference))
    if hub.is_visitor:
        raise HubRefusalError(
            f"{reference} is not opened: HF_HUB_OFFLINE is set, so the Hub is not asked whether you may see it. Choose "
            "a model of the list, or ask whoever runs this page to unset HF_HUB_OFFLINE."
        )
    return find_commit(hub, reference)


def with_weights(
    checkpoints: Mapping[str, Checkpoint],
    hub: Hub,
    *,
    report: Report,
    is_cancelled: IsCancelled,
    result: tuple[int, Path] | None = None,
) -> Mapping[str, Checkpoint]:
    """The same checkpoints, those of which only the headers are here downloaded.

    `result` is how many bytes will be written to which folder afterwards: they must fit as well.
    Raises what download raises, and StorageError before anything is fetched.
    """
    found = {held.origin: held for held in checkpoints.values() if held.is_headers_only}
    wanted = [plan_download(hub, held) for held in found.values()]
    check_space(hub, wanted, *(result or ()))
    fetched = dict(zip(found, download(hub, wanted, report=report, is_cancelled=is_cancelled), strict=True))
    return {key: fetched[held.origin] if held.is_headers_only else held for key, held in checkpoints.items()}
