"""What the page says about jobs, sentence by sentence."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockmerge.core.progress import Stage
from blockmerge.jobs.states import Job, JobProgress, JobState
from blockmerge.ui.views import duration_text, job_list, left_text, rate, share_text, tab_title, time_left

MERGING = JobProgress(Stage.MERGE, 5_945_000_000, 14_500_000_000, "layer 12 of 32", 1000.0, 1019.0)
JOB = Job(
    id=14,
    name="mistral-x-zephyr",
    state=JobState.WAITING,
    attempt=1,
    crashes=0,
    cancel_asked=False,
    recipe="",
    out=Path("/results/mistral-x-zephyr"),
    models=("Mistral-7B-v0.1", "zephyr-7b-beta"),
    weights=(0.0, 0.5, 1.0),
    shape="Smooth rise, edited",
    created=900.0,
    started=None,
    finished=None,
    error=None,
    digest=None,
    nbytes=None,
    seconds=None,
    warnings=(),
    progress=None,
)
RUNNING = replace(JOB, state=JobState.MERGING, started=990.0, progress=MERGING)


def cards(*jobs: Job, worker_is_alive: bool = True) -> list[dict[str, Any]]:
    shown: Any = job_list(jobs, worker_is_alive=worker_is_alive)["cards"]
    return list(shown)


def card(job: Job) -> dict[str, Any]:
    [only] = cards(job)
    return only


def said(value: object) -> str:
    """A line or fact as the browser would write it, with times as numbers."""
    assert isinstance(value, tuple)
    return "".join(part if isinstance(part, str) else str(next(iter(part.values()))) for part in value)


def test_a_running_job_says_how_far_how_fast_and_how_long() -> None:
    shown = card(RUNNING)

    assert shown["title"] == "Mistral-7B-v0.1 × zephyr-7b-beta"
    assert shown["about"] == ("Smooth rise, edited", "as mistral-x-zephyr")
    assert (shown["state"], said(shown["line"])) == ("Merging", "layer 12 of 32, about 30 s left")
    assert {label: said(value) for label, value in shown["facts"]} == {
        "Done": "41 %",
        "Written": "5.9 of 14.5 GB",
        "Rate": "313 MB/s",
        "Time left": "about 30 s",
        "Started": "990.0",
    }
    assert shown["percent"] == 41
    assert shown["cancel"] == "Cancel"
    assert (shown["path"], shown["files"]) == ("", "")


def test_the_stages_show_what_is_done_what_runs_and_what_comes() -> None:
    segments = card(RUNNING)["segments"]

    assert [(part["state"], part["share"], part["title"], part["detail"]) for part in segments] == [
        ("done", 1.0, "Checked", "all tensors fit"),
        ("now", 0.41, "Merging", "14.5 GB to write"),
        ("next", 0.0, "Verify", "the result against the plan"),
    ]


def test_the_progress_of_the_stage_before_is_not_taken_for_this_one() -> None:
    before = replace(MERGING, done=MERGING.total)

    shown = card(replace(RUNNING, state=JobState.VERIFYING, progress=before))

    assert [part["share"] for part in shown["segments"]] == [1.0, 1.0, 0.0]
    assert [label for label, _ in shown["facts"]] == ["Started"]


def test_a_merge_that_just_began_claims_no_rate() -> None:
    shown = card(replace(RUNNING, progress=replace(MERGING, at=1000.2)))

    assert said(shown["line"]) == "layer 12 of 32"
    assert dict(shown["facts"])["Rate"] == ("not measured yet",)
    assert dict(shown["facts"])["Time left"] == ("not known yet",)


def test_a_running_job_that_is_being_cancelled_cannot_be_cancelled_again() -> None:
    shown = card(replace(RUNNING, cancel_asked=True))

    assert (shown["state"], shown["cancel"]) == ("Cancelling", "")


def test_progress_is_spoken_by_quarters() -> None:
    assert card(RUNNING)["spoken"] == "Job 14, Merging, 25 percent"


def test_waiting_jobs_know_their_place_in_the_line() -> None:
    line = [said(shown["line"]) for shown in cards(replace(JOB, id=16), replace(JOB, id=15), RUNNING)]

    assert line[1:] == ["next in line, starts in about 30 s", "number 2 in line"]
    assert said(card(JOB)["line"]) == "next in line, starts in a moment"
    assert card(JOB)["cancel"] == "Remove"


def test_running_comes_before_waiting_and_the_newest_ended_job_before_older_ones() -> None:
    done = replace(JOB, state=JobState.DONE, finished=1.0)

    order = [
        shown["id"]
        for shown in cards(
            replace(done, id=11), replace(done, id=13), RUNNING, replace(JOB, id=16), replace(JOB, id=15)
        )
    ]

    assert order == [14, 15, 16, 13, 11]


def test_a_done_job_says_when_how_much_how_long_its_digest_and_where() -> None:
    done = replace(
        RUNNING,
        state=JobState.DONE,
        finished=1130.0,
        nbytes=14_500_000_000,
        seconds=130.4,
        digest="7c1e04b9ffff",
        warnings=("Chat templates differ.",),
    )

    shown = card(done)

    assert said(shown["line"]) == "1130.0, 14.5 GB in 2 min 10 s, digest 7c1e04b9"
    assert shown["path"] == str(Path("/results/mistral-x-zephyr"))
    assert shown["files"] == "files/14/"
    assert shown["notes"] == ("Chat templates differ.",)
    assert shown["cancel"] == ""


def test_a_failed_job_says_every_sentence_of_its_error() -> None:
    shown = card(replace(RUNNING, state=JobState.FAILED, error="The disk is full.\nFree 3.1 GB."))

    assert (said(shown["line"]), shown["notes"]) == ("The disk is full.", ["Free 3.1 GB."])
    assert (shown["kind"], shown["cancel"], shown["files"]) == ("bad", "", "")


def test_a_cancelled_job_says_what_became_of_its_result() -> None:
    begun = replace(RUNNING, state=JobState.CANCELLED, finished=1130.0)

    assert said(card(begun)["line"]) == "1130.0, the unfinished result is removed"
    assert said(card(replace(begun, started=None))["line"]) == "1130.0, before it began"


def test_an_interrupted_job_says_that_it_began_anew() -> None:
    assert card(replace(RUNNING, crashes=1))["notes"] == ("The worker was killed once during this job; it began anew.",)
    assert card(replace(RUNNING, crashes=2))["notes"] == (
        "The worker was killed 2 times during this job; it began anew.",
    )


def test_a_missing_worker_is_named_only_while_jobs_wait_for_it() -> None:
    note = "No worker is running. Jobs wait until there is one."

    assert job_list([JOB], worker_is_alive=False)["note"] == note
    assert job_list([JOB], worker_is_alive=True)["note"] == ""
    assert job_list([replace(JOB, state=JobState.CANCELLED)], worker_is_alive=False)["note"] == ""


def test_the_tab_counts_the_jobs_that_have_not_ended() -> None:
    shown = job_list([RUNNING, replace(JOB, id=15), replace(JOB, id=1, state=JobState.CANCELLED)], worker_is_alive=True)

    assert shown["live"] == 2
    assert (tab_title(2), tab_title(0)) == ("Jobs 2", "Jobs")


@pytest.mark.parametrize(
    ("done", "total", "text"),
    [
        (5_945_000_000, 14_500_000_000, "5.9 of 14.5 GB"),
        (40_000_000, 145_000_000_000, "0 of 145 GB"),
        (999, 2_000_000, "0.0 of 2.0 MB"),
        (12, 500, "12 of 500 bytes"),
    ],
)
def test_bytes_of_bytes_share_one_unit(done: int, total: int, text: str) -> None:
    assert share_text(done, total) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (2.44, "2.4 s"), (40.2, "40 s"), (59.6, "1 min 0 s"), (130, "2 min 10 s"), (3900, "1 h 5 min")],
)
def test_a_measured_time_is_exact(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "a few seconds"),
        (9, "a few seconds"),
        (11, "about 20 s"),
        (40, "about 40 s"),
        (54, "about 60 s"),
        (56, "about 1 min"),
        (100, "about 2 min"),
        (5000, "about 83 min"),
        (7200, "about 2 h"),
    ],
)
def test_an_expected_time_is_rounded(seconds: float, text: str) -> None:
    assert left_text(seconds) == text


@given(total=st.integers(1, 10**13), share=st.floats(0.01, 1), seconds=st.floats(0.5, 10**5))
def test_rate_and_time_left_add_up_to_the_whole(total: int, share: float, seconds: float) -> None:
    done = max(1, int(total * share))
    progress = JobProgress(Stage.MERGE, done, total, "", 0.0, seconds)

    speed, left = rate(progress), time_left(progress)

    assert speed is not None
    assert left is not None
    assert speed * (seconds + left) == pytest.approx(total)
