"""How far two models are apart, measured in a process of its own: the page imports no torch, and may be impatient.

`main` is that process: a pair of folders on stdin, progress and the end on stdout.
"""

import json
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import SimpleQueue

from blockmerge.core.difference import BlockDifference, Difference
from blockmerge.core.tensors import Checkpoint
from blockmerge.errors import JobRequestError
from blockmerge.jobs.process import close_stdin, start_python, watch_parent

REPORT_EVERY = 0.2  # seconds
_KEPT = 50


@dataclass(frozen=True, slots=True)
class Measurement:
    """Bytes read of those to read; then `difference`, or the `problem` that was in the way."""

    done: int = 0
    total: int = 0
    difference: Difference | None = None
    problem: str = ""

    @property
    def is_running(self) -> bool:
        return self.difference is None and not self.problem


_Key = tuple[object, ...]


class Differences:
    """The measurements of this page's process, one at a time. What was measured is kept in files under `home`."""

    def __init__(self, home: Path) -> None:
        self._cache = home / "differences"
        self._lock = threading.Lock()
        self._known: dict[_Key, Measurement] = {}

    def look(self, a: Checkpoint, b: Checkpoint) -> Measurement | None:
        """How far the measurement of this pair is; None where none was asked for."""
        return self._known.get(_key(a, b))

    def measure(self, a: Checkpoint, b: Checkpoint) -> None:
        """Begin to measure, if this pair is not known. Raises JobRequestError while another pair is at work."""
        with self._lock:
            known = self._known.get(_key(a, b))
            if known is not None and not known.problem:
                return
            if any(other.is_running for other in self._known.values()):
                raise JobRequestError("Another pair is being measured. Try again when that is done.")
            recent = dict(list(self._known.items())[1 - _KEPT :])
            self._known = {**recent, _key(a, b): Measurement()}
        threading.Thread(target=self._run, args=[a, b], name="difference", daemon=True).start()

    def _run(self, a: Checkpoint, b: Checkpoint) -> None:
        process = start_python("blockmerge.jobs.difference", os.environ, answers=True)
        assert process.stdin is not None
        assert process.stdout is not None
        request = {"models": {"a": str(a.folder), "b": str(b.folder)}, "cache": str(self._cache)}
        last = Measurement()
        process.stdin.write(json.dumps(request).encode() + b"\n")
        process.stdin.flush()
        with process.stdout as lines:
            for line in lines:
                if line.endswith(b"\n"):
                    last = self._known[_key(a, b)] = _read(json.loads(line))
        code = process.wait()
        close_stdin(process)
        if last.is_running:
            self._known[_key(a, b)] = Measurement(
                problem=f"Measuring ended unexpectedly (exit code {code}). Try again."
            )


def _key(a: Checkpoint, b: Checkpoint) -> _Key:
    return a.folder, a.shards, b.folder, b.shards


def _read(said: Mapping[str, object]) -> Measurement:
    match said:
        case {"difference": dict(value)}:
            blocks = tuple(BlockDifference(**block) for block in value["blocks"])
            difference = Difference(blocks, value["distance"], value["cosine"], tuple(value["notes"]))
            return Measurement(difference=difference)
        case {"done": int(done), "total": int(total)}:
            return Measurement(done, total)
        case _:
            return Measurement(problem=str(said["problem"]))


def main() -> None:
    requests: SimpleQueue[bytes] = SimpleQueue()
    watch_parent(requests.put, lambda: os._exit(1))  # nobody wants to know any more
    request = json.loads(requests.get())
    print(json.dumps(_measure(request["models"], Path(request["cache"]))), flush=True)


def _measure(models: Mapping[str, str], cache: Path) -> Mapping[str, object]:
    from blockmerge.checkpoints.models import open_models
    from blockmerge.core.progress import Progress
    from blockmerge.engine.lean_torch import lean_torch
    from blockmerge.errors import BlockmergeError

    with lean_torch():
        from blockmerge.engine.difference import measure  # torch, which the page's process must not import

    said = 0.0

    def report(progress: Progress) -> None:
        nonlocal said
        if time.monotonic() - said >= REPORT_EVERY:
            said = time.monotonic()
            print(json.dumps({"done": progress.done, "total": progress.total}), flush=True)

    try:
        return {"difference": asdict(measure(open_models(models), cache, report=report))}
    except BlockmergeError as error:
        return {"problem": str(error)}
