"""Results on their way to the Hub: tasks of the page's process, as a visitor's token never leaves this machine.

What moves the files is a child of this process (hub/child.py). What was uploaded stays with the Hub, so that one that
stopped goes on when it is asked for again; nothing is merged again.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from blockmerge.checkpoints.card import Parent, agreed_licence, read_parents
from blockmerge.checkpoints.manifest import read_manifest
from blockmerge.core.progress import Progress, Stage
from blockmerge.core.wish import Wish
from blockmerge.errors import BlockmergeError, JobRequestError, MergeCancelledError, SignInError

# The Hub's client takes most of a second to import, and the page starts without it.
if TYPE_CHECKING:
    from blockmerge.hub.account import Account
    from blockmerge.hub.client import Hub

AT_ONCE = 4  # of all people; of one person it is one
KEPT = 200  # publications, and offers, that are remembered after their end

UNKNOWN = "Publishing stopped unexpectedly; the server's log says more. Publish again to go on from what is there."

_LOG = logging.getLogger(__name__)

Note = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Publication:
    """How far one is. `problem` is why it stopped, `needs_sign_in` where another token would help; `address` is that of
    the commit or pull request it ended in."""

    owner: str
    wish: Wish
    progress: Progress = field(default_factory=lambda: Progress(Stage.VERIFY, 0, 0))
    address: str = ""
    problem: str = ""
    needs_sign_in: bool = False

    @property
    def is_running(self) -> bool:
        return not self.address and not self.problem


class Publications:
    """Those of this page's process, by the number of their job."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[int, Publication] = {}
        self._stops: dict[int, threading.Event] = {}

    def look(self, job: int) -> Publication | None:
        return self._known.get(job)

    @property
    def is_running(self) -> bool:
        return any(held.is_running for held in self._known.values())

    def begin(self, job: int, folder: Path, publication: Publication, hub: "Hub", note: Note) -> None:
        """Publish the result in `folder`; `note` is told the address when it is there.

        Raises JobRequestError where too many are on their way.
        """
        with self._lock:
            running = [held for held in self._known.values() if held.is_running]
            if any(held.owner == publication.owner for held in running):
                raise JobRequestError("A result of yours is being published. Wait until it is there, or stop it.")
            if len(running) >= AT_ONCE:
                raise JobRequestError("Others are publishing their results. Try again when one of them is done.")
            others = {number: held for number, held in self._known.items() if number != job}
            ended = [number for number, held in others.items() if not held.is_running]
            for number in ended[: max(0, len(others) - KEPT + 1)]:
                del others[number]
            self._known = {**others, job: publication}
            self._stops = {**{number: self._stops[number] for number in others}, job: threading.Event()}
        crashed = partial(self._change, job, problem=UNKNOWN)
        in_background(f"publish-{job}", partial(self._run, job, folder, hub, note), crashed)

    def stop(self, job: int) -> None:
        """It ends within a second. Raises JobRequestError where nothing runs."""
        held = self._known.get(job)
        if held is None or not held.is_running:
            raise JobRequestError(f"Job {job} is not being published.")
        self._stops[job].set()

    def _run(self, job: int, folder: Path, hub: "Hub", note: Note) -> None:
        from blockmerge.hub.publish import publish

        wish, stop = self._known[job].wish, self._stops[job]
        try:
            pushed = publish(
                hub,
                folder,
                wish,
                report=lambda progress: self._change(job, progress=progress),
                is_cancelled=stop.is_set,
            )
            address = own_address(hub, pushed.address, pushed.repository)
            note(address)
            self._change(job, address=address)
        except MergeCancelledError:
            self._change(job, problem="Publishing was stopped. Publish again to go on from what the Hub has already.")
        except BlockmergeError as error:
            self._change(job, problem=str(error), needs_sign_in=isinstance(error, SignInError))

    def _change(self, job: int, **values: object) -> None:
        self._known[job] = replace(self._known[job], **values)  # type: ignore[arg-type]


def in_background(name: str, work: Callable[[], None], crashed: Callable[[], None]) -> None:
    """In a thread of its own. `crashed` tells whoever waits that nothing more will come."""

    def run() -> None:
        try:
            work()
        except Exception:  # noqa: BLE001 - the one boundary where a crash in the background becomes a sentence
            _LOG.exception("%s failed", name)
            crashed()

    threading.Thread(target=run, name=name, daemon=True).start()


def own_address(hub: "Hub", address: str, repository: str) -> str:
    """The address that the Hub gave, if it is one of this Hub: it becomes a link."""
    return address if address.startswith(f"{hub.endpoint}/") else f"{hub.endpoint}/{repository}"


@dataclass(frozen=True, slots=True)
class Offer:
    """What a person chooses from: whose token it is (None: nobody's), the models with their licences, and the licence
    that all of them have, empty where a person has to choose. `problem` is why the Hub did not answer."""

    account: "Account | None" = None
    parents: tuple[Parent, ...] = ()
    licence: str = ""
    problem: str = ""
    is_asking: bool = False


class Offers:
    """What the Hub has to be asked before a person can choose, by owner and job; asked in the background."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], Offer] = {}

    def look(self, owner: str, job: int) -> Offer | None:
        return self._known.get((owner, job))

    @property
    def is_asking(self) -> bool:
        return any(offer.is_asking for offer in self._known.values())

    def ask(self, owner: str, job: int, folder: Path, hub: "Hub") -> None:
        kept = {key: offer for key, offer in list(self._known.items())[1 - KEPT :] if key != (owner, job)}
        asking = Offer(is_asking=True)
        self._known = {**kept, (owner, job): asking}

        def told(offer: Offer) -> None:
            # An answer that comes late is of a token that may be forgotten by now.
            if self._known.get((owner, job)) is asking:
                self._known[owner, job] = offer

        in_background(f"offer-{job}", lambda: told(make_offer(folder, hub)), lambda: told(Offer(problem=UNKNOWN)))


def make_offer(folder: Path, hub: "Hub") -> Offer:
    from blockmerge.hub.account import who_is
    from blockmerge.hub.push import ask_parents

    account: Account | None = None
    try:
        account = who_is(hub)
        parents, _ = ask_parents(hub, read_parents(read_manifest(folder)))
    except BlockmergeError as error:
        return Offer(account, problem=str(error))
    return Offer(account, tuple(parents), agreed_licence(parents) or "")
