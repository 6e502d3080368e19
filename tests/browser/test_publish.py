"""From a done job to a repository that transformers loads through the Hub's own client: in a real browser, offline."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from safetensors.torch import load_file

from blockmerge.checkpoints.manifest import read_manifest
from blockmerge.jobs.states import LOCAL, JobState, NewJob
from blockmerge.ui.visitors import COOKIE
from tests.browser.conftest import RunningApp, running_app
from tests.browser.loaded import load_from_hub
from tests.hub.conftest import server
from tests.hub.results import merge_result
from tests.hub_server import HubServer
from tests.jobs.rows import bring
from tests.ui.scenes import Camera

__all__ = ["server"]  # the fixture of tests/hub, for the tests of this file

pytestmark = pytest.mark.browser

Visit = Callable[..., Page]
CARD = b"---\nlicense: mit\n---\n"


def done_job(app: RunningApp, server: HubServer, home: Path, owner: str = LOCAL) -> Path:
    """A job of two models of the Hub whose licences are known."""
    for name in ("org/a", "org/b"):
        server.store.commit(server.store.repositories[name], {"README.md": CARD})
    app.settings.output.mkdir(exist_ok=True)
    result = merge_result(server, home, f"{app.settings.output.name}/mine")
    job = app.store.add(NewJob("mine", read_manifest(result).recipe, result, ("a", "b"), (0.5,), "Flat", owner))
    bring(app.store, job, JobState.DONE)
    return result


def open_jobs(visit: Visit, app: RunningApp) -> Page:
    page = visit(app.address)
    page.get_by_role("tab", name=re.compile("Jobs")).click()
    page.wait_for_selector(".jobs[data-ready]", timeout=60_000)
    return page


def test_a_done_job_is_published_and_loads_from_the_hub(
    tmp_path: Path, visit: Visit, server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = server.store.add_user("ann")
    monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_TOKEN", ann.token)
    with running_app(tmp_path) as app:
        result = done_job(app, server, tmp_path)
        page = open_jobs(visit, app)

        page.get_by_role("button", name="Publish…").click()
        expect(page.get_by_text("Signed in as ann")).to_be_visible(timeout=60_000)
        repository = page.get_by_label("Repository", exact=True)
        expect(repository).to_have_value("ann/mine")
        repository.fill("ann/from-the-page")
        repository.blur()
        page.get_by_text("Card", exact=True).click()
        card = page.get_by_role("textbox", name="Card")
        expect(card).to_have_value(re.compile("# from-the-page"), timeout=30_000)
        Camera(page, tmp_path, lambda: None).look("publish")
        card.fill(card.input_value().replace("# from-the-page", "# Made by hand"))
        page.get_by_role("button", name="Publish", exact=True).click()
        link = page.get_by_role("link", name="ann/from-the-page")
        expect(link).to_be_visible(timeout=120_000)

        head = server.store.repositories["ann/from-the-page"].head
        assert link.get_attribute("href") == f"{server.endpoint}/ann/from-the-page/commit/{head.oid}"
        assert (link.get_attribute("target"), link.get_attribute("rel")) == ("_blank", "noopener")
        assert ann.token not in page.content()
    assert server.store.repositories["ann/from-the-page"].private
    assert b"# Made by hand" in server.store.content(head.files["README.md"])

    loaded = load_from_hub("ann/from-the-page", tmp_path / "other")
    expected = load_file(result / "model.safetensors")
    assert expected.keys() <= loaded.keys()
    assert all(loaded[name].equal(tensor) for name, tensor in expected.items())


def owner_of_browser(page: Page) -> str:
    """Whose jobs this browser sees, by its signed cookie."""
    [value] = [cookie["value"] for cookie in page.context.cookies() if cookie["name"] == COOKIE]
    return f"browser:{value.partition('.')[0]}"


def files_with(secret: str, *folders: Path) -> list[Path]:
    paths = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert any(path.suffix == ".db" for path in paths)
    return [path for path in paths if secret.encode() in path.read_bytes()]


def test_the_token_that_a_visitor_gives_is_nowhere_but_in_the_memory_of_the_page(
    tmp_path: Path, visit: Visit, server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, machine = server.store.add_user("ann"), server.store.add_user("machine")
    monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_TOKEN", machine.token)
    with running_app(tmp_path, hosts="box.example") as app:
        page = open_jobs(visit, app)
        done_job(app, server, tmp_path, owner_of_browser(page))
        page.get_by_role("button", name="Publish…").click(timeout=30_000)
        page.get_by_label("Access token of Hugging Face").fill(ann.token)
        page.get_by_role("button", name="Sign in", exact=True).click()
        expect(page.get_by_text("Signed in as ann", exact=True)).to_be_visible(timeout=60_000)
        page.get_by_role("button", name="Publish", exact=True).click()
        expect(page.get_by_role("link", name="ann/mine")).to_be_visible(timeout=120_000)

        assert ann.token not in page.content()
        page.reload()
        page.wait_for_selector(".jobs", state="attached", timeout=60_000)
        assert ann.token not in page.content()
        page.get_by_role("button", name="Publish…").click(timeout=30_000)
        page.get_by_role("button", name="Sign out").click(timeout=30_000)
        expect(page.get_by_label("Access token of Hugging Face")).to_have_value("", timeout=30_000)
    head = server.store.repositories["ann/mine"].head
    assert [name for name, file in head.files.items() if ann.token.encode() in server.store.content(file)] == []
    assert files_with(ann.token, tmp_path) == []
    assert {asked.token for asked in server.asked} == {None, ann.token}  # the machine's own was not used
