"""Does transformers find every tensor of a model where it expects it? Asked in a child, on the meta device.

`main` is the child: a folder on each line of stdin, one line of JSON on stdout for each.
No weights are read and none of the model's own code is run.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from tempfile import TemporaryFile
from threading import Lock, Thread
from typing import IO, Any, Protocol, Self

from blockmerge.checkpoints.folder import open_checkpoint
from blockmerge.checkpoints.strict_json import shown
from blockmerge.child_environment import child_command, child_environment
from blockmerge.core.buffers import is_buffer
from blockmerge.core.tensors import Checkpoint, DType
from blockmerge.errors import VerifyError

TIMEOUT = 300  # seconds
ASK_EVERY = 0.2  # seconds between looks at whether somebody cancelled

_KINDS = ("missing", "unexpected", "mismatched")


@dataclass(frozen=True, slots=True)
class Loading:
    """What transformers said: tensors by kind of trouble, or that it fails, or why it could not be asked."""

    unknown: str = ""
    failure: str = ""
    troubles: Mapping[str, frozenset[str]] | None = None

    @classmethod
    def read(cls, value: Mapping[str, Any]) -> "Loading":
        """From what `as_json` gave, through JSON."""
        troubles = value["troubles"]
        kinds = None if troubles is None else {kind: frozenset(names) for kind, names in troubles.items()}
        return cls(value["unknown"], value["failure"], kinds)

    @property
    def as_json(self) -> Mapping[str, Any]:
        kinds = None if self.troubles is None else {kind: sorted(names) for kind, names in self.troubles.items()}
        return {"unknown": self.unknown, "failure": self.failure, "troubles": kinds}

    @property
    def is_clean(self) -> bool:
        return self.troubles is not None and not any(self.troubles.values())


class Asked(Protocol):
    """Who knows what transformers says."""

    def ask(self, folder: Path, keep_asking: Callable[[], None]) -> Loading: ...


def check_loading(
    folder: Path,
    transformers: Asked,
    parents: Sequence[Path] = (),
    keep_asking: Callable[[], None] = lambda: None,
) -> tuple[str, ...]:
    """Warnings, where transformers cannot be asked. `keep_asking` is called several times a second, and may raise.

    Raises VerifyError with each tensor that is missing, unexpected or mismatched in the folder
    and in no parent.
    """
    result = transformers.ask(folder, keep_asking)
    if result.is_clean:
        return ()
    known = [transformers.ask(parent, keep_asking) for parent in parents]
    if result.failure and not any(held.failure for held in known):
        raise VerifyError(f"transformers cannot load the result: {result.failure}. Report this merge, with its recipe.")
    if result.troubles is None:
        return (f"Whether transformers can load the result was not checked: {result.unknown or result.failure}.",)
    problems: list[str] = []
    for kind in _KINDS:
        inherited = frozenset[str]().union(*(held.troubles[kind] for held in known if held.troubles is not None))
        problems += _sentences(kind, sorted(result.troubles[kind] - inherited))
    if problems:
        raise VerifyError(*problems)
    return ()


def _sentences(kind: str, names: Sequence[str]) -> Iterable[str]:
    """One for all tensors of a kind."""
    if names:
        more = f" and {len(names) - 1} more tensors" if len(names) > 1 else ""
        meaning = {
            "missing": "which the model needs and would fill with random numbers",
            "unexpected": "which the model does not know and would ignore",
            "mismatched": "whose shape is not what the model needs",
        }
        yield f"transformers finds {shown(names[0])}{more} {kind}, {meaning[kind]}. Report this merge, with its recipe."


class Transformers:
    """A child that imports transformers, which takes seconds, and then says how it finds folders. Close it.

    It is started when it is first asked, or before, and anew after its death. Any thread may ask.
    """

    def __init__(self) -> None:
        self._child: subprocess.Popen[str] | None = None
        self._answers: SimpleQueue[str] = SimpleQueue()
        self._one_at_a_time = Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        if self._one_at_a_time.acquire(blocking=False):  # else somebody asks, so it is started
            try:
                self._start()
            finally:
                self._one_at_a_time.release()

    def ask(self, folder: Path, keep_asking: Callable[[], None] = lambda: None) -> Loading:
        """What transformers says of the folder. What `keep_asking` raises ends the child."""
        with self._one_at_a_time, ExitStack() as unless_it_answers:
            # One that has said its last may still be there for a moment, and would never answer whoever asks next.
            unless_it_answers.callback(self._end)
            self._say(self._start(), folder)
            until = time.monotonic() + TIMEOUT
            while time.monotonic() < until:
                keep_asking()
                with suppress(Empty):
                    line = self._answers.get(timeout=ASK_EVERY)
                    if not line:
                        return Loading(self._last_words())
                    said = _loading(json.loads(line))
                    unless_it_answers.pop_all()
                    return said
            return Loading(f"it took more than {TIMEOUT} seconds")

    def close(self) -> None:
        """From any thread; whoever asks at the moment is told that the child was killed."""
        self._end()

    def _start(self) -> "subprocess.Popen[str]":
        if self._child is None or self._child.poll() is not None:
            self._end()
            self._answers = SimpleQueue()
            self._complaints = TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 - _end closes it
            self._child = subprocess.Popen(
                child_command("blockmerge.engine.loading", "-W", "ignore"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._complaints,
                text=True,
                env=child_environment(os.environ, CUDA_VISIBLE_DEVICES="", HF_HUB_OFFLINE="1"),
                start_new_session=sys.platform != "win32",  # a Ctrl-C at the terminal is ours to hear
            )
            Thread(target=_listen, args=[self._child.stdout, self._answers], name="transformers", daemon=True).start()
        return self._child

    def _end(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            assert self._child.stdin is not None
            with suppress(BrokenPipeError):
                self._child.stdin.close()
            self._complaints.close()

    @staticmethod
    def _say(child: "subprocess.Popen[str]", folder: Path) -> None:
        assert child.stdin is not None
        with suppress(BrokenPipeError, ValueError):  # it is dead, which its answers tell
            child.stdin.write(f"{json.dumps(str(folder))}\n")
            child.stdin.flush()

    def _last_words(self) -> str:
        if self._complaints.closed:
            return "it was killed"
        self._complaints.seek(0)
        lines = [line for line in self._complaints.read().splitlines() if line.strip()]
        return lines[-1].rstrip(".") if lines else "it was killed"


def _listen(said: IO[str], answers: "SimpleQueue[str]") -> None:
    with said:
        for line in said:
            answers.put(line)
    answers.put("")  # its end


def _loading(answer: Mapping[str, Any]) -> Loading:
    if "missing" not in answer:
        return Loading(answer.get("unknown", ""), answer.get("failure", ""))
    return Loading(troubles={kind: frozenset(answer[kind]) for kind in _KINDS})


def describe(folder: Path) -> dict[str, Any]:
    """In the child: what transformers says of the names and shapes in this folder."""
    import transformers

    transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    checkpoint = open_checkpoint(folder)
    try:
        config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except (ValueError, KeyError, ImportError, OSError) as error:
        return {"unknown": str(error).splitlines()[0].rstrip(".")}
    architecture = next(iter(config.architectures or ()), "")
    model_class = getattr(transformers, architecture, None)
    if model_class is None:
        return {"unknown": f"this transformers does not know {architecture or 'the architecture'}"}
    try:
        _, info = model_class.from_pretrained(
            None,
            config=config,
            state_dict=_meta_tensors(checkpoint),
            device_map="meta",
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    except (ValueError, ImportError) as error:  # accelerate is not installed
        return {"unknown": str(error).splitlines()[0].rstrip(".")}
    except RuntimeError as error:  # where tensors are fused while loading, one that is missing ends here
        return {"failure": str(error).splitlines()[0].rstrip(".")}
    buffers = {name for name, tensor in checkpoint.tensors.items() if is_buffer(tensor)}
    return {
        "missing": sorted(info["missing_keys"]),
        "unexpected": sorted(set(info["unexpected_keys"]) - buffers),
        "mismatched": sorted(str(entry[0]) for entry in info["mismatched_keys"]),
    }


def _meta_tensors(checkpoint: Checkpoint) -> dict[str, Any]:
    import torch

    return {
        name: torch.empty(tensor.shape, dtype=_torch_dtype(tensor.dtype), device="meta")
        for name, tensor in checkpoint.tensors.items()
    }


def _torch_dtype(dtype: DType) -> Any:
    import torch

    return getattr(torch, dtype.label)


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever else prints
    for line in _lines():
        print(json.dumps(describe(Path(json.loads(line)))), file=answers, flush=True)


def _lines() -> Iterator[str]:
    """Of stdin; the process ends with it at once, though it may be importing still."""
    lines: SimpleQueue[str] = SimpleQueue()

    def read() -> None:
        for line in sys.stdin:
            lines.put(line)
        os._exit(1)

    Thread(target=read, name="stdin", daemon=True).start()
    with suppress(ImportError):  # which is told when somebody asks
        import transformers.modeling_utils  # noqa: F401 - most of what any model class imports

    while True:
        yield lines.get()
