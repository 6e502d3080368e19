"""What the page says about jobs, sentence by sentence."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from blockmerge.core.progress import Stage
from blockmerge.core.wish import Wish
from blockmerge.jobs.page import Page
from blockmerge.jobs.states import LOCAL, Job, JobProgress, JobState
from blockmerge.ui.job_cards import MOST_STRANGERS, job_list, tab_title

MERGING = JobProgress(Stage.MERGE, 5_945_000_000, 14_500_000_000, "layer 12 of 32", 1000.0, 1019.0)
JOB = Job(
    id=14,
    owner=LOCAL,
    name="mistral-x-zephyr",
    state=JobState.WAITING,
    turn=1,
    attempt=1,
    begun=False,
    worker=None,
    crashes=0,
    units=0,
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
    nbytes=0,
    seconds=None,
    warnings=(),
    kept=0,
    deleted=None,
    hidden=False,
    published=None,
    home=None,
    stays_home=False,
    wish=None,
    device="cpu",
    progress=None,
)
RUNNING = replace(JOB, state=JobState.MERGING, started=990.0, progress=MERGING)


def page_of(*jobs: Job, alive: bool = True, running: int = 0, waiting: int = 0) -> Page:
    """The own jobs in the order of their numbers, the newest first; other people's as numbers."""
    newest = tuple(sorted(jobs, key=lambda job: -job.id))
    line = sorted(job.id for job in jobs if job.state is JobState.WAITING)
    places: Mapping[int, int] = {job: place for place, job in enumerate(line, 1)}
    return Page(newest, places, len(jobs), running, waiting, alive)


def cards(*jobs: Job) -> list[dict[str, Any]]:
    shown: Any = job_list(page_of(*jobs))["cards"]
    return list(shown)


def acts(shown: dict[str, Any]) -> list[str]:
    return [act for act, _ in shown["acts"]]


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
    assert shown["acts"] == [("log", "Log"), ("cancel", "Cancel")]
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

    assert (shown["state"], acts(shown)) == ("Cancelling", ["log"])


def test_progress_is_spoken_by_quarters() -> None:
    assert card(RUNNING)["spoken"] == "Job 14, Merging, 25 percent"


def test_waiting_jobs_know_their_place_in_the_line() -> None:
    line = [said(shown["line"]) for shown in cards(replace(JOB, id=16), replace(JOB, id=15), RUNNING)]

    assert line[1:] == ["next in line, starts in about 30 s", "number 2 in line"]
    assert said(card(JOB)["line"]) == "next in line, starts in a moment"
    assert card(JOB)["acts"] == [("cancel", "Remove"), ("edit", "Edit")]
    assert acts(cards(JOB, replace(JOB, id=15))[1]) == ["cancel", "up", "down", "edit"]


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
    assert shown["notes"] == ["Chat templates differ."]
    assert acts(shown) == ["try", "use", "publish", "download"]
    assert [act for act, _ in shown["more"]] == [
        *("files", "copy_path", "clone", "keep_recipe", "compare", "log", "delete_files", "forget"),
    ]


def test_a_done_job_whose_files_are_deleted_says_so_and_offers_none() -> None:
    shown = card(replace(RUNNING, state=JobState.DONE, finished=1130.0, digest="7c", deleted=1200.0))

    assert shown["notes"] == ["Its files are deleted."]
    assert (acts(shown), shown["path"], shown["files"]) == (["use"], "", "")
    assert "delete_files" not in [act for act, _ in shown["more"]]


def test_a_job_that_keeps_nothing_here_says_where_it_goes_and_where_it_is() -> None:
    wish = Wish("ann/merged")
    running = card(replace(RUNNING, wish=wish))
    done = card(
        replace(
            JOB,
            state=JobState.DONE,
            finished=1100.0,
            digest="7c1e04b9aabb",
            nbytes=14_500_000_000,
            seconds=130.0,
            deleted=1100.0,
            published="https://huggingface.co/ann/merged/commit/abc",
            wish=wish,
        )
    )

    assert running["about"][-1] == done["about"][-1] == "to ann/merged"
    assert dict(running["facts"])["Moved"] == ("5.9 of 14.5 GB",)
    assert running["segments"][1]["detail"] == "14.5 GB to fetch, merge and send"
    assert done["notes"] == ["Nothing of it is on this disk. To try it, choose the repository as a model."]
    assert said(done["line"]).endswith(", published as https://huggingface.co/ann/merged/commit/abc")
    assert acts(done) == ["use"]
    assert not {"files", "copy_path", "delete_files"} & {act for act, _ in done["more"]}
    assert (done["path"], done["files"]) == ("", "")


def test_a_failed_job_says_every_sentence_of_its_error() -> None:
    shown = card(replace(RUNNING, state=JobState.FAILED, error="The disk is full.\nFree 3.1 GB."))

    assert (said(shown["line"]), shown["notes"]) == ("The disk is full.", ["Free 3.1 GB."])
    assert (shown["kind"], shown["files"]) == ("bad", "")
    assert shown["acts"] == [("log", "Details"), ("retry", "Start again")]


def test_a_failed_job_that_can_go_on_says_from_what() -> None:
    shown = card(replace(RUNNING, state=JobState.FAILED, error="The disk is full.", kept=4_500_000_000))

    assert shown["notes"] == ["4.5 GB of it is kept: it goes on from there."]
    assert shown["acts"][1] == ("retry", "Continue")
    assert shown["size"] == "4.5 GB"


def test_a_job_that_needs_a_sign_in_offers_to_continue() -> None:
    shown = card(replace(RUNNING, state=JobState.NEEDS_SIGN_IN, error="Sign-in ended. Files are safe."))

    assert (shown["kind"], said(shown["line"])) == ("lock", "Sign-in ended. Files are safe.")
    assert shown["acts"][1] == ("retry", "Sign in and continue")


def test_a_stage_that_few_jobs_have_is_shown_while_a_job_is_in_it() -> None:
    titles = [part["title"] for part in card(replace(RUNNING, state=JobState.UPLOADING))["segments"]]

    assert titles == ["Checked", "Merged", "Verified", "Uploading"]


def test_a_cancelled_job_says_what_became_of_its_result() -> None:
    begun = replace(RUNNING, state=JobState.CANCELLED, finished=1130.0)

    assert said(card(begun)["line"]) == "1130.0, the unfinished result is removed"
    assert said(card(replace(begun, started=None))["line"]) == "1130.0, before it began"


def test_an_interrupted_job_says_that_it_went_on() -> None:
    assert card(replace(RUNNING, crashes=1))["notes"] == (
        "The worker was killed once during this job; it went on from what was finished.",
    )
    assert card(replace(RUNNING, crashes=2))["notes"] == (
        "The worker was killed 2 times during this job; it went on from what was finished.",
    )


def test_a_missing_worker_is_named_only_while_jobs_wait_for_it() -> None:
    note = "No worker is running. Jobs wait until there is one."

    assert job_list(page_of(JOB, alive=False))["note"] == note
    assert job_list(page_of(JOB))["note"] == ""
    assert job_list(page_of(replace(JOB, state=JobState.CANCELLED), alive=False))["note"] == ""


def test_the_tab_counts_the_jobs_that_have_not_ended() -> None:
    shown = job_list(page_of(RUNNING, replace(JOB, id=15), replace(JOB, id=1, state=JobState.CANCELLED)))

    assert shown["live"] == 2
    assert (tab_title(2), tab_title(0)) == ("Jobs 2", "Jobs")


def test_other_peoples_jobs_are_places_in_the_line() -> None:
    page = replace(page_of(JOB, running=1, waiting=2), places={14: 2})

    assert job_list(page)["others"] == {"lines": ["running", "number 1 in line", "number 3 in line"], "more": ""}


def test_very_many_other_jobs_are_a_number() -> None:
    others: Any = job_list(page_of(waiting=MOST_STRANGERS + 3))["others"]

    assert len(others["lines"]) == MOST_STRANGERS
    assert others["more"] == "and 3 more jobs of other people"


def test_older_jobs_than_are_shown_are_counted() -> None:
    assert job_list(replace(page_of(JOB), matches=240))["count"] == (
        "The newest 1 of 240 jobs. Filter to find older ones."
    )
