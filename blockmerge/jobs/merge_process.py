"""The worker's side of a merge process: it starts early, waits with torch imported, and carries out one request."""

import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from blockmerge.jobs.messages import CANCEL, PAUSE, Message, Request, decode_message, encode_request
from blockmerge.jobs.process import close_stdin, start_python


@dataclass(frozen=True, slots=True)
class Died:
    """The process ended without saying how the merge did."""

    returncode: int


class MergeProcess:
    """One process for one merge. Close it: that ends the process, whatever it is doing."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._process = start_python("blockmerge.jobs.run", environ, answers=True)
        self._messages: SimpleQueue[Message | Died] = SimpleQueue()
        self._reader = threading.Thread(target=self._read, name="merge-reader", daemon=True)
        self._reader.start()

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def begin(self, request: Request) -> None:
        self._say(encode_request(request))

    def pause(self) -> None:
        """It stops within a chunk of work, keeps what is finished and says that it stopped."""
        self._say(PAUSE)

    def cancel(self) -> None:
        """It stops within a chunk of work, removes its part folder and says that it stopped."""
        self._say(CANCEL)

    def receive(self, seconds: float) -> Message | Died | None:
        """The next thing it says, or None if it says nothing for so long. Died comes last, and only once."""
        try:
            return self._messages.get(timeout=seconds)
        except Empty:
            return None

    def kill(self) -> None:
        self._process.kill()

    def close(self) -> None:
        self._process.kill()
        self._reader.join()
        close_stdin(self._process)

    def _say(self, line: bytes) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it is dead, which `receive` will tell
            self._process.stdin.write(line)
            self._process.stdin.flush()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                if line.endswith(b"\n"):  # a killed process may leave half a line
                    self._messages.put(decode_message(line))
        self._messages.put(Died(self._process.wait()))
