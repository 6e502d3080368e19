"""Reading ahead of the workers, in a window: a cold disk is kept busy, and a small memory is not flooded."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping

from blockmerge.checkpoints.files import prefetch
from blockmerge.engine.first_reads import WINDOW
from blockmerge.engine.schedule import Job


def ahead(jobs: Iterable[Job], inputs: Mapping[tuple[str, str], int]) -> Iterator[Job]:
    """The same jobs; what they read is asked for while others, of WINDOW bytes together, are still to be done."""
    held: deque[tuple[Job, int]] = deque()
    total = 0
    for job in jobs:
        nbytes = sum(source.nbytes for source in job.chunk.sources) if _reads_first(job) else 0
        if nbytes:
            for source in job.chunk.sources:
                for part in source.parts or (source,):
                    prefetch(inputs[part.file], part.offset, part.nbytes)
        held.append((job, nbytes))
        total += nbytes
        while total > WINDOW:
            first, nbytes = held.popleft()
            total -= nbytes
            yield first
    yield from (job for job, _ in held)


def _reads_first(job: Job) -> bool:
    """Whether nothing before it has read the same bytes, but for a sample of them."""
    measures = () if job.task is None else job.task.measures
    return job.measure == next((number for number, measure in enumerate(measures) if not measure.of_sample), None)
