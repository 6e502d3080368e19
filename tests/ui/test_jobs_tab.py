"""The Jobs tab: what is asked of it, and the list in a real Chromium."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from blockmerge.checkpoints.library import Library
from blockmerge.core.progress import Progress, Stage
from blockmerge.core.recipe import dump_recipe, parse_recipe
from blockmerge.errors import InputError, JobRequestError
from blockmerge.jobs.own_jobs import OwnJobs
from blockmerge.jobs.states import LOCAL, JobState, NewJob, Ticket
from blockmerge.ui.recipe_shelf import RecipeShelf
from blockmerge.ui.tabs import Context
from blockmerge.ui.tabs.jobs import Asked, Desk, Wanted, is_worker_alive, read_asked
from tests.tiny_models import write_llama
from tests.ui.conftest import Bench

OpenPage = Callable[[], Page]
HOSTILE = "<img src=x onerror=\"document.title='pwn'\"> ${Object.assign(document,{title:'pwn'})} {{value}} \u202egnp"
ACTS = (
    "cancel",
    "up",
    "down",
    "retry",
    "delete_files",
    "forget",
    "use",
    "try",
    "clone",
    "keep_recipe",
    "edit",
    "batch",
    "log",
)


@pytest.fixture
def desk(bench: Bench) -> Desk:
    return desk_of(bench, LOCAL)


def desk_of(bench: Bench, owner: str) -> Desk:
    library = Library((bench.settings.output,), any_path=True)
    return Desk(
        Context(bench.settings, bench.store, library, bench.identity),
        OwnJobs(bench.store, bench.settings, owner),
    )


def add_real(bench: Bench, name: str, weights: str = "layers: [0, 0.5, 1]") -> int:
    """A job for two models that are there."""
    models = [bench.settings.output / letter for letter in ("left", "right")]
    for model in models:
        if not model.exists():
            write_llama(model, layers=3, seed=len(model.name))
    recipe = f"blockmerge: 1\nmodels: {{a: {models[0]}, b: {models[1]}}}\nweights: {{{weights}}}\n"
    text = dump_recipe(parse_recipe(recipe))
    return bench.store.add(NewJob(name, text, bench.settings.output / name, ("left", "right"), (0, 0.5, 1), "Rise"))


def do(desk: Desk, what: str, job: int, **more: Any) -> str:
    return desk.carry_out(Asked(what, job, **more), Wanted())[1]


@pytest.mark.parametrize(
    "told",
    [
        None, 1, "cancel", [], {}, {"do": 1}, {"job": 1}, {"do": "cancel", "job": 1, "more": 2},
        {"do": "batch", "shapes": "rise"}, {"do": "batch", "shapes": [1]}, {"do": "log", "on": 1},
        {"do": "filter", "text": None}, {"do": "edit", "name": ["x"]},
    ],
)  # fmt: skip
def test_a_forged_event_is_refused(told: object) -> None:
    with pytest.raises(JobRequestError, match=r"^This was not understood\. Reload the page\.$"):
        read_asked(told)


@pytest.mark.parametrize("number", ["1", True, 1.0, float("nan"), 0, -1, 10**30, None, [1]])
def test_what_is_no_number_of_a_job_is_none(number: object) -> None:
    with pytest.raises(JobRequestError, match=r"^No such job\.$"):
        read_asked({"do": "cancel", "job": number})


@pytest.mark.parametrize("what", ACTS)
@pytest.mark.parametrize("number", [0, 99])
def test_a_wish_about_no_job_changes_nothing(bench: Bench, desk: Desk, what: str, number: int) -> None:
    job = bench.add("mine")

    with pytest.raises(InputError, match=r"^No such job\.$"):
        do(desk, what, number, shapes=("rise",))

    assert [(held.id, held.state) for held in bench.store.recent(9)] == [(job, JobState.WAITING)]


@pytest.mark.parametrize("what", ACTS)
def test_another_persons_job_is_none(bench: Bench, what: str) -> None:
    job = add_real(bench, "mine")
    before = bench.store.get(job)

    with pytest.raises(InputError, match=r"^No such job\.$"):
        do(desk_of(bench, "browser:1"), what, job, name="theirs", text=before.recipe, shapes=("rise",))

    assert bench.store.recent(9) == (before,)


def test_another_person_sees_a_place_in_the_line_and_nothing_else(bench: Bench) -> None:
    bench.add("secret-name", models=("secret-a", "secret-b"))

    view = desk_of(bench, "browser:1").view(Wanted())

    assert view["cards"] == []
    assert view["others"] == {"lines": ["number 1 in line"], "more": ""}
    assert "secret" not in repr(view)


@pytest.mark.parametrize("wish", [Asked("burn", 1), Asked("filter", state="Done"), Asked("filter", text="x" * 301)])
def test_an_unknown_wish_is_refused(desk: Desk, wish: Asked) -> None:
    with pytest.raises(JobRequestError, match=r"^This was not understood\."):
        desk.carry_out(wish, Wanted())


def test_a_waiting_job_is_cancelled_at_once(bench: Bench, desk: Desk) -> None:
    job = bench.add("mine")

    do(desk, "cancel", job)

    assert bench.store.get(job).state is JobState.CANCELLED


def test_an_ended_job_cannot_be_cancelled(bench: Bench, desk: Desk) -> None:
    job = bench.finish("mine")

    with pytest.raises(JobRequestError, match=rf"^Job {job} is Done already: there is nothing to cancel\.$"):
        do(desk, "cancel", job)


def test_a_live_job_is_listed_however_old_it_is(bench: Bench, desk: Desk) -> None:
    first = bench.add("first")
    for number in range(101):
        do(desk, "cancel", bench.add(f"later-{number}"))

    view: Any = desk.view(Wanted())

    assert view["cards"][0]["id"] == first
    assert view["count"] == "The newest 100 of 102 jobs. Filter to find older ones."


def test_a_list_that_began_anew_says_what_was_kept_of_the_one_before(bench: Bench) -> None:
    library = Library((bench.settings.output,), any_path=True)
    own = OwnJobs(bench.store, bench.settings, LOCAL)

    def said(kept: int, wanted: Wanted) -> object:
        return Desk(Context(bench.settings, bench.store, library, bench.identity, kept=kept), own).view(wanted)["empty"]

    assert said(0, Wanted()) == "No jobs yet. Choose two models on the Merge tab and add one."
    assert said(3, Wanted()) == (
        "No jobs yet: this list began anew when the app was started on a fresh disk. Results kept from before: 3. "
        "The Merge tab offers them as models."
    )
    assert said(3, Wanted(search="x")) == "No job of yours is like that."


def test_jobs_are_filtered_by_text_and_state(bench: Bench, desk: Desk) -> None:
    bench.add("alpha", models=("zephyr", "mistral"))
    bench.finish("beta")

    def found(text: str, state: str) -> list[str]:
        wanted, _ = desk.carry_out(Asked("filter", text=text, state=state), Wanted())
        view: Any = desk.view(wanted)
        return [card["about"][1] for card in view["cards"]]

    assert found("ZEPH", "") == ["as alpha"]
    assert found("", "done") == ["as beta"]
    assert found("zeph", "done") == []
    assert sorted(found("", "")) == ["as alpha", "as beta"]


def test_an_edited_job_keeps_its_place_and_is_checked_first(bench: Bench, desk: Desk) -> None:
    job, _ = add_real(bench, "mine"), bench.add("later")
    text = bench.store.get(job).recipe.replace("[0.0, 0.5, 1.0]", "[1.0, 0.5, 0.0]")

    with pytest.raises(InputError, match=r"^weights\.layers: expected 3 numbers, one per layer, found 2\.$"):
        do(desk, "edit", job, name="mine", text=text.replace("[1.0, 0.5, 0.0]", "[1.0, 0.5]"))
    assert do(desk, "edit", job, name="other", text=text) == f"Job {job} is changed and keeps its place."

    changed = bench.store.get(job)
    assert (changed.name, changed.weights, changed.shape) == ("other", (1, 0.5, 0), "From its recipe")
    assert changed.out == bench.settings.output / "other"
    assert changed.nbytes > 0
    assert bench.store.place_in_line(job) == 1


def test_each_shape_becomes_a_job_with_the_models_of_the_chosen_one(bench: Bench, desk: Desk) -> None:
    job = add_real(bench, "mine", "layers: 0.5, mlp: 0.1, head: 0.9")

    assert do(desk, "batch", job, shapes=("rise", "ends")) == "2 jobs are in line."

    added = [bench.store.get(job + 1), bench.store.get(job + 2)]
    assert [held.name for held in added] == ["mine-rise", "mine-ends"]
    assert [held.weights for held in added] == [(0, 0.5, 1), (1, 0, 1)]
    assert [held.shape for held in added] == ["Rise", "Ends"]
    assert {held.models for held in added} == {("left", "right")}
    assert "mlp" not in added[0].recipe
    assert do(desk, "batch", job, shapes=("rise",)) == "1 job is in line."
    assert bench.store.get(job + 3).name == "mine-rise-2"


@pytest.mark.parametrize("shapes", [(), ("rise", "rise"), ("../x",)])
def test_a_batch_of_no_shapes_adds_nothing(bench: Bench, desk: Desk, shapes: tuple[str, ...]) -> None:
    job = add_real(bench, "mine")

    with pytest.raises(InputError, match=r"Tick at least one shape\.|This was not understood\."):
        do(desk, "batch", job, shapes=shapes)
    assert len(bench.store.recent(9)) == 1


def test_a_jobs_recipe_is_kept_on_the_recipes_tab(bench: Bench, desk: Desk) -> None:
    job = add_real(bench, "mine")

    assert do(desk, "keep_recipe", job) == "Saved as “mine” on the Recipes tab."

    [kept] = RecipeShelf(bench.settings.home, LOCAL).recipes()
    assert (kept.name, kept.recipe.models) == ("mine", {"a": "left", "b": "right"})


def test_two_jobs_are_compared(bench: Bench, desk: Desk) -> None:
    rise, flat = add_real(bench, "rise"), add_real(bench, "flat", "layers: [0, 0, 0]")

    wanted, _ = desk.carry_out(Asked("compare", rise, flat), Wanted())

    view: Any = desk.view(wanted)
    assert view["compared"]["words"] == "Mean 0.50 and 0.00. Furthest apart at layer 2: 1.00 and 0.00."
    assert (view["compared"]["mine"]["name"], view["compared"]["theirs"]["weights"]) == (f"#{rise} rise", (0, 0, 0))


def test_a_worker_is_alive_once_it_beats(bench: Bench) -> None:
    assert not is_worker_alive(bench.store)

    bench.store.beat("worker")

    assert is_worker_alive(bench.store)


# In the browser


@pytest.mark.browser
def test_two_browsers_follow_the_same_job_from_the_line_to_its_end(bench: Bench, open_page: OpenPage) -> None:
    pages = [open_page(), open_page()]
    for page in pages:
        expect(page.get_by_text("No jobs yet.")).to_be_visible()

    job = bench.add("mine")
    for page in pages:
        card = page.get_by_role("article")
        expect(card).to_contain_text(re.compile("#1.*left × right.*Waiting.*next in line", re.DOTALL), timeout=10_000)
        expect(page.get_by_role("tab", name="Jobs 1")).to_be_visible()

    bench.advance(job, JobState.MERGING)
    bench.store.report_progress(job, Progress(Stage.MERGE, 41, 100, "layer 12 of 32"))
    pages[1].reload()
    pages[1].get_by_role("tab", name="Jobs").click()
    for page in pages:
        expect(page.get_by_role("article")).to_contain_text("layer 12 of 32", timeout=10_000)
        expect(page.get_by_role("progressbar", name="Job 1, Merging")).to_have_attribute("aria-valuenow", "41")
        expect(page.locator("#status .now")).to_have_text("Job 1, 41 %")


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

    expect(page.get_by_role("alert")).to_have_text(f"Job {job} is Cancelled already: there is nothing to cancel.")


@pytest.mark.browser
def test_a_job_moves_up_is_edited_and_cloned(bench: Bench, open_page: OpenPage) -> None:
    first, second = add_real(bench, "first"), add_real(bench, "second")
    page = open_page()

    page.get_by_role("button", name=f"Earlier, job {second}").click()
    expect(page.locator(".job").first).to_contain_text("as second")
    assert bench.store.place_in_line(first) == 2

    page.get_by_role("button", name=f"Edit, job {first}").click()
    page.get_by_label("Name of the folder").last.fill("renamed")
    page.wait_for_timeout(1500)  # a look at the queue or two
    expect(page.get_by_label("Name of the folder").last).to_be_focused()
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text(f"Job {first} is changed and keeps its place.")).to_be_visible()
    expect(page.locator(f"[data-job='{first}']")).to_contain_text("as renamed")

    page.get_by_role("button", name=f"More, job {first}").click()
    page.get_by_role("button", name=f"Clone, job {first}").click()
    expect(page.get_by_text("Job 3 is in line.")).to_be_visible()
    assert bench.store.get(3).name == "renamed-2"


@pytest.mark.browser
def test_a_done_job_offers_its_folder_and_a_download(bench: Bench, open_page: OpenPage) -> None:
    job = bench.finish("mine", config_json=b"{}")
    page = open_page()

    expect(page.get_by_role("article")).to_contain_text(str(bench.settings.output / "mine"))
    with page.expect_download() as download:
        page.get_by_role("link", name=f"Download, job {job}").click()
    assert download.value.suggested_filename == "mine.tar"
    page.get_by_role("button", name=f"More, job {job}").click()
    page.get_by_role("button", name=f"Copy path, job {job}").click()
    expect(page.get_by_role("button", name=f"Copy path, job {job}")).to_have_text("Copied")


@pytest.mark.browser
def test_files_are_deleted_after_a_question_only(bench: Bench, open_page: OpenPage) -> None:
    job = bench.finish("mine", config_json=b"{}")
    page = open_page()
    page.get_by_role("button", name=f"More, job {job}").click()

    page.get_by_role("button", name=f"Delete files, job {job}").click()
    expect(
        page.get_by_text(f"Delete the files of job {job}, 14.5 GB, for good? Its recipe stays here.")
    ).to_be_visible()
    page.get_by_role("button", name="Keep", exact=True).click()
    assert (bench.settings.output / "mine").exists()


@pytest.mark.browser
def test_a_log_opens_and_grows(bench: Bench, open_page: OpenPage) -> None:
    job = bench.add("mine")
    bench.advance(job, JobState.MERGING)
    bench.store.write_log(job, f"first {HOSTILE}\n")
    page = open_page()

    page.get_by_role("button", name=f"Log, job {job}").click()
    box = page.get_by_role("region", name=f"Log of job {job}, the last 200 lines")
    expect(box).to_contain_text(f"first {HOSTILE}")
    bench.store.write_log(job, f"first {HOSTILE}\nsecond\n")
    expect(box).to_contain_text("second")
    page.get_by_role("button", name=f"Log, job {job}").click()
    expect(box).to_have_count(0)
    assert page.title() == "blockmerge"


@pytest.mark.browser
def test_shapes_are_ticked_and_queued(bench: Bench, open_page: OpenPage) -> None:
    add_real(bench, "mine")
    page = open_page()

    page.get_by_role("button", name="Run each shape once…").click()
    page.get_by_label("Rise", exact=True).check()
    page.get_by_label("Ends", exact=True).check()
    page.get_by_role("button", name="Add to queue").last.click()

    expect(page.get_by_text("2 jobs are in line.")).to_be_visible()
    expect(page.get_by_role("article")).to_have_count(3)


@pytest.mark.browser
def test_a_recipe_of_a_job_is_used_and_jobs_are_compared(bench: Bench, open_page: OpenPage) -> None:
    first, second = add_real(bench, "first"), add_real(bench, "second", "layers: [0, 0, 0]")
    page = open_page()
    page.get_by_role("button", name=f"More, job {first}").click()

    page.get_by_label(f"Compare with…, job {first}").select_option(str(second))
    expect(page.get_by_text("Mean 0.50 and 0.00. Furthest apart at layer 2: 1.00 and 0.00.")).to_be_visible()

    page.get_by_role("button", name=f"Use recipe, job {first}").click()
    expect(page.get_by_role("tab", name="Merge")).to_have_attribute("aria-selected", "true")
    expect(page.locator(".lane [data-layer]")).to_have_count(3, timeout=30_000)


@pytest.mark.browser
def test_hostile_names_errors_and_tags_stay_text(bench: Bench, open_page: OpenPage) -> None:
    job = bench.add("mine", models=(HOSTILE, "b" * 300))
    bench.store.move(Ticket(job, 1), {JobState.WAITING}, JobState.FAILED, error=f"{HOSTILE}\n{'e' * 300}")
    page = open_page()

    expect(page.get_by_role("heading", level=3)).to_have_text(f"{HOSTILE} × {'b' * 300}")
    expect(page.locator(".info")).to_have_text(HOSTILE)
    expect(page.locator(".remark")).to_have_text("e" * 300)
    assert page.title() == "blockmerge"
    assert page.locator(".jobs img").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


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


@pytest.mark.browser
def test_the_title_counts_jobs_that_are_done_while_nobody_looks(bench: Bench, open_page: OpenPage) -> None:
    job = bench.add("mine")
    bench.advance(job, JobState.VERIFYING)
    page = open_page()
    expect(page.get_by_role("article")).to_contain_text("Verifying")
    hide = "(on) => { Object.defineProperty(document, 'hidden', {value: on, configurable: true});"
    page.evaluate(f"{hide} document.dispatchEvent(new Event('visibilitychange')); }}", True)

    bench.store.move(Ticket(job, 1), {JobState.VERIFYING}, JobState.DONE, digest="7c", nbytes=1, seconds=1.0)

    expect(page).to_have_title("(1) Done · blockmerge", timeout=10_000)
    page.evaluate(f"{hide} document.dispatchEvent(new Event('visibilitychange')); }}", False)
    expect(page).to_have_title("blockmerge")


@pytest.mark.browser
def test_an_address_leads_to_its_job(bench: Bench, open_page: OpenPage) -> None:
    jobs = [bench.add(f"job-{number}") for number in range(12)]
    page = open_page()

    page.goto(f"{page.url.split('?')[0]}?tab=jobs&job={jobs[-1]}")

    expect(page.locator(".job.named")).to_contain_text(f"#{jobs[-1]}", timeout=30_000)
    expect(page.locator(".job.named")).to_be_in_viewport()


def test_a_finished_merge_is_one_click_from_a_conversation(bench: Bench, open_page: OpenPage) -> None:
    job = bench.finish("mine", config_json=b"{}")
    page = open_page()

    page.get_by_role("button", name=f"Try, job {job}").click()

    expect(page.get_by_role("tab", name="Try")).to_have_attribute("aria-selected", "true")
    expect(page.locator("#try-job input")).to_have_value(re.compile(rf"\b{job}\b"))
    assert f"tab=try&job={job}" in page.url
