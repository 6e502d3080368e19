"""Who answers beside whom: the result of a job, and the models that it was made of."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from blockmerge.core.recipe import parse_recipe
from blockmerge.core.tensors import Checkpoint
from blockmerge.errors import BlockmergeError, JobRequestError, TryError
from blockmerge.jobs.states import Job, JobState
from blockmerge.tryout.kinds import Kind, kind_of

MERGED = "merged"
MOST = 4  # columns: more would be unreadable beside each other

Open = Callable[[str], Checkpoint]  # from a reference as recipes have it, a folder among them


@dataclass(frozen=True, slots=True)
class Column:
    """`key` is the model's in the recipe, or "merged"; `mark` is A, B, … in the recipe's order, empty for the result.

    Where it cannot be tried, `problem` says why.
    """

    key: str
    mark: str
    name: str
    checkpoint: Checkpoint | None
    kind: Kind | None
    problem: str = ""


def check_tryable(job: Job) -> Job:
    """Raises JobRequestError."""
    if job.state is not JobState.DONE:
        raise JobRequestError(f"Job {job.id} is {job.state}. A merge can be tried when it is Done.")
    if not job.out.is_dir():
        raise JobRequestError(f"The result of job {job.id} is no longer at {job.out}. Merge it again to try it.")
    return job


def columns_of(job: Job, open_checkpoint: Open) -> tuple[Column, ...]:
    """The first model, the result, the other models."""
    parents = [
        _column(key, chr(ord("A") + place), reference, open_checkpoint)
        for place, (key, reference) in enumerate(parse_recipe(job.recipe).models.items())
    ]
    merged = _column(MERGED, "", str(job.out), open_checkpoint)
    return (*parents[:1], merged, *parents[1:])[:MOST]


def _column(key: str, mark: str, reference: str, open_checkpoint: Open) -> Column:
    try:
        checkpoint = open_checkpoint(reference)
        return Column(key, mark, checkpoint.name, checkpoint, kind_of(checkpoint))
    except BlockmergeError as error:
        return Column(key, mark, Path(reference).name or reference, None, None, " ".join(error.problems))


def kind_among(columns: Sequence[Column]) -> Kind:
    """What can be asked of all of them. Raises TryError where the result can be asked nothing."""
    merged = next(column for column in columns if column.key == MERGED)
    if merged.kind is None:
        raise TryError(merged.problem)
    return merged.kind
