"""The Jobs tab: its handlers, and the list in a real Chromium."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from blockmerge.core.progress import Progress, Stage
from blockmerge.errors import JobRequestError
from blockmerge.jobs.states import JobState
from blockmerge.ui.tabs.jobs import cancel_job, is_worker_alive, shown_jobs
from tests.ui.conftest import Bench

OpenPage = Callable[[], Page]


@pytest.mark.parametrize(
    "request_", [None, 1, "1", {}, {"job": "1"}, {"job": True}, {"job": 1.0}, {"job": 0}, {"job": 10**30}, {"job": 99}]
)
def test_a_cancel_that_names_no_job_is_refused(bench: Bench, request_: object) -> None:
    job = bench.add("mine")

    with pytest.raises(JobRequestError, match=r"^No such job\.$"):
        cancel_job(bench.store, request_)

    assert bench.store.get(job).state is JobState.WAITING


def test_a_waiting_job_is_cancelled_at_once(bench: Bench) -> None:
    job = bench.add("mine")

    cancel_job(bench.store, {"job": job})

    assert bench.store.get(job).state is JobState.CANCELLED


def test_an_ended_job_cannot_be_cancelled(bench: Bench) -> None:
    job = bench.finish("mine")

    with pytest.raises(JobRequestError, match=rf"^Job {job} is Done already: there is nothing to cancel\.$"):
        cancel_job(bench.store, {"job": job})


def test_a_live_job_is_listed_however_old_it_is(bench: Bench) -> None:
    first = bench.add("first")
    for number in range(101):
        cancel_job(bench.store, {"job": bench.add(f"later-{number}")})

    assert shown_jobs(bench.store)["cards"][0]["id"] == first  # type: ignore[index]


def test_a_worker_is_alive_once_it_beats(bench: Bench) -> None:
    assert not is_worker_alive(bench.store)

    bench.store.beat("worker")

    assert is_worker_alive(bench.store)


@pytest.mark.browser
def test_two_browsers_follow_the_same_job_from_the_line_to_its_end(bench: Bench, open_page: OpenPage) -> None:
    pages = [open_page(), open_page()]
    for page in pages:
        expect(page.get_by_text("No jobs yet.")).to_be_visible()

    job = bench.add("mine")
    for page in pages:
        card = page.get_by_role("article")
        expect(card).to_contain_text(re.compile("#1.*left × right.*Waiting.*next in line", re.DOTALL), timeout=5000)
        expect(page.get_by_role("tab", name="Jobs 1")).to_be_visible()

    bench.advance(job, JobState.MERGING)
    bench.store.report_progress(job, Progress(Stage.MERGE, 41, 100, "layer 12 of 32"))
    pages[1].reload()
    pages[1].get_by_role("tab", name="Jobs").click()
    for page in pages:
        expect(page.get_by_role("article")).to_contain_text("layer 12 of 32", timeout=3000)
        expect(page.get_by_role("progressbar", name="Job 1, Merging")).to_have_attribute("aria-valuenow", "41")


@pytest.mark.browser
def test_cancel_and_remove_act_on_their_own_job(bench: Bench, open_page: OpenPage) -> None:
    running, waiting, other = bench.add("running"), bench.add("waiting"), bench.add("other")
    bench.advance(running, JobState.MERGING)
    page = open_page()

    page.get_by_role("button", name=f"Remove, job {waiting}").click()
    page.get_by_role("button", name=f"Cancel, job {running}").click()

    expect(page.locator(f"[data-job='{waiting}']")).to_contain_text("Cancelled")
    expect(page.locator(f"[data-job='{running}']")).to_contain_text("Cancelling")
    expect(page.get_by_role("button", name=f"Cancel, job {running}")).to_have_count(0)
    assert bench.store.get(other).state is JobState.WAITING


@pytest.mark.browser
def test_a_cancel_that_comes_too_late_is_told(bench: Bench, open_page: OpenPage) -> None:
    job = bench.add("mine")
    page = open_page()
    button = page.get_by_role("button", name=f"Remove, job {job}")
    expect(button).to_be_visible()

    bench.store.ask_cancel(job)
    button.click()

    expect(page.get_by_text(f"Job {job} is Cancelled already: there is nothing to cancel.")).to_be_visible()


@pytest.mark.browser
def test_a_done_job_offers_its_folder_and_a_download(bench: Bench, open_page: OpenPage) -> None:
    job = bench.finish("mine", config_json=b"{}")
    page = open_page()

    expect(page.get_by_role("article")).to_contain_text(str(bench.settings.output / "mine"))
    with page.expect_download() as download:
        page.get_by_role("link", name=f"Download, job {job}").click()
    assert download.value.suggested_filename == "mine.tar"
    page.get_by_role("button", name=f"Copy path, job {job}").click()
    expect(page.get_by_role("button", name=f"Copy path, job {job}")).to_have_text("Copied")


@pytest.mark.browser
def test_names_are_shown_as_text_and_never_run(bench: Bench, open_page: OpenPage) -> None:
    tricks = ("${Object.assign(document,{title:'pwn'})}", "<img src=x onerror=\"document.title='pwn'\">", "{{value}}")
    bench.add("mine", models=tricks)
    page = open_page()

    expect(page.get_by_role("heading", level=3)).to_have_text(" × ".join(tricks))
    assert page.title() == "blockmerge"


@pytest.mark.browser
def test_the_focus_stays_on_a_button_while_the_card_changes(bench: Bench, open_page: OpenPage) -> None:
    job = bench.add("mine")
    bench.advance(job, JobState.MERGING)
    page = open_page()
    button = page.get_by_role("button", name=f"Cancel, job {job}")
    button.focus()

    bench.store.report_progress(job, Progress(Stage.MERGE, 41, 100, "layer 12 of 32"))

    expect(page.get_by_role("article")).to_contain_text("layer 12 of 32")
    expect(button).to_be_focused()
