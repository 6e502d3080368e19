"""A merge that goes straight to the Hub: parts of models in, shard by shard out, one commit at the end.

Low-disk mode, for machines on which neither the models nor the result would fit.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from blockmerge.checkpoints.card import check_card, choose_licence, read_parents
from blockmerge.checkpoints.folder import compared_parts, looked_into
from blockmerge.checkpoints.manifest import Manifest
from blockmerge.checkpoints.shards import INDEX
from blockmerge.core.parts import Parts, Receipt
from blockmerge.core.plan import Plan, make_plan
from blockmerge.core.progress import IsCancelled, Progress, Report, Stage
from blockmerge.core.tensors import Checkpoint
from blockmerge.core.wish import Wish
from blockmerge.engine.by_shard import Carrier, Merged, Moved, carry_out_by_shard, make_sparse
from blockmerge.engine.target import Target
from blockmerge.errors import MergeCancelledError, MergePausedError
from blockmerge.hub.child import Mover, mover
from blockmerge.hub.client import Hub
from blockmerge.hub.download import find_downloaded
from blockmerge.hub.parts import fetch_parts
from blockmerge.hub.push import (
    Destination,
    Opened,
    Pushed,
    ask_parents,
    prepare,
    push_with,
    read_destination,
    read_repository,
)
from blockmerge.hub.shards import open_destination, send_shard, still_known


def part_target(output: Path, repository: str, discard: bool = False) -> Target:
    """Where an unfinished merge to a repository is kept; nothing ever gets the target's own name.

    Raises HubRefusalError for what is no ORG/NAME.
    """
    return Target(output / read_repository(repository).replace("/", "--"), discard=discard)


def merge_to_hub(  # noqa: PLR0913 - how it is watched and stopped belongs to the call
    plan: Plan, hub: Hub, wish: Wish, target: Target, *, report: Report, is_paused: IsCancelled
) -> tuple[Pushed, Merged]:
    """Merge and publish. All that can be refused is, before a byte of weights is moved.

    Raises HubRefusalError, PlanError, HubError, MergePausedError, and what engine.by_shard.carry_out_by_shard does;
    asked again, it goes on from the finished units and from what the Hub has.
    """
    repository = read_destination(hub, wish.repository)
    to = Destination(repository, wish.is_public, wish.as_pull_request)
    with mover(hub) as child, _pausing():
        plan = _compared(plan, hub, child, is_paused)
        _check_card(hub, plan, wish)
        opened = open_destination(child, to, _names(plan), is_paused)
        line = _Line(hub, child, wish, to, opened, is_paused)
        destination = {"repository": repository, "pull_request": wish.as_pull_request}
        merged = carry_out_by_shard(plan, target, line.carrier(), destination, report=report, is_paused=is_paused)
    [pushed] = line.pushed
    return replace(pushed, is_new=opened.is_new), merged


def _compared(plan: Plan, hub: Hub, child: Mover, is_cancelled: IsCancelled) -> Plan:
    """The same plan, with what a download would let it see of the weights: tables, and the beginnings of copies.

    A model that was downloaded before is read from there.
    """
    found: dict[str, Checkpoint] = {}
    for key, held in plan.checkpoints.items():
        here = find_downloaded(hub, held) if held.is_headers_only and held.origin else None
        found[key] = here or (_looked_into(held, hub, child, is_cancelled) if held.is_headers_only else held)
    return make_plan(plan.recipe, found)


def _looked_into(held: Checkpoint, hub: Hub, child: Mover, is_cancelled: IsCancelled) -> Checkpoint:
    compared = compared_parts(held)
    if not compared or held.origin is None:
        return held
    sizes = {shard.name: shard.size for shard in held.shards}
    hub.kept.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=hub.kept, prefix=".") as name:
        folder = Path(name)
        wanted = [
            Parts(held.origin, file, sizes[file], folder / file, tuple(spans)) for file, spans in compared.items()
        ]
        for one in wanted:
            make_sparse(one.path, one.size)
        fetch_parts(child, wanted, report=lambda _: None, is_cancelled=is_cancelled)
        return looked_into(held, folder)


def _check_card(hub: Hub, plan: Plan, wish: Wish) -> None:
    """What the card would be refused for when everything is merged."""
    if wish.card is not None:
        check_card(wish.card)
        return
    unfinished = Manifest(version="", recipe=plan.canonical, torch="", processor="", tensors={})
    parents, _ = ask_parents(hub, read_parents(unfinished))
    choose_licence(parents, wish.licence)


def _names(plan: Plan) -> Sequence[str]:
    """The files of a result that others of these names would have to make room for."""
    index = [INDEX] if len(plan.shards) > 1 else []
    return [*(shard.name for shard in plan.shards), *index, *(step.name for step in plan.side_files)]


_DOING = {Stage.DOWNLOAD: "parts of the models come", Stage.MERGE: "merging", Stage.UPLOAD: "a weight file is sent"}


@dataclass(frozen=True, slots=True)
class _Line:
    """One child for all that is moved; `pushed` has the commit when it is made."""

    hub: Hub
    child: Mover
    wish: Wish
    to: Destination
    opened: Opened
    is_cancelled: IsCancelled
    pushed: list[Pushed] = field(default_factory=list)

    def carrier(self) -> Carrier:
        return Carrier(self._fetch, self._send, self._known, self._publish)

    def _fetch(self, parts: Sequence[Parts], moved: Moved) -> None:
        with _pausing():
            fetch_parts(self.child, parts, report=_told(moved), is_cancelled=self.is_cancelled)

    def _send(self, path: Path, moved: Moved) -> Receipt:
        with _pausing():
            return send_shard(self.child, self.to, path, report=_told(moved), is_cancelled=self.is_cancelled)

    def _known(self, receipts: Sequence[Receipt]) -> Sequence[Receipt]:
        with _pausing():
            return still_known(self.child, self.to, receipts, self.is_cancelled)

    def _publish(self, folder: Path, manifest: Manifest, receipts: Sequence[Receipt]) -> None:
        wish = self.wish
        planned = prepare(self.hub, folder, manifest, self.to.repository, wish.licence, wish.card, receipts)
        planned = replace(planned, parent=self.opened.commit)
        with _pausing():
            self.pushed.append(push_with(self.child, planned, self.to, lambda _: None, self.is_cancelled))


@contextmanager
def _pausing() -> Iterator[None]:
    """A transfer that was stopped is no reason to throw away what is finished."""
    try:
        yield
    except MergeCancelledError as error:
        raise MergePausedError("The merge was stopped. Started again, it goes on from what is finished.") from error


def in_one(nbytes: int, report: Report) -> Report:
    """Of a result of so many bytes: fetching, merging and sending take turns, so they are told as one stage."""
    done = dict.fromkeys(_DOING, 0)
    total = {Stage.DOWNLOAD: 0, Stage.MERGE: nbytes, Stage.UPLOAD: nbytes}  # what is to be fetched, the first part says

    def told(progress: Progress) -> None:
        if progress.stage not in _DOING:
            report(progress)
            return
        done[progress.stage], total[progress.stage] = progress.done, progress.total
        report(Progress(Stage.MERGE, sum(done.values()), sum(total.values()), _DOING[progress.stage]))

    return told


def _told(moved: Moved) -> Report:
    return lambda progress: moved(progress.done)
