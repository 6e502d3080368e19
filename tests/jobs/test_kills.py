"""A short version of kills.py, with all its checks, on both kinds of queue."""

from pathlib import Path

from tests.jobs.kills import run


def test_nothing_is_lost_or_broken_however_often_something_is_killed(tmp_path: Path, queue: str) -> None:
    killing = run(9, queue, seed=1, folder=tmp_path)

    assert sum(killing.hits.values()) >= 6  # a merge process may be between two jobs
    assert len(killing.restarts) == 3
