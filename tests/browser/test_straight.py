"""A merge that keeps nothing on this disk, in a real browser: from ids on the Hub to a repository that loads."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from blockmerge.jobs.states import JobState
from tests.browser.conftest import RunningApp
from tests.browser.loaded import load_from_hub
from tests.browser.test_first_merge import choose, open_merge, queue, wait_for
from tests.browser.test_hub import app, assert_equal, halfway, mode, moves_by_xet, server
from tests.browser.test_publish import files_with
from tests.hub_server import HubServer
from tests.ui.scenes import Camera

__all__ = ["app", "mode", "server"]  # the fixtures of test_hub, for the tests of this file

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("mode", ["lfs", "xet"])
def test_a_merge_straight_to_the_hub_leaves_nothing_here_and_loads_from_there(
    mode: str, server: HubServer, app: RunningApp, visit: Callable[..., Page], tmp_path: Path
) -> None:
    [demo] = server.store.users.values()
    page = open_merge(visit, app)
    choose(page, "demo/lowercase", "demo/capitals")
    expect(page.get_by_text("These two can be merged.")).to_be_visible(timeout=60_000)
    repository = page.locator("#repository textarea, #repository input").first
    expect(repository).to_be_hidden()

    page.get_by_label("Keep nothing on this disk").check()
    expect(page.get_by_role("button", name="Add to queue")).to_be_disabled(timeout=30_000)
    expect(page.locator("#needs")).to_contain_text("Give the repository as ORG/NAME.")
    repository.fill("demo/merged")
    expect(page.locator("#needs")).to_contain_text("meanwhile", timeout=30_000)
    expect(page.locator("#needs")).not_to_contain_text("Download")
    Camera(page, tmp_path, lambda: None).look("straight")
    with server.failing("(PUT /_storage|GET .*xet-write-token)", seconds=3):  # so that it can be watched
        queue(page)
        page.get_by_role("tab", name=re.compile("Jobs")).click()
        card = page.get_by_role("article")
        expect(card).to_contain_text("Merging", timeout=60_000)
        expect(card).to_contain_text("to demo/merged")
    job = wait_for(app, 1, JobState.DONE, seconds=120)

    expect(card).to_contain_text("Nothing of it is on this disk.", timeout=10_000)
    head = server.store.repositories["demo/merged"].head
    link = page.get_by_role("link", name="demo/merged")
    expect(link).to_have_attribute("href", f"{server.endpoint}/demo/merged/commit/{head.oid}")
    for name in ("Try", "Publish…", "Download"):
        expect(card.get_by_role("button", name=name)).to_have_count(0)
    assert list(app.settings.output.glob("*")) == []
    assert not [*(tmp_path / "hf").rglob("models--*/blobs/*")]  # no model was downloaded
    assert server.store.repositories["demo/merged"].private
    assert moves_by_xet(server) == ({"write"} if mode == "xet" else set())
    assert demo.token not in page.content()
    assert files_with(demo.token, tmp_path) == []
    assert job.wish is not None
    assert "failed" not in (tmp_path / "app.log").read_text()

    loaded, expected = load_from_hub("demo/merged", tmp_path / "other"), halfway()
    assert_equal({name: loaded[name] for name in expected}, expected)
