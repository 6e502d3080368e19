"""What the client's cache holds, asked without the Hub."""

from dataclasses import replace
from pathlib import Path

from huggingface_hub import try_to_load_from_cache

from blockmerge.checkpoints.folder import CONFIG, open_checkpoint
from blockmerge.core.hub_reference import HubReference
from blockmerge.core.tensors import Checkpoint
from blockmerge.errors import CheckpointError, HubRefusalError
from blockmerge.hub.client import Hub
from blockmerge.hub.download import repository_folder
from blockmerge.hub.headers import is_needed


def find_commit(hub: Hub, reference: HubReference) -> Checkpoint:
    """A model that was downloaded before: at its commit, or without a revision as it was downloaded last.

    Raises HubRefusalError where it is not here as a whole.
    """
    found = try_to_load_from_cache(
        reference.repository, CONFIG, cache_dir=hub.cache, revision=reference.revision or "main"
    )
    folder = Path(found).parent if isinstance(found, str) else _latest(hub, reference)
    try:
        checkpoint = open_checkpoint(folder)
    except CheckpointError as error:
        raise HubRefusalError(*_not_here(reference).problems, *error.problems) from error
    side_files = tuple(file for file in checkpoint.side_files if is_needed(file.name))
    return replace(checkpoint, origin=HubReference(reference.repository, folder.name), side_files=side_files)


def find_text(hub: Hub, text: str) -> Checkpoint:
    """find_commit of the model that a text names."""
    return find_commit(hub, hub.the_reference(text))


def _latest(hub: Hub, reference: HubReference) -> Path:
    found = list((repository_folder(hub, reference) / "snapshots").glob(f"*/{CONFIG}"))
    if reference.revision is not None or not found:
        raise _not_here(reference)
    return max((path.parent for path in found), key=lambda folder: folder.stat().st_mtime)


def _not_here(reference: HubReference) -> HubRefusalError:
    return HubRefusalError(
        f"{reference} is not on this machine as a whole, and the Hub is not asked (HF_HUB_OFFLINE): unset "
        "HF_HUB_OFFLINE and download it first."
    )
