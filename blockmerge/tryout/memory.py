"""How much memory a model takes, known from its headers, and how much there is."""

from dataclasses import dataclass

from blockmerge.core.describe import size_text
from blockmerge.core.tensors import Checkpoint
from blockmerge.engine.memory import memory_here
from blockmerge.errors import TryError

# Measured with the example pair and a model of 135 M parameters on Linux: a process with transformers, and what it
# computes with beside the weights.
PROCESS = 500 * 10**6
WORKING = 0.1  # of the weights: what is computed, and what is remembered of the text
RESERVE = 500 * 10**6  # bytes that stay free for everything else


@dataclass(frozen=True, slots=True)
class Fit:
    """The dtype in which a model is loaded, and the bytes that its process then takes."""

    dtype: str
    nbytes: int


def choose_fit(checkpoint: Checkpoint, device: str, room: int) -> Fit:
    """float32 on a processor where `room` bytes allow it: bfloat16 takes three times as long there. Raises TryError."""
    fits = [_fit(checkpoint, dtype) for dtype in (("float32", "bfloat16") if device == "cpu" else ("bfloat16",))]
    chosen = next((fit for fit in fits if fit.nbytes <= room), None)
    if chosen is None:
        raise TryError(
            f"Trying {checkpoint.name} needs about {size_text(fits[-1].nbytes)} of memory, and "
            f"{size_text(max(room, 0))} is free. Close other programs, or try it on a machine with more memory."
        )
    return chosen


def _fit(checkpoint: Checkpoint, dtype: str) -> Fit:
    weights = checkpoint.elements * {"float32": 4, "bfloat16": 2}[dtype]
    return Fit(dtype, PROCESS + round(weights * (1 + WORKING)))


def free_memory() -> int:
    """Bytes that can still be taken."""
    return memory_here().free - RESERVE
