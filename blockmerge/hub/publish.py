"""From a result's folder to the Hub: verified byte by byte, described, and sent. The same for page and command line."""

from pathlib import Path

from blockmerge.checkpoints.card import read_parents
from blockmerge.checkpoints.manifest import read_manifest
from blockmerge.checkpoints.verify_folder import verify_folder
from blockmerge.core.progress import IsCancelled, Progress, Report
from blockmerge.core.wish import Wish
from blockmerge.errors import MergeCancelledError
from blockmerge.hub.client import Hub
from blockmerge.hub.push import (
    Destination,
    Pushed,
    ask_parents,
    card_for,
    prepare,
    push,
    read_destination,
    read_repository,
)


def publish(hub: Hub, folder: Path, wish: Wish, *, report: Report, is_cancelled: IsCancelled) -> Pushed:
    """Raises what read_destination, verify_folder, prepare and push raise. Asked again, it goes on from what the Hub
    has already."""

    def report_unless_cancelled(progress: Progress) -> None:
        if is_cancelled():
            raise MergeCancelledError("The upload was cancelled before it began.")
        report(progress)

    repository = read_destination(hub, wish.repository)
    manifest = verify_folder(folder, report=report_unless_cancelled, read_data=True).manifest
    planned = prepare(hub, folder, manifest, repository, wish.licence, wish.card)
    to = Destination(repository, wish.is_public, wish.as_pull_request)
    return push(hub, planned, to, report=report, is_cancelled=is_cancelled)


def preview_card(hub: Hub, folder: Path, wish: Wish) -> str:
    """The card that would be written. Raises VerifyError, HubRefusalError or HubError."""
    manifest = read_manifest(folder)
    parents, _ = ask_parents(hub, read_parents(manifest))
    return card_for(folder, manifest, parents, read_repository(wish.repository), wish.licence)
