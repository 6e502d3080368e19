"""The models that are held in memory: loaded when asked, each by a process of its own, and let go again."""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from blockmerge.core.tensors import Checkpoint
from blockmerge.errors import TryError
from blockmerge.tryout.kinds import architecture_of
from blockmerge.tryout.memory import Fit, choose_fit, free_memory
from blockmerge.tryout.messages import Hello, Load
from blockmerge.tryout.model_process import CHILD, IsStopped, ModelProcess, StoppedError

IDLE = 600.0  # seconds after its last answer that a model is held
LOOK_EVERY = 1.0
WAIT = 0.05
ADDRESSES = 4 * 10**9  # bytes of addresses beside the weights: most of them are never backed by memory

_LOG = logging.getLogger(__name__)
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class _Ready:
    """A model that can be asked."""

    process: ModelProcess
    fit: Fit
    missing: int

    @property
    def still_to_come(self) -> int:
        """Bytes that it will take beyond those that it has: pages are taken when they are first used."""
        return max(0, self.fit.nbytes - self.process.resident())


@dataclass(slots=True)
class _Held:
    """A model that is loaded, or will be by whoever has the lock; `wanted` counts those who have or want it.

    `owners` are the people who asked it. `ready` is replaced as a whole, so that whoever looks needs no lock.
    """

    name: str
    wanted: int = 0
    owners: frozenset[str] = frozenset()
    lock: threading.Lock = field(default_factory=threading.Lock)
    ready: _Ready | None = None
    used: float = field(default_factory=time.monotonic)


@dataclass(frozen=True, slots=True)
class Holding:
    """A model in memory; to others than those who asked it, it has no name."""

    name: str
    dtype: str
    nbytes: int


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a pool knows of the machine: `free` memory in bytes, whether a merge waits for it, and its own processes."""

    log: Path
    merge_waits: Callable[[], bool]
    free: Callable[[], int] = free_memory
    idle: float = IDLE
    module: str = CHILD


class Pool:
    """Lends models. Close it at the end."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._guard = threading.Lock()  # of the three below
        self._held: dict[tuple[Path, str], _Held] = {}
        self._news: dict[str, str] = {}
        self._keeper: threading.Thread | None = None
        self._loading = threading.Lock()  # one at a time, so that the memory it finds free is its own
        self._closed = threading.Event()

    def holdings(self, owner: str) -> Sequence[Holding]:
        """What is in memory, as this person may see it."""
        return [
            Holding(held.name if owner in held.owners else "", ready.fit.dtype, ready.process.resident())
            for held in self._all()
            if (ready := held.ready) is not None
        ]

    def news(self, owner: str) -> str:
        """Which of this person's models was let go last, and why."""
        with self._guard:
            return self._news.get(owner, "")

    @contextmanager
    def lend(self, checkpoint: Checkpoint, owner: str, is_stopped: IsStopped, tell: Tell) -> Iterator[ModelProcess]:
        """The process that holds this model, for one thread alone; `tell` hears what is waited for.

        Raises TryError where it cannot be loaded, StoppedError where nobody waits for it any more.
        """
        held = self._want(checkpoint, owner)
        try:
            _acquire(held.lock, is_stopped)
            try:
                yield self._ready(held, checkpoint, is_stopped, tell).process
            finally:
                if held.ready is not None and not held.ready.process.is_alive:
                    _end(held)
                held.used = time.monotonic()
                held.lock.release()
        finally:
            with self._guard:
                held.wanted -= 1
            self._forget_ended()

    def free(self, why: str = "") -> int:
        """Let every model go that is not answering; how many those were."""
        return self._let_go(lambda _: True, why)

    def close(self) -> None:
        self._closed.set()
        for held in self._all():
            _end(held)
        with self._guard:
            self._held = {}

    def _all(self) -> Sequence[_Held]:
        with self._guard:
            return tuple(self._held.values())

    def _want(self, checkpoint: Checkpoint, owner: str) -> _Held:
        # Another file of the same name is another model.
        key = (checkpoint.folder, f"{checkpoint.header_digest} {checkpoint.shards}")
        with self._guard:
            held = self._held.setdefault(key, _Held(checkpoint.name))
            held.wanted += 1
            held.owners |= {owner}
            self._news.pop(owner, None)
            if self._keeper is None:
                self._keeper = threading.Thread(target=self._keep, name="model-keeper", daemon=True)
                self._keeper.start()
            return held

    def _ready(self, held: _Held, checkpoint: Checkpoint, is_stopped: IsStopped, tell: Tell) -> _Ready:
        if held.ready is None:
            tell("Starting a process for this model.")
            process = ModelProcess(os.environ, self._around.log, self._around.module)
            try:
                held.ready = self._load(process, held, checkpoint, lambda: self._closed.is_set() or is_stopped(), tell)
                if self._closed.is_set():  # while it loaded; `close` may have looked before there was anything to end
                    raise StoppedError
            except (TryError, StoppedError):
                process.close()
                raise
        if held.ready.missing:
            tell(f"transformers filled {held.ready.missing} tensors of this model with random numbers.")
        return held.ready

    def _load(
        self, process: ModelProcess, held: _Held, checkpoint: Checkpoint, is_stopped: IsStopped, tell: Tell
    ) -> _Ready:
        hello = process.hello(is_stopped)
        if not self._loading.acquire(blocking=False):
            tell("Waiting until the other model is loaded.")
            _acquire(self._loading, is_stopped)
        try:
            others = [other for other in self._all() if other is not held]
            fit = self._make_room(others, checkpoint, hello, process.resident(), is_stopped, tell)
            tell("Loading the model.")
            most = checkpoint.nbytes + fit.nbytes + ADDRESSES
            loaded = process.load(Load(str(checkpoint.folder), architecture_of(checkpoint), fit.dtype, most))
            return _Ready(process, fit, loaded.missing)
        finally:
            self._loading.release()

    def _make_room(  # noqa: PLR0913 - all that is known where a model is about to be loaded
        self,
        others: Sequence[_Held],
        checkpoint: Checkpoint,
        hello: Hello,
        mine: int,
        is_stopped: IsStopped,
        tell: Tell,
    ) -> Fit:
        """Let others go, the longest unused first, and wait for those that answer. Raises TryError, StoppedError."""
        if hello.free is not None:
            return choose_fit(checkpoint, hello.device, hello.free)
        # The dtype must not depend on who came first: columns are compared.
        theirs = sum(ready.process.resident() for other in others if (ready := other.ready))
        fit = choose_fit(checkpoint, hello.device, self._around.free() + theirs + mine)
        while (room := self._room(others) + mine) < fit.nbytes:
            if is_stopped():
                raise StoppedError
            if not any(other.ready for other in others):
                return choose_fit(checkpoint, hello.device, room)
            if not self._let_go_oldest(others):
                tell("Memory is short, so one model answers after the other.")
                time.sleep(WAIT)
        return fit

    def _room(self, others: Sequence[_Held]) -> int:
        return self._around.free() - sum(ready.still_to_come for other in others if (ready := other.ready))

    def _let_go_oldest(self, others: Sequence[_Held]) -> bool:
        oldest_first = sorted(others, key=lambda other: other.used)
        gone = next((other for other in oldest_first if _end_unless_busy(other)), None)
        if gone is not None:
            self._tell([gone], ": another model needed the memory")
        return gone is not None

    def _let_go(self, is_chosen: Callable[[_Held], bool], why: str) -> int:
        gone = [held for held in self._all() if is_chosen(held) and _end_unless_busy(held)]
        self._tell(gone, why)
        self._forget_ended()
        return len(gone)

    def _tell(self, gone: Sequence[_Held], why: str) -> None:
        """Keep for each person which of the models that they asked were let go."""
        with self._guard:
            for owner in frozenset[str]().union(*(held.owners for held in gone)):
                names = [held.name for held in gone if owner in held.owners]
                self._news[owner] = f"{', '.join(names)} {'was' if len(names) == 1 else 'were'} let go{why}."

    def _forget_ended(self) -> None:
        with self._guard:
            self._held = {key: held for key, held in self._held.items() if held.ready is not None or held.wanted}

    def _is_idle(self, held: _Held) -> bool:
        return time.monotonic() - held.used > self._around.idle

    def _keep(self) -> None:
        """While there are models: let those go that nobody asks, and all that can go when a merge needs the memory."""
        while True:
            time.sleep(LOOK_EVERY)
            self._let_go(self._is_idle, f" after {self._around.idle / 60:.0f} idle minutes")
            if any(held.ready for held in self._all()) and self._around.merge_waits():
                self._let_go(lambda _: True, ": a merge needs the memory")
            with self._guard:
                if not self._held:
                    self._keeper = None
                    return


def _acquire(lock: threading.Lock, is_stopped: IsStopped) -> None:
    while not lock.acquire(timeout=WAIT):
        if is_stopped():
            raise StoppedError


def _end(held: _Held) -> None:
    ready, held.ready = held.ready, None
    if ready is not None:
        ready.process.close()


def _end_unless_busy(held: _Held) -> bool:
    """False where it answers, or is not loaded."""
    if not held.lock.acquire(blocking=False):
        return False
    try:
        was_ready = held.ready is not None
        _end(held)
        return was_ready
    finally:
        held.lock.release()
