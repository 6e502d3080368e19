"""What a merge process does: one request on stdin, carried out, its course told on stdout."""

import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from blockmerge.checkpoints.manifest import read_manifest
from blockmerge.checkpoints.models import open_models
from blockmerge.checkpoints.verify import verify_result
from blockmerge.core.plan import Plan, make_plan
from blockmerge.core.progress import Progress, Report, Stage
from blockmerge.core.recipe import parse_recipe
from blockmerge.core.wish import Wish
from blockmerge.engine.estimate import check_disk
from blockmerge.engine.gpu import device_for, find_gpu
from blockmerge.engine.loading import Loading, check_loading
from blockmerge.engine.merge import carry_out, carry_out_parts
from blockmerge.engine.target import LOCK, Target
from blockmerge.errors import BlockmergeError, MergeCancelledError, MergePausedError, SignInError
from blockmerge.hub.anywhere import bring_here, open_anywhere
from blockmerge.jobs.messages import (
    CANCEL,
    PAUSE,
    Ending,
    MergeDone,
    MergeFailed,
    MergeStopped,
    Message,
    PartDone,
    Question,
    Request,
    Split,
    decode_answer,
    decode_order,
    decode_request,
    encode_message,
)
from blockmerge.jobs.process import limit_memory, watch_parent
from blockmerge.jobs.states import part_folder, refuse_taken
from blockmerge.settings import read_settings

if TYPE_CHECKING:
    from blockmerge.hub.client import Hub

REPORT_EVERY = 0.1  # seconds
LOOK_EVERY = 0.1
NO_MEMORY = ("can't allocate memory", "can't start new thread")  # torch's and Python's RuntimeError
HOW_VISITORS_SIGN_IN = "on the Settings tab, then continue this job"
OUT_OF_MEMORY = "The merge ran out of memory. Close other programs, or merge on a machine with more memory."


def serve() -> None:
    """Take the one request of this process, and carry it out."""
    say = _take_stdout()
    say(find_gpu())
    lines: SimpleQueue[bytes] = SimpleQueue()
    wishes = {PAUSE: Event(), CANCEL: Event()}

    def hear(line: bytes) -> None:
        wish = wishes.get(line + b"\n")
        if wish is None:
            lines.put(line)
        else:
            wish.set()

    # Without its worker nobody wants the result, and the next worker must not find this process at work.
    watch_parent(hear, lambda: os._exit(1))
    request = decode_request(lines.get())
    signal.signal(signal.SIGTERM, lambda *_: wishes[PAUSE].set())
    if request.memory is not None:
        limit_memory(request.memory)
    say(_outcome(request, _throttled(say), wishes, _Worker(say, lines)))


@dataclass(frozen=True, slots=True)
class _Worker:
    """The worker, which has transformers at hand, as importing it here would take seconds for each merge, and which
    knows what others merge."""

    say: Callable[[Message], None]
    lines: SimpleQueue[bytes]

    def ask(self, folder: Path, keep_asking: Callable[[], None]) -> Loading:
        self.say(Question(folder))
        return decode_answer(self._hear(keep_asking))

    def orders(self, stop_if_asked: Callable[[], None]) -> Iterator[int]:
        """The parts to merge, until it says that there are no more; it is told when each is done."""
        while (part := decode_order(self._hear(stop_if_asked))) is not None:
            yield part
            self.say(PartDone())

    def _hear(self, keep_asking: Callable[[], None]) -> bytes:
        while True:
            keep_asking()
            with suppress(Empty):
                return self.lines.get(timeout=LOOK_EVERY)


def _take_stdout() -> Callable[[Message], None]:
    """The way to the worker; whatever else is printed in this process goes to stderr, and so into the job's log."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)

    def say(message: Message) -> None:
        answers.write(encode_message(message))
        answers.flush()

    return say


def _throttled(say: Report) -> Report:
    """Say at most ten times a second where the merge is, but always when a stage begins or ends."""
    stage, at = "", 0.0

    def report(progress: Progress) -> None:
        nonlocal stage, at
        now = time.monotonic()
        if progress.stage != stage or now - at >= REPORT_EVERY or progress.done == progress.total:
            stage, at = progress.stage, now
            say(progress)

    return report


def _outcome(request: Request, report: Report, wishes: Mapping[bytes, Event], worker: _Worker) -> Ending:
    try:
        return _help(request, report, worker) if request.helps else _merge(request, report, wishes, worker)
    except (MergeCancelledError, MergePausedError):
        return MergeStopped()
    except BlockmergeError as error:
        return MergeFailed(str(error), needs_sign_in=isinstance(error, SignInError))
    except Exception as error:  # noqa: BLE001 - the one boundary where a crash becomes a failed job
        traceback.print_exc()
        if isinstance(error, MemoryError) or any(sign in str(error) for sign in NO_MEMORY):
            return MergeFailed(OUT_OF_MEMORY)
        return MergeFailed(f"The merge crashed ({type(error).__name__}). Its log says where.")


def _help(request: Request, report: Report, worker: _Worker) -> MergeStopped:
    """Until there is nothing to help with any more; who wants it to stop before kills it."""
    recipe = parse_recipe(request.recipe)
    plan = make_plan(recipe, open_models(recipe.references))
    device = device_for(plan, request.device)
    carry_out_parts(plan, Target(request.out), worker.orders(lambda: None), report=report, device=device)
    return MergeStopped()


def _merge(request: Request, report: Report, wishes: Mapping[bytes, Event], worker: _Worker) -> MergeDone:
    if request.again:
        _wait_for_earlier_attempt(request.out, report, wishes)
    recipe = parse_recipe(request.recipe)
    plan = make_plan(recipe, open_anywhere(recipe.references, lambda: _hub(request)))
    if request.wish is not None:
        return _merge_to_hub(request, request.wish, plan, report, wishes)
    if request.again and request.out.exists():
        return _recognise(request, plan, report)
    refuse_taken(request.out)
    device = device_for(plan, request.device)
    parts = _parts(request, plan, wishes, worker)
    plan = _with_weights(request, plan, report, wishes)
    start = time.monotonic()
    parents = [held.folder for held in plan.checkpoints.values()]

    def check(folder: Path, stop_if_asked: Callable[[], None]) -> tuple[str, ...]:
        def keep_asking() -> None:
            # It may be importing still, for seconds in which nothing else would be said.
            report(Progress(Stage.VERIFY, plan.nbytes, plan.nbytes, "transformers looks for every tensor"))
            stop_if_asked()

        return check_loading(folder, worker, parents, keep_asking)

    result = carry_out(
        plan,
        Target(request.out),
        report=report,
        is_cancelled=wishes[CANCEL].is_set,
        is_paused=wishes[PAUSE].is_set,
        check=check,
        parts=parts,
        device=device,
    )
    return MergeDone(result.digest, result.nbytes, time.monotonic() - start, result.warnings)


def _merge_to_hub(request: Request, wish: Wish, plan: Plan, report: Report, wishes: Mapping[bytes, Event]) -> MergeDone:
    """What is finished stays in any case: after a cancel the worker removes it."""
    from blockmerge.jobs.publications import own_address
    from blockmerge.jobs.straight import in_one, merge_to_hub

    start, hub = time.monotonic(), _hub(request)
    pushed, merged = merge_to_hub(
        *(plan, hub, wish, Target(request.out)),
        report=in_one(plan.nbytes, report),
        is_paused=lambda: any(asked.is_set() for asked in wishes.values()),
    )
    address = own_address(hub, pushed.address, pushed.repository)
    return MergeDone(merged.digest, merged.nbytes, time.monotonic() - start, merged.warnings, address)


def _parts(request: Request, plan: Plan, wishes: Mapping[bytes, Event], worker: _Worker) -> Iterator[int] | None:
    """None for a merge that is not split: it is small, or in one shard, or others would have to download its models."""
    is_large = request.split_from is not None and plan.nbytes >= request.split_from
    if not is_large or len(plan.shards) == 1 or any(held.is_headers_only for held in plan.checkpoints.values()):
        return None

    def parts() -> Iterator[int]:
        worker.say(Split(tuple(shard.nbytes for shard in plan.shards)))
        yield from worker.orders(lambda: _stop_if_asked(wishes))

    return parts()


def _stop_if_asked(wishes: Mapping[bytes, Event]) -> None:
    if wishes[CANCEL].is_set():
        raise MergeCancelledError
    if wishes[PAUSE].is_set():
        raise MergePausedError


def _hub(request: Request) -> "Hub":
    from blockmerge.hub.client import own_hub  # takes most of a second, and few jobs need it

    own = own_hub(read_settings(os.environ).home / "hub")
    if request.as_owner:
        return replace(own, token=request.token or own.token)
    return replace(own, token=request.token, is_visitor=True, sign_in=HOW_VISITORS_SIGN_IN)


def _with_weights(request: Request, plan: Plan, report: Report, wishes: Mapping[bytes, Event]) -> Plan:
    """A pause ends a download too: files that are whole stay for the next attempt."""
    check_disk(plan, request.out)  # before a download that may take hours

    def is_stopped() -> bool:
        return any(wish.is_set() for wish in wishes.values())

    return bring_here(plan, lambda: _hub(request), request.out, report=report, is_cancelled=is_stopped)


def _wait_for_earlier_attempt(out: Path, report: Report, wishes: Mapping[bytes, Event]) -> None:
    """Its worker counts as dead, but it may still be at work, on a machine that stood still for a while."""
    lock = part_folder(out) / LOCK
    while lock.exists():
        try:
            with FileLock(lock).acquire(timeout=0):
                return
        except FileNotFoundError:  # removed meanwhile
            return
        except Timeout:
            report(Progress(Stage.CHECK, 0, 0, "the earlier attempt is still at work"))
        wishes[CANCEL].wait(LOOK_EVERY)
        _stop_if_asked(wishes)


def _recognise(request: Request, plan: Plan, report: Report) -> MergeDone:
    """The result that an earlier attempt gave its name to just before it was killed; any other folder is refused."""
    start = time.monotonic()
    manifest = read_manifest(request.out)
    if manifest.recipe != plan.canonical:
        refuse_taken(request.out)
    # Too late to cancel: the result has its name.
    verify_result(request.out, plan, report=report, is_cancelled=lambda: False)
    return MergeDone(manifest.result_digest, plan.nbytes, time.monotonic() - start, ())
