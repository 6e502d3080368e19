"""The worker's side of a merge process: it starts early, waits with torch imported, and carries out one request."""

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from blockmerge.core.progress import Progress
from blockmerge.engine.devices import Found
from blockmerge.engine.loading import Asked
from blockmerge.jobs.messages import (
    CANCEL,
    PAUSE,
    Ending,
    Message,
    PartDone,
    Question,
    Request,
    Split,
    decode_message,
    encode_answer,
    encode_order,
    encode_request,
)
from blockmerge.jobs.process import close_stdin, start_python


@dataclass(frozen=True, slots=True)
class Died:
    """The process ended without saying how the merge did."""

    returncode: int


class MergeProcess:
    """One process for one merge. Close it: that ends the process, whatever it is doing.

    Its questions are passed on to `transformers`, which serves one process after the other. `found` is the GPU that it
    sees, once it has torch.
    """

    def __init__(self, environ: Mapping[str, str], transformers: Asked) -> None:
        self.found: Found | None = None
        self._transformers = transformers
        self._process = start_python("blockmerge.jobs.run", environ, answers=True, complains=True)
        self._messages: SimpleQueue[Progress | Split | PartDone | Ending | Died] = SimpleQueue()
        self._hear: Callable[[str], None] = lambda _: None
        self._threads = [threading.Thread(target=read, daemon=True) for read in (self._read_errors, self._read)]
        for thread in self._threads:
            thread.start()

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def begin(self, request: Request, hear: Callable[[str], None]) -> None:
        """Carry out a request; `hear` gets every line that it writes to stderr, in a thread of its own."""
        self._hear = hear
        self._say(encode_request(request))

    def order(self, part: int | None) -> None:
        """Say what is next for a merge that is split: this part, or what comes after all of them."""
        self._say(encode_order(part))

    def pause(self) -> None:
        """It stops within a chunk of work, keeps what is finished and says that it stopped."""
        self._say(PAUSE)

    def cancel(self) -> None:
        """It stops within a chunk of work, removes its part folder and says that it stopped."""
        self._say(CANCEL)

    def receive(self, seconds: float) -> Progress | Split | PartDone | Ending | Died | None:
        """The next thing it says, or None if it says nothing for so long. Died comes last, and only once."""
        try:
            return self._messages.get(timeout=seconds)
        except Empty:
            return None

    def kill(self) -> None:
        self._process.kill()

    def close(self) -> None:
        self._process.kill()
        for thread in self._threads:
            thread.join()
        close_stdin(self._process)

    def _say(self, line: bytes) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError, ValueError):  # it is dead or closed, which `receive` will tell
            self._process.stdin.write(line)
            self._process.stdin.flush()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                if line.endswith(b"\n"):  # a killed process may leave half a line
                    self._take(decode_message(line))
        returncode = self._process.wait()
        self._threads[0].join()  # its last words come before the news of its death
        self._messages.put(Died(returncode))

    def _take(self, message: Message) -> None:
        if isinstance(message, Question):
            # In a thread of its own: news of the process come meanwhile, that of its death among them.
            threading.Thread(target=self._answer, args=[message], daemon=True).start()
        elif isinstance(message, Found):
            self.found = message
        else:
            self._messages.put(message)

    def _answer(self, question: Question) -> None:
        self._say(encode_answer(self._transformers.ask(question.folder, lambda: None)))

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as lines:
            for line in lines:
                self._hear(line.decode(errors="replace").rstrip())
