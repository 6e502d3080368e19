"""The page's side of a model process: one model, in a process that can be killed at any moment."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue

import psutil

from blockmerge.errors import TryError
from blockmerge.jobs.process import close_stdin, start_python
from blockmerge.tryout.messages import (
    LAST,
    TEMPLATE,
    TOKENS,
    Ask,
    Doing,
    Failed,
    Hello,
    Load,
    Loaded,
    Message,
    Question,
    decode_message,
    encode_ask,
    encode_stop,
)

CHILD = "blockmerge.tryout.child.run"
START_LIMIT = 180.0  # seconds to import transformers, which takes five where nothing else is at work
PREPARE_LIMIT = 2.0  # seconds of computing that a chat template or a tokenizer may take
PREPARE_WALL = 120.0  # the same by the clock, for one that only waits; a busy machine is not its fault
STOP_GRACE = 10.0  # seconds from a stop to the kill
LOOK_EVERY = 0.05

IsStopped = Callable[[], bool]


class StoppedError(Exception):
    """Nobody wants the answer any more."""


class TemplateTooLongError(TryError):
    """The process is gone, with the template that it was rendering; the question has an answer without it."""


class ModelProcess:
    """Close it: that ends the process, whatever it is doing. One thread at a time asks; any may close."""

    def __init__(self, environ: Mapping[str, str], log: Path, module: str = CHILD) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log = log
        # A model's files are all here: nothing is fetched, and no token is needed.
        offline = {"BLOCKMERGE_TRY_LOG": str(log), "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
        kept = {name: value for name, value in environ.items() if "TOKEN" not in name}
        self._process = start_python(module, {**kept, **offline}, answers=True)
        self._messages: SimpleQueue[Message | None] = SimpleQueue()
        self._reader = threading.Thread(target=self._read, name="model-reader", daemon=True)
        self._reader.start()
        self._asked = 0

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def resident(self) -> int:
        """Bytes of memory that it has now."""
        try:
            return int(psutil.Process(self._process.pid).memory_info().rss)
        except psutil.NoSuchProcess:
            return 0

    def hello(self, is_stopped: IsStopped) -> Hello:
        """Wait until everything is imported: the first thing it says. Raises TryError or StoppedError."""
        end = time.monotonic() + START_LIMIT
        while time.monotonic() < end:
            message = self._receive()
            if isinstance(message, Hello):
                return message
            if is_stopped():
                raise StoppedError
        raise TryError(f"The model process did not start within {START_LIMIT:.0f} seconds. Try again later.")

    def load(self, request: Load) -> Loaded:
        """Raises TryError."""
        for message in self._exchange(request, lambda: False):
            if isinstance(message, Loaded):
                return message
        raise AssertionError("the last message is Loaded or raises")

    def ask(self, question: Question, is_stopped: IsStopped) -> Iterator[Message]:
        """All that it says until the answer has ended; closed early, the answer is stopped.

        Raises TryError where there is no answer, or where the process dies.
        """
        return self._exchange(question, is_stopped)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()
        close_stdin(self._process)

    def _exchange(self, ask: Ask, is_stopped: IsStopped) -> Iterator[Message]:
        self._asked += 1
        self._write(encode_ask(self._asked, ask))
        watch = _Watch(self._process.pid)
        while True:
            message = self._receive()
            if is_stopped() and not watch.is_stopping:
                watch.begin_stop()
                self._write(encode_stop(self._asked))
            try:
                watch.look(message)
            except (TryError, StoppedError):
                self.close()
                raise
            if isinstance(message, Failed):
                raise TryError(message.sentence)
            if message is not None:
                try:
                    yield message
                except GeneratorExit:
                    self._end_exchange(message)
                    raise
            if isinstance(message, LAST):
                return

    def _end_exchange(self, message: Message) -> None:
        """Nobody listens any more: what it still says must not be taken for the answer to the next question."""
        self._write(encode_stop(self._asked))
        end = time.monotonic() + STOP_GRACE
        heard: Message | None = message
        with suppress(TryError):  # the dead say nothing more
            while not isinstance(heard, LAST):
                if time.monotonic() > end:
                    self.close()
                    return
                heard = self._receive()

    def _receive(self) -> Message | None:
        """The next thing it says, or None if it says nothing for a moment. Raises TryError where it is dead."""
        try:
            message = self._messages.get(timeout=LOOK_EVERY)
        except Empty:
            return None
        if message is None:
            self._messages.put(None)  # it stays dead
            raise TryError(_death(self._process.wait(), self._log))
        return message

    def _write(self, line: bytes) -> None:
        assert self._process.stdin is not None
        # It is dead, which `_receive` will tell; or closed by somebody else, which is a ValueError.
        with suppress(BrokenPipeError, ValueError):
            self._process.stdin.write(line)
            self._process.stdin.flush()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                if line.endswith(b"\n"):  # a killed process may leave half a line
                    self._messages.put(decode_message(line))
        self._messages.put(None)


class _Watch:
    """Whether a process takes too long for the step that it is in. A template or a tokenizer cannot be interrupted."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._step = ""
        self._computed = 0.0
        self._since = 0.0
        self._stop_at: float | None = None

    @property
    def is_stopping(self) -> bool:
        return self._stop_at is not None

    def begin_stop(self) -> None:
        self._stop_at = time.monotonic() + STOP_GRACE

    def look(self, message: Message | None) -> None:
        """Raises TryError or StoppedError when it is time to end the process."""
        if isinstance(message, Doing):
            self._step, self._computed, self._since = message.step, self._seconds_computed(), time.monotonic()
        if self._stop_at is not None and time.monotonic() > self._stop_at:
            raise StoppedError
        if message is None and self._step in (TEMPLATE, TOKENS) and self._is_over():
            if self._step == TEMPLATE:
                raise TemplateTooLongError("The chat template took too long; plain prompt used.")
            raise TryError("The tokenizer failed on this text.")

    def _is_over(self) -> bool:
        waited = time.monotonic() - self._since
        return self._seconds_computed() - self._computed > PREPARE_LIMIT or waited > PREPARE_WALL

    def _seconds_computed(self) -> float:
        try:
            times = psutil.Process(self._pid).cpu_times()
        except psutil.NoSuchProcess:
            return 0.0  # dead, which is told elsewhere
        return float(times.user + times.system)


def _death(returncode: int, log: Path) -> str:
    if -returncode == 9 or returncode == 137:
        return "The model process was killed, most likely out of memory. Free other models, or close other programs."
    return f"The model process ended unexpectedly (exit code {returncode}). Its log may say why: {log}"
