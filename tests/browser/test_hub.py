"""From ids on the Hub to a merged checkpoint in a real browser; the Hub is one on loopback."""

import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from playwright.sync_api import Page, expect
from safetensors.torch import load_file

from blockmerge.checkpoints.library import EXAMPLE
from blockmerge.core.recipe import parse_recipe
from blockmerge.jobs.states import JobState
from tests.browser.conftest import RunningApp, running_app
from tests.browser.loaded import load_from_hub
from tests.browser.test_first_merge import choose, open_merge, queue, wait_for
from tests.demo_hub import demo_store
from tests.hub_server import HubServer, running_hub
from tests.hub_xet import XetObjects
from tests.ui.conftest import wait_until
from tests.ui.scenes import Camera

pytestmark = pytest.mark.browser


@pytest.fixture
def mode() -> str:
    """How large files are moved, where a test does not say it."""
    return "lfs"


@pytest.fixture
def server(mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A Hub with the example pair, demo/lowercase and demo/capitals."""
    objects = None
    if mode == "xet":
        monkeypatch.delenv("HF_HUB_DISABLE_XET")
        objects = XetObjects(tmp_path / "objects")
        objects.folder.mkdir()
    with running_hub(demo_store(objects)) as running:
        yield running


@pytest.fixture
def app(server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningApp]:
    monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    [demo] = server.store.users.values()
    monkeypatch.setenv("HF_TOKEN", demo.token)
    with running_app(tmp_path) as running:
        yield running


def halfway() -> dict[str, torch.Tensor]:
    """What the example pair gives with 0.5 everywhere: exact in float64 for two bfloat16, and rounded once."""
    a, b = (load_file(EXAMPLE / name / "model.safetensors") for name in ("lowercase", "capitals"))
    return {name: ((mine.double() + b[name].double()) / 2).to(mine.dtype) for name, mine in a.items()}


@pytest.mark.parametrize("mode", ["lfs", "xet"])
def test_the_whole_road_from_a_search_to_a_repository_that_transformers_loads(
    mode: str, server: HubServer, app: RunningApp, visit: Callable[..., Page], tmp_path: Path
) -> None:
    page = open_merge(visit, app)
    assert server.asked == []  # nobody has named a model of the Hub yet

    for letter, name in (("a", "lowercase"), ("b", "capitals")):
        page.get_by_role("searchbox", name="Search the Hub").fill(name)
        page.get_by_role("button", name=f"Use as {letter.upper()}: demo/{name}").click(timeout=60_000)
        expect(page.locator(f"#facts-{letter}")).to_contain_text("commit", timeout=60_000)
    expect(page.get_by_text("These two can be merged.")).to_be_visible(timeout=60_000)
    commits = {name: server.store.repositories[f"demo/{name}"].head.oid for name in ("lowercase", "capitals")}
    expect(page.locator("#facts-a")).to_contain_text(f"commit {commits['lowercase'][:7]}")
    expect(page.locator("#needs")).to_contain_text("Download")
    Camera(page, tmp_path, lambda: None).look("hub-pair")
    assert server.weights_given == 0
    assert moves_by_xet(server) == set()

    with server.failing("GET (/_storage|.*xet-read-token)", seconds=2):  # so that the download can be watched
        queue(page)
        page.get_by_role("tab", name=re.compile("Jobs")).click()
        expect(page.get_by_role("article")).to_contain_text("Downloading", timeout=60_000)
    job = wait_for(app, 1, JobState.DONE, seconds=120)
    expect(page.get_by_role("article")).to_contain_text("Use recipe")
    assert job.warnings == ()  # transformers found every tensor, also in the folders of the cache
    recipe = parse_recipe(job.recipe)
    assert recipe.models == {"a": f"demo/lowercase@{commits['lowercase']}", "b": f"demo/capitals@{commits['capitals']}"}
    expected = halfway()
    assert_equal(load_file(job.out / "model.safetensors"), expected)

    page.get_by_role("button", name="Publish…").click()
    expect(page.get_by_text("Signed in as demo")).to_be_visible(timeout=60_000)
    page.get_by_role("button", name="Publish", exact=True).click()
    expect(page.get_by_role("link", name=f"demo/{job.name}")).to_be_visible(timeout=120_000)
    assert moves_by_xet(server) == ({"read", "write"} if mode == "xet" else set())
    weights = sum(tensor.nbytes for tensor in expected.values())
    assert server.weights_given == (0 if mode == "xet" else 2 * weights)
    assert len([asked for asked in server.requests("storage") if asked.startswith("PUT")]) == (mode == "lfs")

    loaded = load_from_hub(f"demo/{job.name}", tmp_path / "other")
    assert_equal({name: loaded[name] for name in expected}, expected)


def assert_equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert [name for name, tensor in expected.items() if not torch.equal(found[name], tensor)] == []


def moves_by_xet(server: HubServer) -> set[str]:
    """In which directions files were moved by Xet: "read", "write"."""
    return {match[1] for asked in server.requests() if (match := re.search("xet-(read|write)-token", asked))}


def test_a_few_letters_find_a_model_and_its_recipe(
    server: HubServer, app: RunningApp, visit: Callable[..., Page]
) -> None:
    recipe = "{blockmerge: 1, models: {a: example/lowercase, b: example/capitals}, weights: {layers: 0.25}}"
    server.store.commit(server.store.repositories["demo/capitals"], {"recipe.yaml": recipe.encode()})
    page = open_merge(visit, app)
    assert server.asked == []

    box = page.get_by_role("searchbox", name="Search the Hub")
    box.press_sequentially("capitals", delay=20)
    found = page.locator("#finder li")
    expect(found).to_have_count(1, timeout=30_000)
    expect(found).to_contain_text("demo/capitals")
    assert len(server.requests()) <= 2  # the letters of one breath are one question

    page.get_by_role("button", name="Use as B: demo/capitals").click()
    expect(page.locator("#facts-b")).to_contain_text("commit", timeout=30_000)
    page.get_by_role("button", name="Its recipe: demo/capitals").click()
    expect(page.get_by_text("The recipe is shown below.")).to_be_visible(timeout=30_000)
    expect(page.locator("#formula")).to_contain_text("with w = 0.25")

    server.stop()
    box.fill("lowercase")
    expect(page.locator("#finder")).to_contain_text("cannot be reached", timeout=60_000)


def test_a_hub_that_does_not_answer_does_not_hold_the_end(
    server: HubServer, app: RunningApp, visit: Callable[..., Page]
) -> None:
    page = open_merge(visit, app)
    server.wire.latency = 50.0
    choose(page, "demo/lowercase", "demo/capitals")
    wait_until(lambda: bool(server.asked), 30)

    app.process.send_signal(signal.SIGINT)

    assert app.process.wait(12) == 0


_DROP = """
address => {
  const carried = new DataTransfer();
  carried.setData("text/uri-list", address);
  document.body.dispatchEvent(new DragEvent("drop", {dataTransfer: carried, bubbles: true, cancelable: true}));
}
"""


def test_the_address_of_a_merged_repository_is_dropped_and_what_is_asked_is_said(
    server: HubServer, app: RunningApp, visit: Callable[..., Page]
) -> None:
    recipe = "{blockmerge: 1, models: {a: demo/lowercase, b: demo/capitals}, weights: {layers: 0.25}}"
    server.store.commit(server.store.repositories["demo/capitals"], {"recipe.yaml": recipe.encode()})
    page = open_merge(visit, app)

    page.evaluate(_DROP, f"{server.endpoint}/demo/capitals")

    expect(page.get_by_text("The recipe is shown below.")).to_be_visible(timeout=60_000)
    expect(page.locator("#formula")).to_contain_text("with w = 0.25")
    page.evaluate(_DROP, f"{server.endpoint}/demo/lowercase")
    expect(page.get_by_text("demo/lowercase holds no recipe: only what blockmerge made does.")).to_be_visible(
        timeout=30_000
    )
    server.wire.latency = 2.0
    choose(page, "demo/capitals", "demo/nothing")
    expect(page.locator("#checks")).to_contain_text("Asking the Hub about", timeout=30_000)
    expect(page.locator("#checks")).to_contain_text("There is no folder demo/nothing here", timeout=60_000)
