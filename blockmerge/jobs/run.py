"""The merge process, `python -m blockmerge.jobs.run`: one request on stdin, carried out, its course told on stdout.

It is started before there is anything to do, so that torch is imported by the time a job comes.
"""

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from queue import SimpleQueue
from threading import Event

from filelock import FileLock

from blockmerge.checkpoints.manifest import read_manifest
from blockmerge.checkpoints.models import open_models
from blockmerge.checkpoints.verify import verify_result
from blockmerge.core.plan import Plan, make_plan
from blockmerge.core.progress import Progress, Report, Stage
from blockmerge.core.recipe import parse_recipe
from blockmerge.engine.loading import check_loading
from blockmerge.engine.merge import carry_out
from blockmerge.engine.target import Target
from blockmerge.errors import BlockmergeError, MergeCancelledError, MergePausedError
from blockmerge.jobs.messages import (
    CANCEL,
    PAUSE,
    Ending,
    MergeDone,
    MergeFailed,
    MergeStopped,
    Message,
    Request,
    decode_request,
    encode_message,
)
from blockmerge.jobs.process import watch_parent
from blockmerge.jobs.states import refuse_taken

REPORT_EVERY = 0.1  # seconds


def main() -> None:
    say = _take_stdout()
    requests: SimpleQueue[bytes] = SimpleQueue()
    wishes = {PAUSE: Event(), CANCEL: Event()}

    def hear(line: bytes) -> None:
        wish = wishes.get(line + b"\n")
        if wish is None:
            requests.put(line)
        else:
            wish.set()

    # Without its worker nobody wants the result, and the next worker must not find this process at work.
    watch_parent(hear, lambda: os._exit(1))
    request = decode_request(requests.get())
    signal.signal(signal.SIGTERM, lambda *_: wishes[PAUSE].set())
    _send_stderr_to(request)
    with FileLock(request.lock):
        say(_outcome(request, _throttled(say), wishes))


def _take_stdout() -> Callable[[Message], None]:
    """The way to the worker; whatever else is printed in this process goes to stderr."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)

    def say(message: Message) -> None:
        answers.write(encode_message(message))
        answers.flush()

    return say


def _send_stderr_to(request: Request) -> None:
    request.log.parent.mkdir(parents=True, exist_ok=True)
    with request.log.open("ab") as log:
        os.dup2(log.fileno(), 2)
        os.dup2(log.fileno(), 1)


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


def _outcome(request: Request, report: Report, wishes: Mapping[bytes, Event]) -> Ending:
    try:
        return _merge(request, report, wishes)
    except (MergeCancelledError, MergePausedError):
        return MergeStopped()
    except BlockmergeError as error:
        return MergeFailed(str(error))
    except MemoryError:
        traceback.print_exc()
        return MergeFailed("The merge ran out of memory. Close other programs, or merge on a machine with more memory.")
    except Exception as error:  # noqa: BLE001 - the one boundary where a crash becomes a failed job
        traceback.print_exc()
        sys.stderr.flush()
        return MergeFailed(f"The merge crashed ({type(error).__name__}): see the log, {request.log}")


def _merge(request: Request, report: Report, wishes: Mapping[bytes, Event]) -> MergeDone:
    start = time.monotonic()
    recipe = parse_recipe(request.recipe)
    plan = make_plan(recipe, open_models(recipe.references))
    if request.again and request.out.exists():
        return _recognise(request, plan, report)
    refuse_taken(request.out)
    parents = [held.folder for held in plan.checkpoints.values()]

    def check(folder: Path, stop_if_asked: Callable[[], None]) -> tuple[str, ...]:
        def keep_asking() -> None:
            # Importing transformers takes seconds in which nothing else would be said.
            report(Progress(Stage.VERIFY, plan.nbytes, plan.nbytes, "transformers looks for every tensor"))
            stop_if_asked()

        return check_loading(folder, parents, keep_asking)

    result = carry_out(
        plan,
        Target(request.out),
        report=report,
        is_cancelled=wishes[CANCEL].is_set,
        is_paused=wishes[PAUSE].is_set,
        check=check,
    )
    return MergeDone(result.digest, result.nbytes, time.monotonic() - start, result.warnings)


def _recognise(request: Request, plan: Plan, report: Report) -> MergeDone:
    """The result that an earlier attempt gave its name to just before it was killed; any other folder is refused."""
    start = time.monotonic()
    manifest = read_manifest(request.out)
    if manifest.recipe != plan.canonical:
        refuse_taken(request.out)
    # Too late to cancel: the result has its name.
    verify_result(request.out, plan, report=report, is_cancelled=lambda: False)
    return MergeDone(manifest.result_digest, plan.nbytes, time.monotonic() - start, ())


if __name__ == "__main__":
    main()
