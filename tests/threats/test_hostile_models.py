"""The rows of the table of threats that need a model process, a browser, or `app.py` in a process of its own.

Names that start with a number are that row: 6 markup, 11 chat templates, 12 tokenizers, 17 tokens, 22 exposure.
"""

import json
import logging
import os
import re
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from blockmerge.jobs.secrets import mask_log_records
from blockmerge.jobs.states import JobState, Ticket
from blockmerge.ui.serve import OPEN_TO_ALL
from tests.browser.conftest import REPOSITORY
from tests.threats.conftest import Running, Visitor
from tests.tiny_models import write_llama
from tests.tryout.models import ENDLESS, copied, with_pattern
from tests.ui.conftest import browser, fresh_page, wait_until

__all__ = ["browser"]  # the fixture of tests/ui, for the tests of this file

KEY = "0123456789abcdef" * 2
MARKUP = "<img src=x onerror=document.title='pwn'>"
TOKEN = "hf_" + "secret" * 4
RECIPE = "blockmerge: 1\nmodels: {{a: {a!r}, b: {b!r}}}\nweights: {{layers: 0.5}}\n"
ROAD = (JobState.WAITING, JobState.CHECKING, JobState.MERGING, JobState.VERIFYING, JobState.DONE)


def finished(running: Running, visitor: Visitor, a: str, b: str, name: str) -> int:
    """A job of this visitor whose result is made by hand, so that its files can mean harm, too."""
    job = visitor.call("queue", RECIPE.format(a=a, b=b), name, "cpu")
    assert isinstance(job, int), job
    for before, after in pairwise(ROAD):
        running.bench.store.move(Ticket(job, 1), {before}, after)
    return job


def fire(running: Running, visitor: Visitor, element: str, name: str, *data: object) -> str:
    """A private event as the page fires it, and all that the page hears until it is over."""
    [block] = [block for block in running.blocks.blocks.values() if block.elem_id == element]
    [number] = [index for index, function in running.blocks.fns.items() if (block._id, name) in function.targets]
    body = json.dumps({"data": data, "fn_index": number, "session_hash": "try"})
    assert running.post("/gradio_api/queue/join", body, Cookie=visitor.cookie)[0] == 200
    return running.ask("GET", "/gradio_api/queue/data?session_hash=try", headers={"Cookie": visitor.cookie})[1]


def look(running: Running, visitor: Visitor) -> Any:
    """What the component of the Try tab is told."""
    [answers] = [block for block in running.blocks.blocks.values() if block.elem_id == "answers"]
    asked = {"data": {"key": KEY, "since": -1}, "component_id": answers._id, "fn_name": "look", "session_hash": "try"}
    status, text = running.post("/gradio_api/component_server", json.dumps(asked), Cookie=visitor.cookie)
    assert status == 200, text
    return json.loads(text)


@pytest.mark.with_models
# Gradio counts queued events with pandas, whose newest release warns of an option that Gradio sets.
@pytest.mark.filterwarnings("ignore:.*no_silent_downcasting")
def test_11_and_12_a_template_without_end_and_a_tokenizer_that_panics_are_sentences(running: Running) -> None:
    visitor = running.visitor()
    copied(running.models / "endless", template=ENDLESS)
    with_pattern(copied(running.models / "panic"), "(a+)+$")
    with_pattern(copied(running.bench.settings.output / "harm"), "(a+)+$")
    job = finished(running, visitor, "endless", "panic", "harm-of-two")
    (running.bench.settings.output / "harm").rename(running.bench.store.get(job).out)
    fire(running, visitor, "answers", "open", {"key": KEY})

    told = fire(running, visitor, "generate", "click", {"key": KEY}, job, "a" * 40 + "!", "Chat", 7, 0.7, 4, False)
    assert '"success":true' in told

    def answered() -> bool:
        rounds = look(running, visitor)["rounds"]
        return bool(rounds) and not rounds[-1]["open"]

    wait_until(answered, 300)  # three processes import transformers, one of them twice
    bomb, merged, panic = look(running, visitor)["rounds"][-1]["columns"]
    assert bomb["notes"][0] == "The chat template took too long; plain prompt used."
    assert bomb["text"]
    assert merged["notes"][-1] == panic["notes"][-1] == "The tokenizer failed on this text."
    assert running.ask("GET", "/healthz")[0] == 200


def test_06_names_of_other_people_are_text_wherever_they_stand(running: Running, browser: Browser) -> None:
    """Chat text: tests/browser/test_try.py. Recipes, own shapes, files and methods: with their tests."""
    for number, name in enumerate((MARKUP, f"{MARKUP}2")):
        folder = write_llama(running.models / name, seed=number)
        _rename_tensor(folder / "model.safetensors", "lm_head.weight", f"lm_head.{MARKUP}")
    with fresh_page(browser, f"http://127.0.0.1:{running.port}/") as page:
        for letter, name in (("a", MARKUP), ("b", f"{MARKUP}2")):
            page.locator(f"#model-{letter} input").fill(name)
            page.locator(f"#model-{letter} input").press("Enter")
        expect(page.locator(".lane [data-layer]")).to_have_count(4, timeout=30_000)
        expect(page.locator("#formula")).to_contain_text("onerror=document.title")
        visit_every_tab(page)

        assert page.title() == "blockmerge"
        assert page.locator("img[src='x']").count() == 0


def visit_every_tab(page: Page) -> None:
    for tab in page.get_by_role("tab").all():
        tab.click()
        page.wait_for_timeout(300)


def _rename_tensor(file: Path, before: str, after: str) -> None:
    content = file.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header[after] = header.pop(before)
    text = json.dumps(header).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])


def test_17_a_token_is_in_no_log_database_recipe_or_answer(
    running: Running, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Raised in the middle of the page and sent by a stranger. Jobs: tests/jobs/test_secrets.py; cards hold none."""

    def fail(*_: object) -> None:
        raise RuntimeError(f"401 for Authorization: Bearer {TOKEN}")

    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [logging.StreamHandler()])
    mask_log_records()
    with monkeypatch.context() as patch:
        patch.setattr("blockmerge.checkpoints.library.Library.offered", fail)
        told = [running.visitor().call(name, *sent) for name, sent in (("models", ()), ("inspect", (TOKEN,)))]
    running.visitor().call("queue", RECIPE.format(a=TOKEN, b=TOKEN), TOKEN, "cpu")

    written = capsys.readouterr().err
    assert "RuntimeError" in written
    assert TOKEN not in written
    assert TOKEN not in "".join(map(str, told))
    home = running.bench.settings.home
    assert [path for path in home.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()] == []


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have one loopback address")
def test_22_a_page_that_others_can_reach_says_so(tmp_path: Path) -> None:
    """127.0.0.2 is not among the names of this machine alone, and still nobody else can reach it."""
    warned, quiet = started(tmp_path / "a", "--listen", "127.0.0.2"), started(tmp_path / "b")
    locked = started(tmp_path / "c", "--listen", "127.0.0.2", BLOCKMERGE_PASSWORD="long and secret")

    assert re.fullmatch(rf"blockmerge is at http://127\.0\.0\.2:\d+\n{re.escape(OPEN_TO_ALL)}\n", warned)
    assert re.fullmatch(r"blockmerge is at http://127\.0\.0\.1:\d+\n", quiet)
    assert re.fullmatch(r"blockmerge is at http://127\.0\.0\.2:\d+\n", locked)


def started(home: Path, *arguments: str, **environ: str) -> str:
    """What app.py says when it is up; it is ended then."""
    home.mkdir()
    folders = {"BLOCKMERGE_HOME": str(home / "home"), "BLOCKMERGE_OUTPUT": str(home / "output")}
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, REPOSITORY / "app.py", "--port", "0", *arguments],
            env={**os.environ, **folders, **environ},
            stdout=log,
            cwd=home,
        )
        try:
            wait_until(lambda: "blockmerge is at" in (home / "log").read_text(), 60)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)
    return (home / "log").read_text()
