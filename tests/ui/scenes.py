"""A page full of work to look at, jobs in every state, long names; and what must hold of every picture of it."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import axe_playwright_python
import pytest
from PIL import Image
from playwright.sync_api import Page

from blockmerge.core.progress import Progress, Stage
from blockmerge.core.recipe import Recipe, dump_recipe, parse_recipe
from blockmerge.core.shapes import load_presets, sample
from blockmerge.engine.target import LOCK
from blockmerge.jobs.states import LOCAL, JobState, NewJob, Ticket
from blockmerge.ui.recipe_shelf import RecipeShelf
from tests.tiny_models import write_llama
from tests.ui.conftest import Bench

# Written there with BLOCKMERGE_TEST_SCREENS=1: a picture differs with every free gigabyte, so not by every run.
SCREENS = Path(__file__).parents[2] / "docs" / "screens"
SIZES = {"": (1280, 800), "-phone": (390, 844)}
NARROW = (320, 640)  # the narrowest screen; 1280 at a zoom of 200 %
A, B = "Mistral-7B-v0.1", "zephyr-7b-beta"
LONG = (
    "/models/Meta-Llama-3.1-8B-Instruct-abliterated-v2-32k-context-extend",
    "/models/Hermes-3-Llama-3.1-8B-lorablated-merged-with-a-very-long-name",
)
LAYERS = 32
_AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text("utf-8")


def shape(name: str) -> tuple[float, ...]:
    return sample(load_presets()[name].shape, LAYERS)


def recipe_of(weights: str, a: str = A, b: str = B) -> Recipe:
    return parse_recipe(f"blockmerge: 1\nmodels: {{a: {a}, b: {b}}}\nweights: {{{weights}}}\n")


def fill(bench: Bench) -> None:
    """Models, jobs and recipes as a person has them after some days."""
    for seed, name in enumerate((A, B)):
        write_llama(bench.settings.output / name, layers=LAYERS, seed=seed)
    shelf = RecipeShelf(bench.settings.home, LOCAL)
    shelf.add("Late steps", recipe_of("layers: {preset: last-third}", *LONG), "For the long context pair.")
    shelf.add("Tent 1.0", recipe_of(f"layers: {list(shape('middle'))}"))
    shelf.add("Zephyr late", recipe_of(f"layers: {list(shape('smooth-rise'))}"), "Keeps the manners, takes the voice.")
    failed = _job(bench, "phi-x-phi", ("Phi-3-mini-4k", "Phi-3-mini-128k"), "last-third", "Last third")
    _end(bench, failed, JobState.FAILED, error="The disk is full while saving shard 3 of 4.", kept=4_500_000_000)
    signing = _job(bench, "qwen-x-qwen", ("Qwen2.5-7B", "Qwen2.5-7B-Instruct"), "rise", "Rise")
    _end(bench, signing, JobState.NEEDS_SIGN_IN, error="Sign-in ended during the upload. Files are safe.")
    cancelled = _job(bench, "cancelled", LONG, "ends", "Ends, edited")
    _end(bench, cancelled, JobState.CANCELLED)
    done = _job(bench, "mistral-x-openhermes", (A, "OpenHermes-2.5-Mistral-7B"), "smooth-middle", "Smooth middle 0.60")
    bench.advance(done, JobState.DONE)
    running = _job(bench, "mistral-x-zephyr", (A, B), "smooth-rise", "Smooth rise, edited")
    bench.advance(running, JobState.MERGING)
    bench.store.report_progress(running, Progress(Stage.MERGE, 5_000_000_000, 14_500_000_000, "layer 11 of 32"))
    time.sleep(0.6)  # a rate over less is not shown
    bench.store.report_progress(running, Progress(Stage.MERGE, 5_945_000_000, 14_500_000_000, "layer 12 of 32"))
    bench.store.write_log(running, "\n".join(f"14:06:{n:02} layer {n} of 32 is written" for n in range(13)) + "\n")
    for number, name in enumerate(("llama-x-hermes", "flat-again")):
        _job(bench, name, LONG if number else ("Llama-3.1-8B", "Hermes-3-Llama-3.1-8B"), "flat", "Flat 0.50")
    left = bench.settings.output / "interrupted.partial"
    left.mkdir()
    (left / LOCK).write_bytes(b"x" * 5000)


def _job(bench: Bench, name: str, models: tuple[str, str], preset: str, label: str) -> int:
    recipe = dump_recipe(recipe_of(f"layers: {list(shape(preset))}", *models))
    names = tuple(Path(model).name for model in models)
    return bench.store.add(NewJob(name, recipe, bench.settings.output / name, names, shape(preset), label))


def _end(bench: Bench, job: int, state: JobState, **fields: Any) -> None:
    bench.store.move(Ticket(job, 1), {JobState.WAITING}, state, **fields)


def findings(page: Page) -> list[str]:
    """What axe calls serious or critical, each with the place."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(_AXE)
    report = page.evaluate("axe.run({resultTypes: ['violations']})")
    return [
        f"{found['id']}: {node['target']} {node['failureSummary'].splitlines()[-1].strip()}"
        for found in report["violations"]
        if found["impact"] in ("serious", "critical")
        for node in found["nodes"]
    ]


def settled_findings(page: Page) -> list[str]:
    """The same once colours have changed over, which takes a busy machine longer than the 0.12 s that it should."""
    for _ in range(10):
        page.wait_for_timeout(150)
        if not (found := findings(page)):
            break
    return found


@dataclass(frozen=True)
class Camera:
    """Looks at a page in both themes and at both sizes."""

    page: Page
    folder: Path
    beat: Callable[[], None]

    def look(self, name: str, *, main: bool = False) -> None:
        """Hold what must hold of every picture, and take it; of a main one in all four ways, else in two."""
        for theme in ("light", "dark"):
            self.page.evaluate("(on) => document.body.classList.toggle('dark', on)", theme == "dark")
            for size, (width, height) in SIZES.items():
                self.beat()
                self.page.set_viewport_size({"width": width, "height": height})
                assert settled_findings(self.page) == [], f"{name}{size} {theme}"
                self.assert_nothing_is_cut(f"{name}{size}")
                if main or (theme == "dark") == bool(size):
                    self._take(f"{name}{size}-{theme}.png")
        for width in NARROW:
            self.page.set_viewport_size({"width": width, "height": 800})
            self.assert_nothing_is_cut(f"{name} at {width} px")
        self.page.set_viewport_size({"width": 1280, "height": 800})

    def _take(self, name: str) -> None:
        """With 256 colours: half of the size, and no eye sees it."""
        picture = Image.open(BytesIO(self.page.screenshot(full_page=True)))
        picture.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(
            self.folder / name, optimize=True
        )

    def assert_nothing_is_cut(self, name: str) -> None:
        wide = self.page.evaluate(
            """() => [...document.querySelectorAll('.tabitem *')].filter((node) => node.checkVisibility()
                && !node.closest('.spoken, [role=progressbar], svg, .lane, .log')
                && node.getBoundingClientRect().right > innerWidth + 1).map((node) => node.outerHTML.slice(0, 120))"""
        )
        assert wide == [], name


@pytest.fixture
def camera_folder(tmp_path: Path) -> Path:
    return SCREENS if os.environ.get("BLOCKMERGE_TEST_SCREENS") else tmp_path
