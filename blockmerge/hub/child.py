"""Moving files in a process of its own: the one way to stop a transfer at once, over HTTP and over Xet.

The requests go in on stdin, with the token in them, as neither arguments nor the environment of a process are secret;
lines of JSON come back.
"""

import json
import os
import queue
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import IO, Any

from blockmerge import errors
from blockmerge.child_environment import child_command, child_environment
from blockmerge.core.progress import IsCancelled, Progress, Report, Stage
from blockmerge.hub.client import Hub
from blockmerge.hub.failures import redact

MOVER = "blockmerge.hub.mover"
ASK_EVERY = 0.1  # seconds between two looks whether somebody asked to stop

_TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")


def move(
    stage: Stage, request: Mapping[str, Any], hub: Hub, report: Report, is_cancelled: IsCancelled
) -> Mapping[str, Any]:
    """Have a child carry out the task of a stage, from mover.TASKS; what it answers.

    Raises what the task raises, or MergeCancelledError when somebody asked to stop: the child is gone then.
    """
    with mover(hub) as child:
        return child.ask(stage.value, stage, request, report, is_cancelled)


@dataclass(frozen=True, slots=True)
class Mover:
    """A child that takes one task after the other: what it knows of addresses it need not ask for again."""

    hub: Hub
    process: "subprocess.Popen[bytes]"
    answers: "queue.Queue[Any]"
    log: IO[bytes]

    def ask(
        self, task: str, stage: Stage, request: Mapping[str, Any], report: Report, is_cancelled: IsCancelled
    ) -> Mapping[str, Any]:
        """What the task answers. Raises as `move` does; the child takes no more tasks after a cancel."""
        self._send({"task": task, "hub": _person(self.hub), **request})
        while True:
            if is_cancelled():
                self.process.kill()
                raise errors.MergeCancelledError(f"The {stage.value} was cancelled. Files that are whole stay.")
            try:
                answer = self.answers.get(timeout=ASK_EVERY)
            except queue.Empty:
                continue
            match answer:
                case {"done": int(done), "total": int(total), "detail": str(detail)}:
                    report(Progress(stage, done, total, detail))
                case {"refused": str(kind), "problems": [*problems]}:
                    raise _error(kind, problems)
                case {"result": dict(result)}:
                    return result
                case None if not is_cancelled():
                    raise self._ended()

    def _send(self, request: Mapping[str, Any]) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(f"{json.dumps(request)}\n".encode())
            self.process.stdin.flush()
        except BrokenPipeError as error:
            raise self._ended() from error

    def _ended(self) -> RuntimeError:
        return RuntimeError(f"The process that moves files ended unexpectedly: {_last_words(self.log)}")


def _person(hub: Hub) -> Mapping[str, str | None]:
    return {
        "cache": str(hub.cache),
        "kept": str(hub.kept),
        "endpoint": hub.endpoint,
        "token": hub.token,
        "sign_in": hub.sign_in,
    }


@contextmanager
def mover(hub: Hub) -> Iterator[Mover]:
    """A child that is gone at the end."""
    kept = {name: text for name, text in os.environ.items() if name not in _TOKENS}
    with TemporaryFile() as log:
        child = subprocess.Popen(
            child_command(MOVER, "-W", "ignore"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,  # a Ctrl-C at the terminal reaches only us, and we end the child
            env=child_environment(kept, HF_HUB_DISABLE_IMPLICIT_TOKEN="1", HF_HUB_DISABLE_TELEMETRY="1"),
        )
        try:
            yield Mover(hub, child, _listen(child), log)
        finally:
            _end(child)


def _end(child: "subprocess.Popen[bytes]") -> None:
    child.kill()
    assert child.stdin is not None
    assert child.stdout is not None
    child.wait()
    with suppress(BrokenPipeError):  # a request that it did not take any more
        child.stdin.close()
    child.stdout.close()


def _listen(child: "subprocess.Popen[bytes]") -> "queue.Queue[Any]":
    """A queue of the child's answers; None is its end. Its stdin stays open: it ends when we do."""
    assert child.stdout is not None
    lines, answers = child.stdout, queue.Queue[Any]()

    def listen() -> None:
        for line in lines:
            if line.endswith(b"\n"):  # a killed process may leave half a line
                answers.put(json.loads(line))
        answers.put(None)

    threading.Thread(target=listen, name="mover", daemon=True).start()
    return answers


def _error(kind: str, problems: list[str]) -> errors.BlockmergeError:
    raised: type[errors.BlockmergeError] = getattr(errors, kind)
    return raised(*problems)


def _last_words(log: IO[bytes]) -> str:
    log.seek(0)
    lines = [line for line in log.read().decode(errors="replace").splitlines() if line.strip()]
    return redact(lines[-1]) if lines else "it was killed"
