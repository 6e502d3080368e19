"""The durable queue: the only importer of dbos, which hands tickets to workers and remembers them.

dbos knows nothing of a job but its number and attempt; everything else is in the Store.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager

from dbos import DBOS, SetEnqueueOptions, SetWorkflowID, WorkflowSerializationFormat

from blockmerge.jobs.states import Ticket

_QUEUE = "merges"
_POLL = 0.1  # seconds
_IN_LINE = frozenset({"ENQUEUED", "DELAYED"})


class MergeQueue:
    """The tickets that wait or are being carried out."""

    def __init__(self, workflow: Callable[[int, int], None]) -> None:
        self._workflow = workflow

    def put(self, ticket: Ticket, turn: int, home: str | None = None) -> None:
        """Put a ticket in line behind those of an earlier turn; a ticket that was put before stays what it is.

        With a `home` only its workers take it; one of them must have been there.
        """
        with SetWorkflowID(str(ticket)), SetEnqueueOptions(priority=turn):
            DBOS.enqueue_workflow(_name(home), self._workflow, ticket.job, ticket.attempt)

    def is_active(
        self, tickets: Collection[Ticket], workers: Collection[str], homes: Collection[str]
    ) -> Mapping[Ticket, bool]:
        """For each ticket that was ever put: True while one of these workers carries it out, or it waits for any.

        One that was put for a home waits for somebody only where that is one of `homes`.
        """
        somewhere = {_name(None), *map(_name, homes)}
        named = {str(ticket): ticket for ticket in tickets}
        asked = to_power_of_two(list(named))
        found = DBOS.list_workflows(workflow_ids=asked, load_input=False, load_output=False)
        return {
            named[workflow.workflow_id]: (workflow.status in _IN_LINE and workflow.queue_name in somewhere)
            or (workflow.status == "PENDING" and workflow.executor_id in workers)
            for workflow in found
        }


def to_power_of_two(names: list[str]) -> list[str]:
    """The same names, the last one said again until there are 1, 2, 4, 8, … of them.

    Every length of such a list makes a statement of its own, and SQLite's driver keeps the last 128, at 0.1 MB each
    for 500 names: so a line that grows shorter would fill 13 MB.
    """
    count = 1 << max(len(names) - 1, 0).bit_length()
    return [*names, *names[-1:] * (count - len(names))]


def _name(home: str | None) -> str:
    return _QUEUE if home is None else f"{_QUEUE} at {home}"


@contextmanager
def open_queue(
    url: str, worker: str, at_once: int, carry_out: Callable[[Ticket], None], home: str | None = None
) -> Iterator[MergeQueue]:
    """Start to hand out tickets, `at_once` at a time, to `carry_out`, in threads of dbos; once per process.

    Of those that are put for this `home` there are as many again. `worker` is the name of this process, which no other
    ever has. `carry_out` records how a job ended in the Store and raises for bugs only: dbos would store the exception.
    """
    names = sorted({_name(None), _name(home)})
    # Pinned: by default it is a hash of the source, and an edit would strand every ticket of the version before.
    DBOS(
        config={
            "name": "blockmerge",
            "system_database_url": url,
            "application_version": "jobs-1",
            "executor_id": worker,
            "log_level": "WARNING",
        }
    )

    # JSON instead of pickle. dbos' own limit of 100 recoveries is never met: every attempt has a ticket of its own.
    @DBOS.workflow(name="merge", serialization_type=WorkflowSerializationFormat.PORTABLE)
    def merge(job: int, attempt: int) -> None:
        carry_out(Ticket(job, attempt))

    DBOS.listen_queues(names)
    DBOS.launch()
    try:
        for name in names:
            DBOS.register_queue(name, worker_concurrency=at_once, polling_interval_sec=_POLL)
        yield MergeQueue(merge)
    finally:
        DBOS.destroy()
