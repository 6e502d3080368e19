from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockmerge.errors import JobRequestError
from blockmerge.jobs.states import (
    LEGAL_MOVES,
    LIVE,
    RUNNING,
    JobState,
    check_result_name,
    part_folder,
    result_folder,
)


def test_every_state_says_where_it_leads_and_an_end_leads_nowhere_or_back_in_line() -> None:
    assert set(LEGAL_MOVES) == set(JobState)
    ends = {state: LEGAL_MOVES[state] for state in JobState if state not in LIVE}
    assert ends == {
        JobState.DONE: set(),
        JobState.FAILED: {JobState.WAITING},
        JobState.CANCELLED: {JobState.WAITING},
    }


def test_every_live_job_can_fail_and_be_cancelled_and_every_running_one_can_go_back_in_line() -> None:
    for state in LIVE:
        assert {JobState.FAILED, JobState.CANCELLED} <= LEGAL_MOVES[state]
    for state in RUNNING:
        assert JobState.WAITING in LEGAL_MOVES[state]


def test_only_a_verified_job_is_done() -> None:
    before = {state for state in JobState if JobState.DONE in LEGAL_MOVES[state]}
    assert before == {JobState.VERIFYING, JobState.SAVING, JobState.UPLOADING}
    assert {state for state in JobState if JobState.SAVING in LEGAL_MOVES[state]} == {JobState.VERIFYING}
    assert {state for state in JobState if JobState.UPLOADING in LEGAL_MOVES[state]} < before


@pytest.mark.parametrize("name", ["a", "A-merged_1.5B", "7", "a.b", "x" * 96, "console", "com10"])
def test_a_plain_name_is_taken_as_it_is(name: str) -> None:
    assert check_result_name(name) == name


@pytest.mark.parametrize(
    "name", ["", "../x", "a/b", "a\\b", "a\0", "~", ".hidden", "-x", "a b", "a\n", "é", "a\u202eb", "$HOME"]
)
def test_a_name_with_other_characters_is_refused(name: str) -> None:
    with pytest.raises(JobRequestError, match=r"^Use letters, digits, dot, dash and underscore only\.$"):
        check_result_name(name)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("x" * 300, r"The name has 300 characters\. Use 96 at most\."),
        ("a..b", r"no two dots in a row and no dot at its end"),
        ("a.", r"no two dots in a row and no dot at its end"),
        ("con", r"con is the name of a device on Windows"),
        ("LPT1.merged", r"is the name of a device on Windows"),
        ("a.partial", r"kept for unfinished and replaced results"),
        ("a.OLD", r"kept for unfinished and replaced results"),
    ],
)
def test_a_name_that_some_system_or_we_ourselves_keep_is_refused(name: str, sentence: str) -> None:
    with pytest.raises(JobRequestError, match=sentence):
        check_result_name(name)


@given(st.text(max_size=120))
def test_a_name_that_passes_is_one_folder_below_the_output(name: str) -> None:
    try:
        check_result_name(name)
    except JobRequestError:
        return

    assert (Path("/out") / name).resolve().parent == Path("/out")


def test_a_result_that_exists_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()

    with pytest.raises(JobRequestError, match=r"mine exists already\. Choose another name\.$"):
        result_folder(tmp_path, "mine")


def test_an_unfinished_result_of_somebody_is_not_touched(tmp_path: Path) -> None:
    part_folder(tmp_path / "mine").mkdir()

    with pytest.raises(JobRequestError) as caught:
        result_folder(tmp_path, "mine")

    assert str(caught.value) == (
        f"{part_folder(tmp_path / 'mine')} is left from a merge that did not finish. "
        "Choose another name, continue that job, or delete that folder."
    )


def test_a_free_name_gives_a_folder_in_the_output(tmp_path: Path) -> None:
    assert result_folder(tmp_path, "new") == tmp_path / "new"
