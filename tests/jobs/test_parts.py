"""The table of parts: nobody gets what somebody living has, and what a dead worker had is free."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from blockmerge.jobs.parts import Course, Part, Parts
from blockmerge.jobs.states import JobState, Ticket
from blockmerge.jobs.store import Store
from tests.jobs.rows import bring, new_job


@pytest.fixture
def job(store: Store) -> int:
    """A job at its merge, with two workers beside it."""
    number = store.add(new_job("large"))
    bring(store, number, JobState.MERGING)
    for worker in ("ann", "bob"):
        store.beat(worker)
    return number


@pytest.fixture
def parts(store: Store, job: int) -> Iterator[Parts]:
    table = Parts(store.database)
    table.begin(job, (10, 20, 30))
    return table


def test_each_part_is_merged_by_one_worker(parts: Parts, job: int) -> None:
    claims = [parts.claim(worker) for worker in ("ann", "bob", "ann", "bob")]

    assert claims == [Part(job, 0), Part(job, 1), Part(job, 2), None]


@pytest.mark.parametrize("queue", ["postgres"], indirect=True)
def test_workers_that_ask_at_once_get_different_parts(store: Store, job: int) -> None:
    parts = Parts(store.database)
    parts.begin(job, [1] * 40)
    names = [f"worker-{number}" for number in range(10)]
    for name in names:
        store.beat(name)

    with ThreadPoolExecutor(len(names)) as pool:
        claims = list(pool.map(parts.claim, names * 4))

    assert sorted(claim.number for claim in claims if claim is not None) == list(range(40))


def test_a_part_of_a_dead_worker_is_free_again(store: Store, parts: Parts, job: int) -> None:
    part = parts.claim("ann", job)
    assert part is not None

    store.remove_worker("ann")

    assert parts.claim("bob", job) == part
    assert not parts.is_wanted(part, "ann")
    assert parts.is_wanted(part, "bob")


def test_what_a_worker_says_of_a_part_that_it_lost_is_not_heard(store: Store, parts: Parts, job: int) -> None:
    part = parts.claim("ann", job)
    assert part is not None
    store.remove_worker("ann")
    parts.claim("bob", job)

    parts.report(part, "ann", 7)
    parts.finish(part, "ann")
    parts.let_go(part, "ann")

    assert parts.is_wanted(part, "bob")
    assert parts.course(job) == Course(done=0, total=60, whole=0, count=3)


def test_how_far_all_are_is_one_sum(parts: Parts, job: int) -> None:
    first, second = parts.claim("ann"), parts.claim("bob")
    assert first is not None
    assert second is not None

    parts.finish(first, "ann")
    parts.report(second, "bob", 5)

    assert parts.course(job) == Course(done=15, total=60, whole=1, count=3)
    assert parts.workers(job) == ("ann",)


def test_a_part_that_is_let_go_is_the_next_one_s(parts: Parts, job: int) -> None:
    part = parts.claim("ann")
    assert part is not None

    parts.let_go(part, "ann")

    assert parts.claim("bob") == part


def test_parts_are_free_only_while_their_job_is_at_its_merge(store: Store, parts: Parts, job: int) -> None:
    store.move(Ticket(job, 1), {JobState.MERGING}, JobState.WAITING)
    assert parts.claim("ann") is None

    store.move(Ticket(job, 2), {JobState.WAITING}, JobState.CHECKING)
    store.move(Ticket(job, 2), {JobState.CHECKING}, JobState.MERGING)
    assert parts.claim("ann") == Part(job, 0)

    store.ask_cancel(job)
    assert parts.claim("bob") is None
    assert not parts.is_wanted(Part(job, 0), "ann")


def test_an_attempt_that_cannot_be_helped_is_left_alone_and_the_next_one_is_not(
    store: Store, parts: Parts, job: int
) -> None:
    assert parts.claim("ann", but_not={Ticket(job, 1)}) is None

    assert parts.claim("ann", but_not={Ticket(job, 2)}) == Part(job, 0)


def test_a_new_attempt_leaves_helpers_what_they_are_at(parts: Parts, job: int) -> None:
    first, second = parts.claim("ann"), parts.claim("bob")
    assert first is not None
    assert second is not None
    parts.finish(first, "ann")

    parts.begin(job, (10, 20, 30))

    assert parts.is_wanted(second, "bob")
    assert parts.claim("ann") == first  # its journal says that it is whole, so that is soon done


def test_what_is_called_off_is_neither_begun_nor_wanted(parts: Parts, job: int) -> None:
    part = parts.claim("ann")
    assert part is not None

    parts.call_off(job)

    assert parts.claim("bob") is None
    assert not parts.is_wanted(part, "ann")
    assert parts.has_helpers(job)
    parts.let_go(part, "ann")
    assert not parts.has_helpers(job)


def test_a_waiting_job_is_cancelled_when_nobody_is_at_its_parts_any_more(store: Store, parts: Parts, job: int) -> None:
    part = parts.claim("ann")
    assert part is not None
    store.move(Ticket(job, 1), {JobState.MERGING}, JobState.WAITING)
    store.ask_cancel(job)

    store.cancel_waiting()
    assert store.get(job).state is JobState.WAITING

    parts.let_go(part, "ann")
    store.cancel_waiting()
    assert store.get(job).state is JobState.CANCELLED


def test_a_job_that_has_ended_has_no_parts(store: Store, parts: Parts, job: int) -> None:
    assert parts.is_split(job)

    store.move(Ticket(job, 1), {JobState.MERGING}, JobState.FAILED)

    assert not parts.is_split(job)
