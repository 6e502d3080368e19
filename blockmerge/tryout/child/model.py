"""A model and its tokenizer, loaded by transformers: safetensors only, and none of the model's own code."""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers

from blockmerge.tryout.child.limits import limit_memory
from blockmerge.tryout.messages import Load, Loaded

_LOG = logging.getLogger(__name__)


class NoAnswerError(Exception):
    """Why there is no answer, as a sentence for a person."""


@dataclass(frozen=True, slots=True)
class Model:
    """`context` is how many tokens it reads at most."""

    net: Any
    tokenizer: Any
    device: str
    context: int


def find_device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def free_on(device: str) -> int | None:
    return torch.cuda.mem_get_info()[0] if device == "cuda" else None


def use_threads() -> None:
    """A third of the processor's cores, as three models answer at once; always the same, so that sums are."""
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // 3))


def load(request: Load, device: str) -> tuple[Model, Loaded]:
    """Raises NoAnswerError."""
    if device == "cpu":
        limit_memory(request.most)
    name = Path(request.folder).name
    safe: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
    # The architecture is one of transformers' own classes by name: no config can name another.
    model_class = getattr(transformers, request.architecture, None)
    if model_class is None:
        raise NoAnswerError(f"This transformers does not know {request.architecture}, so {name} cannot be tried.")
    with failures_become(lambda why: f"transformers cannot load {name}: {why}."):
        net, told = model_class.from_pretrained(
            request.folder,
            use_safetensors=True,
            dtype=getattr(torch, request.dtype),
            output_loading_info=True,
            **safe,
        )
    net.to(device).eval()
    return Model(net, _tokenizer(request.folder, safe), device, _context(net.config)), Loaded(len(told["missing_keys"]))


def _tokenizer(folder: str, safe: dict[str, Any]) -> Any:
    name = Path(folder).name
    with failures_become(lambda _: f"{name} has no tokenizer that transformers can read, so it cannot be tried."):
        return transformers.AutoTokenizer.from_pretrained(folder, **safe)


@contextmanager
def failures_become(sentence: Callable[[str], str]) -> Iterator[None]:
    """Whatever a model's own files make of its libraries is a NoAnswerError, told what the failure says first.

    Raises MemoryError as it is. A tokenizer's panics are no Exceptions, and have no name to catch.
    """
    try:
        yield
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:
        _LOG.exception("a model's files failed")
        raise NoAnswerError(sentence(_first_line(error))) from error


def _context(config: Any) -> int:
    text = config.get_text_config()
    known = [getattr(text, name, None) for name in ("max_position_embeddings", "n_positions", "max_seq_len")]
    return next((value for value in known if isinstance(value, int) and value > 0), 2048)


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")
