"""The whole road in a real browser, offline: from the example pair to a checkpoint that transformers loads."""

import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from playwright.sync_api import Page, expect
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from blockmerge.checkpoints.library import EXAMPLE
from blockmerge.jobs.states import Job, JobState
from tests.browser.conftest import RunningApp, running_app
from tests.jobs.bench import write_hollow_model
from tests.tiny_models import write_llama
from tests.ui.conftest import wait_until

pytestmark = pytest.mark.browser

# Written there with BLOCKMERGE_TEST_SCREENS=1: a picture differs with every free gigabyte, so not by every run.
SCREENS = Path(__file__).parents[2] / "docs" / "screens"
Visit = Callable[..., Page]


def open_merge(visit: Visit, app: RunningApp, **options: object) -> Page:
    page = visit(app.address, **options)
    page.wait_for_selector(".equaliser[data-ready]", timeout=30_000)
    return page


def choose(page: Page, a: str, b: str) -> None:
    for letter, name in (("a", a), ("b", b)):
        box = page.locator(f"#model-{letter} input")
        box.fill(name)
        box.press("Enter")


def paint(page: Page, *points: tuple[float, float]) -> None:
    """One stroke through points given as (share of the width, weight)."""
    expect(page.locator(".lane [data-layer]").first).to_be_visible()
    page.locator(".lane").evaluate("lane => lane.scrollIntoView({block: 'center'})")  # not under the bar
    box = page.locator(".lane").bounding_box()
    assert box is not None
    for number, (share, weight) in enumerate(points):
        page.mouse.move(box["x"] + share * box["width"], box["y"] + 1 + (1 - weight) * (box["height"] - 2), steps=8)
        if number == 0:
            page.mouse.down()
    page.mouse.up()


def queue(page: Page) -> None:
    button = page.get_by_role("button", name="Add to queue")
    expect(button).to_be_enabled(timeout=30_000)
    button.click()


def wait_for(app: RunningApp, number: int, *states: JobState, seconds: float = 60) -> Job:
    wait_until(lambda: bool(app.store.recent(1)) and app.store.get(number).state in states, seconds)
    return app.store.get(number)


def rounded(exact: np.ndarray, dtype: torch.dtype) -> torch.Tensor:
    return torch.from_numpy(exact).to(dtype)  # float64 to bfloat16 in one rounding


def test_from_the_example_to_a_result_that_transformers_loads(app: RunningApp, visit: Visit) -> None:
    page = open_merge(visit, app)
    page.get_by_role("button", name="Use the example pair").click()
    expect(page.get_by_text("These two can be merged.")).to_be_visible(timeout=30_000)

    paint(page, (0.02, 0.0), (0.15, 0.0), (0.5, 0.4), (0.85, 1.0), (0.98, 1.0))
    expect(page.get_by_text(re.compile(r"% capitals"))).to_be_visible()
    expect(page.locator("#formula")).to_contain_text("computed")
    queue(page)
    expect(page.get_by_text("Job 1 is in line. The Jobs tab shows how it goes.")).to_be_visible()
    expect(page.locator("#name textarea, #name input").first).to_have_value("lowercase-x-capitals-2")
    page.get_by_role("tab", name=re.compile("Jobs")).click()
    expect(page.get_by_role("article")).to_contain_text("digest", timeout=60_000)

    job = app.store.get(1)
    a, b, merged = (load_file(f / "model.safetensors") for f in (EXAMPLE / "lowercase", EXAMPLE / "capitals", job.out))
    assert list(merged) == list(a)
    assert job.weights[0] == 0
    assert job.weights[-1] == 1
    assert sorted(job.weights) == list(job.weights)
    blended = 0
    for name, mine in a.items():
        layer = re.search(r"layers\.(\d+)\.", name)
        weight = job.weights[int(layer[1])] if layer else job.weights[0 if "embed" in name else -1]
        exact = mine.double().numpy() * (1 - weight) + b[name].double().numpy() * weight
        expected = rounded(exact, mine.dtype)
        off = merged[name] != expected
        # Only what lies as near to a tie as float32 is exact may fall to the other side of it.
        tie = (merged[name].double() + expected.double()) / 2
        near = 2**-21 * (mine.double().abs() + b[name].double().abs())
        assert bool(((torch.from_numpy(exact) - tie).abs() <= near)[off].all()), name
        assert 0 < weight < 1 or not off.any(), name
        blended += 0 < weight < 1
    assert blended >= 18

    model, report = AutoModelForCausalLM.from_pretrained(
        job.out, local_files_only=True, trust_remote_code=False, output_loading_info=True
    )
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    tokenizer = AutoTokenizer.from_pretrained(job.out, local_files_only=True, trust_remote_code=False)
    tokens = model.generate(**tokenizer("this function ", return_tensors="pt"), max_new_tokens=8, do_sample=False)
    assert tokens.shape[1] > len("this function ")


@pytest.mark.parametrize(("shape", "parent"), [(0.0, "lowercase"), (1.0, "capitals")])
def test_all_0_is_a_and_all_1_is_b_to_the_bit(app: RunningApp, visit: Visit, shape: float, parent: str) -> None:
    page = open_merge(visit, app)
    page.get_by_role("button", name="Use the example pair").click()
    expect(page.get_by_text("These two can be merged.")).to_be_visible(timeout=30_000)

    paint(page, (0.01, shape), (0.99, shape))
    expect(page.locator("#formula")).to_contain_text("6 layers are copied, 0 computed")
    queue(page)

    job = wait_for(app, 1, JobState.DONE)
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (job.out, EXAMPLE / parent))
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert ours[name].view(torch.uint8).equal(tensor.view(torch.uint8)), name


def test_a_reload_and_a_second_browser_show_the_running_job_and_cancel_ends_it(tmp_path: Path, visit: Visit) -> None:
    models = tmp_path / "models"
    for name in ("left", "right"):
        write_hollow_model(models / name, 4, (2048, 8192, 256))
    with running_app(tmp_path, (models,)) as app:
        page = open_merge(visit, app)
        choose(page, "left", "right")
        queue(page)
        wait_for(app, 1, JobState.MERGING)
        [merge] = [child for child in app.children() if len(child.open_files()) > 3 and "run" in child.cmdline()[-1]]
        merge.send_signal(signal.SIGSTOP)  # held, so that it cannot finish while we look

        page.reload()
        second = visit(app.address)
        for one in (page, second):
            one.get_by_role("tab", name=re.compile("Jobs")).click()
            expect(one.get_by_role("article")).to_contain_text("Merging", timeout=3000)
            expect(one.get_by_role("article")).to_contain_text("left × right")
        asked = time.monotonic()
        page.get_by_role("button", name="Cancel, job 1").click()
        wait_until(lambda: not merge.is_running() or merge.status() == psutil.STATUS_ZOMBIE, 5)
        ended = time.monotonic() - asked

        assert ended <= 3  # 1 s from the call, as tests/jobs has it, and the way of the click on a busy machine
        expect(second.get_by_role("article")).to_contain_text("Cancelled", timeout=5000)
        wait_for(app, 1, JobState.CANCELLED)
        assert list(app.settings.output.glob("*")) == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_thirty_layers_as_they_are_shown(tmp_path: Path, visit: Visit, theme: str) -> None:
    models = tmp_path / "models"
    write_llama(models / "SmolLM2-135M-Instruct", layers=30, seed=1)
    write_llama(models / "SmolLM2-135M-Capitals", layers=30, seed=2)
    with running_app(tmp_path, (models,)) as app:
        page = open_merge(visit, app, color_scheme=theme, viewport={"width": 1280, "height": 800})
        choose(page, "SmolLM2-135M-Instruct", "SmolLM2-135M-Capitals")
        expect(page.get_by_text("These two can be merged.")).to_be_visible(timeout=30_000)
        paint(page, (0.02, 0.0), (0.15, 0.02), (0.4, 0.35), (0.6, 0.8), (0.8, 1.0), (0.98, 1.0))

        expect(page.locator(".lane [data-layer]")).to_have_count(30)
        expect(page.locator("body.dark")).to_have_count(int(theme == "dark"))
        expect(page.locator("#formula")).to_contain_text("SmolLM2-135M-Capitals × w, with w from 0.00 to 1.00.")
        folder = SCREENS if os.environ.get("BLOCKMERGE_TEST_SCREENS") else tmp_path
        page.screenshot(path=folder / f"merge-30-{theme}.png")
