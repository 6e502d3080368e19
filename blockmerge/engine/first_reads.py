"""The first reads of a merge, asked for while torch is still being imported: so this module does not import it."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Thread

from blockmerge.checkpoints.files import opened, prefetch
from blockmerge.core.plan import Plan

WINDOW = 256 * 10**6  # bytes of the inputs; many more would starve the import of torch on a cold disk
_AT_ONCE = 8 * 10**6  # bytes: of every input in turn, as the merge needs the same tensors of all of them


def begin_reading(plan: Plan) -> None:
    """Ask for the first window of the inputs, and return at once."""
    Thread(target=_prefetch_first, args=(plan,), daemon=True).start()


def _prefetch_first(plan: Plan) -> None:
    handles: dict[Path, int] = {}
    with ExitStack() as stack:
        for path, offset, nbytes in first_ranges(plan):
            if path not in handles:
                handles[path] = stack.enter_context(opened(path))
            prefetch(handles[path], offset, nbytes)


def first_ranges(plan: Plan) -> Iterator[tuple[Path, int, int]]:
    """File, offset and bytes of what the first WINDOW bytes are; tensors that lie behind each other are one range.

    To ask for each of ten thousand tensors would hold up the import of torch by 0.3 s, as both take turns.
    """
    held: dict[tuple[str, str], tuple[int, int]] = {}
    left = WINDOW

    def path(file: tuple[str, str]) -> Path:
        return plan.checkpoints[file[0]].folder / file[1]

    for step in plan.steps:
        for source in step.inputs:
            file, tensor = (source.model, source.tensor.file), source.tensor
            start, end = held.get(file, (tensor.offset, tensor.offset))
            if tensor.offset != end or end - start >= _AT_ONCE:
                yield path(file), start, end - start
                start = tensor.offset
            held[file] = start, tensor.offset + tensor.nbytes
            left -= tensor.nbytes
        if left < 0:
            break
    yield from ((path(file), start, end - start) for file, (start, end) in held.items())
