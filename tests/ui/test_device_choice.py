"""Where a merge is computed, as the page offers it: what can be chosen, why not, and what becomes of the choice."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from blockmerge.checkpoints.library import Library
from blockmerge.engine.devices import Found
from blockmerge.errors import JobRequestError
from blockmerge.jobs.own_jobs import OwnJobs
from blockmerge.jobs.states import LOCAL
from blockmerge.ui.draft import Drafting
from blockmerge.ui.forms import Form
from blockmerge.ui.job_cards import job_list
from blockmerge.ui.lines.line import Line
from blockmerge.ui.loader.loader import Opening
from blockmerge.ui.mends import mended
from blockmerge.ui.new_jobs import edited_job, shape_jobs
from blockmerge.ui.tabs import Context
from blockmerge.ui.tabs.merge_widgets import device_help, more_label
from blockmerge.ui.tabs.settings import view
from tests.tiny_models import write_llama
from tests.ui.conftest import Bench, fresh_page
from tests.ui.scenes import findings
from tests.ui.test_merge_looks import choose

H200 = Found(gpu="NVIDIA H200")
NONE = Found(why="torch 2.13.0+cpu is built without CUDA")
NO_WORKER = (
    "device cuda: no worker has a GPU (torch 2.13.0+cpu is built without CUDA). "
    "Merge on the processors (device cpu), or start a worker where there is a GPU."
)
SLOW = 60_000  # a shared machine


@pytest.fixture
def context(bench: Bench, tmp_path: Path) -> Context:
    for seed, name in enumerate(("left", "right")):
        write_llama(tmp_path / "models" / name, seed=seed)
    library = Library((tmp_path / "models",), any_path=False)
    return Context(bench.settings, bench.store, library, bench.identity)


def form(method: str = "karcher", device: str = "cuda") -> Form:
    return Form({"a": "left", "b": "right"}, method=method, device=device)


def texts(lines: object) -> list[str]:
    return [line.text for line in lines if isinstance(line, Line) and line.text]  # type: ignore[attr-defined]


def test_the_choice_says_what_can_be_chosen_and_why_not() -> None:
    linear, karcher = form("linear").entry, form().entry

    assert device_help("cpu", karcher, None) == "GPU: no worker has said yet whether it has one."
    assert device_help("cpu", karcher, NONE) == "GPU: no worker has one (torch 2.13.0+cpu is built without CUDA)."
    assert device_help("cpu", karcher, H200) == "The workers’ GPU is NVIDIA H200."
    assert device_help("cuda", karcher, H200) == "NVIDIA H200. The last bits may be others than the processors’."
    assert device_help("cuda", linear, H200) == ("Linear waits for the disk, so it runs on the processors in any case.")
    assert more_label("5 GB", "refuse", "7", "cuda").endswith(", seed 7, on the GPU")


def test_a_job_for_the_gpu_is_added_where_a_worker_has_one(context: Context, bench: Bench) -> None:
    drafting = Drafting(context)
    bench.store.beat("worker", found=H200)

    draft = drafting.look(form())
    number = drafting.add(form())

    assert draft.ready
    assert draft.gpu == H200
    assert "GPU memory" in [text for line in draft.bar for _, text in line.parts]
    assert bench.store.get(number).device == "cuda"
    linear = drafting.add(replace(form("linear"), name="linear"))
    assert bench.store.get(linear).device == "cpu"


def test_a_gpu_that_no_worker_has_is_refused_with_a_way_out(context: Context, bench: Bench) -> None:
    drafting = Drafting(context)
    bench.store.beat("worker", found=NONE)

    draft = drafting.look(form())

    assert not draft.ready
    assert texts(draft.bar) == [NO_WORKER]
    [act] = [act for line in draft.bar for act in line.acts]
    assert act.label == "Compute on the processors"
    assert drafting.look(mended(form(), act.do)).ready
    with pytest.raises(JobRequestError) as refused:
        drafting.add(form())
    assert str(refused.value) == NO_WORKER


def test_a_recipe_comes_back_with_its_device(context: Context, bench: Bench) -> None:
    bench.store.beat("worker", found=H200)
    number = Drafting(context).add(form())
    job = bench.store.get(number)

    again = Drafting(context).fill(Opening(job.recipe, job.name, job.shape, False, job.device))
    forged = Drafting(context).fill(Opening(job.recipe, job.name, job.shape, False, "tpu"))

    assert (again.device, forged.device) == ("cuda", "cpu")


def test_a_card_names_the_gpu_and_its_children_stay_there(context: Context, bench: Bench) -> None:
    bench.store.beat("worker", found=H200)
    own = OwnJobs(bench.store, bench.settings, LOCAL)
    number = Drafting(context).add(form())
    job = bench.store.get(number)

    [card] = job_list(own.page())["cards"]  # type: ignore[misc]

    assert "on the GPU" in card["about"]
    assert edited_job(context, job, "other", job.recipe).device == "cuda"
    assert edited_job(context, job, "other", job.recipe.replace("method: karcher", "method: linear")).device == "cpu"
    assert [new.device for new in shape_jobs(context, own, job, ["rise"])] == ["cuda"]


def test_the_settings_say_what_merges_run_on(context: Context, bench: Bench) -> None:
    def row() -> str:
        shown = view(context, LOCAL)["groups"]
        return dict(row for group in shown for row in group["rows"])["Merges run on"]  # type: ignore[attr-defined]

    assert row() == "the processors; no worker has said yet whether it has a GPU"
    bench.store.beat("worker", found=NONE)
    assert row() == "the processors; no worker has a GPU (torch 2.13.0+cpu is built without CUDA)"
    bench.store.beat("worker", found=H200)
    assert row() == "the processors, or NVIDIA H200 where a job is for the GPU and its method gains by one"


@pytest.fixture
def page(bench: Bench, browser: Browser, port: int) -> Iterator[Page]:
    for seed, name in enumerate(("left", "right")):
        write_llama(bench.settings.output / name, seed=seed)
    with fresh_page(browser, f"http://127.0.0.1:{port}/", viewport={"width": 390, "height": 844}) as opened:
        opened.set_default_timeout(SLOW)
        opened.wait_for_selector(".equaliser[data-ready]")
        yield opened


@contextmanager
def working(bench: Bench, found: Found) -> Iterator[None]:
    """A worker that goes on saying what it has: a busy machine may take longer than one beat lasts."""
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(0.5):
            bench.store.beat("worker", found=found)

    bench.store.beat("worker", found=found)
    thread = threading.Thread(target=beat)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.mark.browser
def test_without_a_gpu_the_page_shows_the_processors_and_says_why(page: Page, bench: Bench) -> None:
    with working(bench, NONE):
        choose(page, model_a="left", model_b="right")

        page.get_by_role("button", name="More settings").click()

        device = page.get_by_label("Computed on")
        expect(device).to_have_value("Processors")
        expect(device).to_be_disabled()
        expect(page.locator("#device")).to_contain_text(
            "GPU: no worker has one (torch 2.13.0+cpu is built without CUDA)."
        )
        assert findings(page) == []


@pytest.mark.browser
def test_a_worker_that_came_later_is_seen_when_the_settings_are_opened(page: Page, bench: Bench) -> None:
    choose(page, model_a="left", model_b="right")
    expect(page.get_by_role("button", name="Add to queue")).to_be_enabled()
    more = page.get_by_role("button", name="More settings")
    more.click()
    expect(page.locator("#device")).to_contain_text("GPU: no worker has said yet whether it has one.")
    more.click()

    with working(bench, H200):
        more.click()

        expect(page.locator("#device")).to_contain_text("Linear waits for the disk, so it runs on the processors")
        expect(page.get_by_label("Computed on")).to_be_enabled()


@pytest.mark.browser
def test_the_gpu_is_chosen_by_keyboard_and_survives_a_reload(page: Page, bench: Bench) -> None:
    with working(bench, H200):
        choose(page, model_a="left", model_b="right", method="Karcher mean")
        expect(page.get_by_role("button", name="Add to queue")).to_be_enabled()
        page.get_by_role("button", name="More settings").focus()
        page.keyboard.press("Enter")
        device = page.get_by_label("Computed on")
        expect(device).to_be_enabled()

        device.focus()
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")

        expect(device).to_have_value("GPU")
        expect(page.locator("#device")).to_contain_text("The last bits may be others than the processors’.")
        expect(page.get_by_role("button", name="NaN and Inf are refused, on the GPU")).to_be_visible()
        expect(page.locator("#needs")).to_contain_text("GPU memory")
        assert findings(page) == []
        page.reload()
        page.wait_for_selector(".equaliser[data-ready]")
        expect(page.locator("#needs")).to_contain_text("GPU memory")
        page.keyboard.press("Control+Enter")
        expect(page.get_by_text("Job 1 is in line.")).to_be_visible()
        assert bench.store.get(1).device == "cuda"
