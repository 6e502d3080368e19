"""A short version of crowd.py, with all its checks, on both kinds of queue."""

from tests.jobs.bench import Bench
from tests.jobs.crowd import run


def test_jobs_of_several_people_are_done_in_turn_once_each_and_cancels_race(bench: Bench) -> None:
    samples = run(bench, jobs=6, sessions=3, cancels=4)

    assert samples[-1].jobs == 6
    assert bench.left_over() == []
