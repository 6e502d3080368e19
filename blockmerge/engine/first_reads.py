"""The first reads of a merge, asked for while torch is still being imported: so this module does not import it."""

from threading import Thread

from blockmerge.checkpoints.files import opened, prefetch
from blockmerge.core.plan import Plan

WINDOW = 256 * 10**6  # bytes of the inputs; many more would starve the import of torch on a cold disk


def begin_reading(plan: Plan) -> None:
    """Ask for the first window of the inputs, and return at once."""
    Thread(target=_prefetch_first, args=(plan,), daemon=True).start()


def _prefetch_first(plan: Plan) -> None:
    left = WINDOW
    for step in plan.steps:
        for source in step.inputs:
            with opened(plan.checkpoints[source.model].folder / source.tensor.file) as handle:
                prefetch(handle, source.tensor.offset, source.tensor.nbytes)
            left -= source.tensor.nbytes
        if left < 0:
            return
