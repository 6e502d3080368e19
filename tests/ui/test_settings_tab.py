"""The Settings tab: what is told to whom, and what is left over."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from blockmerge.checkpoints.library import Library
from blockmerge.engine.target import LOCK
from blockmerge.errors import JobRequestError
from blockmerge.jobs.states import LOCAL, JobState, Ticket
from blockmerge.ui.tabs import Context
from blockmerge.ui.tabs.settings import delete, view
from tests.ui.conftest import Bench

OpenPage = Callable[[], Page]


def context_of(bench: Bench, **changes: Any) -> Context:
    return Context(
        replace(bench.settings, **changes),
        bench.store,
        Library((), any_path=False),
        bench.identity,
    )


def rows_of(context: Context, owner: str = LOCAL) -> dict[str, str]:
    shown: Any = view(context, owner)
    return {label: text for group in shown["groups"] for label, text in group["rows"]}


def leave(bench: Bench, name: str, *files: str) -> None:
    folder = bench.settings.output / f"{name}.partial"
    folder.mkdir(parents=True)
    for file in files:
        (folder / file).write_bytes(b"x" * 1000)


def names_in(bench: Bench) -> list[str]:
    return sorted(path.name for path in bench.settings.output.iterdir())


def left(bench: Bench) -> list[str]:
    shown: Any = view(context_of(bench), LOCAL)
    return [folder["name"] for folder in shown["left"]]


def test_where_results_are_copied_to_is_told_and_to_others_without_a_path(bench: Bench) -> None:
    context = context_of(bench, bucket=Path("/data/blockmerge"))

    assert rows_of(context)["Copied, too"] == str(Path("/data/blockmerge"))
    assert rows_of(context, "browser:1")["Copied, too"] == "to a folder that outlasts this machine"
    assert "Copied, too" not in rows_of(context_of(bench))


def test_limits_are_told_in_words(bench: Bench) -> None:
    rows = rows_of(context_of(bench, keep_days=1, disk_budget=500 * 10**9, waiting_limit=20, jobs_at_once=2))

    assert rows["Kept for"] == "1 day"
    assert rows["All results may take"] == "500 GB"
    assert rows["A person’s jobs in line"] == "20 at most"
    assert rows["Merged at a time"] == "2"
    assert rows["Written to"] == str(bench.settings.output)
    assert rows_of(context_of(bench))["Kept for"] == "as long as you like"


def test_the_password_of_a_database_is_never_shown(bench: Bench) -> None:
    context = context_of(bench, queue="postgresql://user:secret@host/queue")

    assert rows_of(context)["Kept in"] == "a PostgreSQL database"
    assert "secret" not in repr(view(context, LOCAL))


def test_other_people_see_no_path_of_this_machine(bench: Bench) -> None:
    leave(bench, "old", LOCK)

    shown = view(context_of(bench, models=(bench.settings.home,)), "browser:1")

    assert str(bench.settings.home.parent) not in repr(shown)
    assert shown["left"] is None


def test_what_no_job_owns_is_listed_and_deleted_when_asked(bench: Bench) -> None:
    leave(bench, "old", LOCK)
    leave(bench, "mine", LOCK)
    bench.add("mine")
    assert left(bench) == ["old.partial"]

    told = delete(context_of(bench), LOCAL, {"do": "delete", "name": "old.partial"})

    assert told == "old.partial is deleted."
    assert names_in(bench) == ["mine.partial"]


def test_what_a_failed_job_can_go_on_from_is_its_own(bench: Bench) -> None:
    leave(bench, "mine", LOCK)
    job = bench.add("mine")
    bench.store.move(Ticket(job, 1), {JobState.WAITING}, JobState.FAILED, error="", kept=1000)

    assert left(bench) == []


def test_files_that_no_merge_made_are_left_alone(bench: Bench) -> None:
    leave(bench, "photos", "holiday.jpg")

    with pytest.raises(JobRequestError) as refused:
        delete(context_of(bench), LOCAL, {"do": "delete", "name": "photos.partial"})

    assert str(refused.value) == (
        "photos.partial holds files that no merge made, so it is left alone. Look at it yourself."
    )
    assert left(bench) == ["photos.partial"]


@pytest.mark.parametrize(
    ("owner", "told"),
    [
        ("browser:1", {"do": "delete", "name": "old.partial"}),
        (LOCAL, {"do": "delete", "name": "../old.partial"}),
        (LOCAL, {"do": "delete", "name": "mine.partial"}),
        (LOCAL, {"do": "delete", "name": 1}),
        (LOCAL, {"do": "burn", "name": "old.partial"}),
        (LOCAL, None),
    ],
)
def test_a_forged_deletion_changes_nothing(bench: Bench, owner: str, told: object) -> None:
    leave(bench, "old", LOCK)
    leave(bench, "mine", LOCK)
    bench.add("mine")

    with pytest.raises(JobRequestError, match=r"^This was not understood\.|^There is no such folder any more"):
        delete(context_of(bench), owner, told)
    assert names_in(bench) == ["mine.partial", "old.partial"]


@pytest.mark.browser
def test_colours_are_chosen_and_stay(bench: Bench, open_page: OpenPage) -> None:
    page = open_page()
    page.get_by_role("tab", name="Settings").click()

    page.get_by_role("radio", name="Dark").click()
    expect(page.locator("body.dark")).to_have_count(1)
    page.reload()
    page.wait_for_selector("#status .disk:not(:empty)", state="attached")
    expect(page.locator("body.dark")).to_have_count(1)

    page.get_by_role("tab", name="Settings").click()
    page.get_by_role("radio", name="Dark").press("ArrowLeft")
    expect(page.get_by_role("radio", name="Light")).to_be_focused()
    expect(page.locator("body.dark")).to_have_count(0)


@pytest.mark.browser
def test_a_left_folder_is_deleted_after_a_question(bench: Bench, open_page: OpenPage) -> None:
    leave(bench, "old", LOCK)
    page = open_page()
    page.get_by_role("tab", name="Settings").click()

    page.get_by_role("button", name="Delete, old.partial").click()
    expect(page.get_by_text("Delete old.partial, 1.0 kB, for good?")).to_be_visible()
    page.get_by_role("button", name="Keep it").click()
    assert left(bench) == ["old.partial"]
    page.get_by_role("button", name="Delete, old.partial").click()
    page.get_by_role("button", name="Delete the folder").click()

    expect(page.get_by_text("old.partial is deleted.")).to_be_visible()
    assert left(bench) == []


@pytest.mark.browser
def test_a_hostile_name_of_a_folder_stays_text(bench: Bench, open_page: OpenPage) -> None:
    name = "<img src=x onerror=document.title='pwn'> ${1+1} {{value}} \u202egnp" + "x" * 120
    leave(bench, name, LOCK)
    page = open_page()
    page.get_by_role("tab", name="Settings").click()

    expect(page.locator(".left code")).to_have_text(f"{name}.partial")
    page.get_by_role("button", name="Delete, ").click()
    expect(page.get_by_role("alert")).to_contain_text(name)
    assert page.title() == "blockmerge"
    assert page.locator(".sheet img").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
