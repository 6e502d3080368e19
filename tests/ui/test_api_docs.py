"""Every block of code in docs/api.md, run as it stands there against `python app.py`."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.conftest import RunningApp, running_app
from tests.ui.conftest import wait_until

DOCS = Path(__file__).parents[2] / "docs" / "api.md"
BLOCKS = re.findall(r"```(python|sh)\n(.*?)```", DOCS.read_text("utf-8"), re.DOTALL)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApp]:
    with running_app(tmp_path_factory.mktemp("docs")) as running:
        yield running


def run(app: RunningApp, index: int) -> str:
    """What a block prints; the only change is the address."""
    language, text = BLOCKS[index]
    program = [sys.executable, "-c"] if language == "python" else ["bash", "-euo", "pipefail", "-c"]
    done = subprocess.run(
        [*program, text.replace("http://127.0.0.1:7860", app.address)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_python_client_merges_the_example_pair(app: RunningApp) -> None:
    printed = run(app, 0)

    [job] = [job for job in app.store.recent(10) if job.name == "a-quarter-capitals"]
    assert re.search(r"^\d+ bytes, fits on the disk: True$", printed, re.MULTILINE)
    assert f"Done {job.out} {job.digest}" in printed


def test_curl_inspects_queues_and_lists(app: RunningApp) -> None:
    inspected, queued, listed = (json.loads(line)["data"][0] for line in run(app, 1).replace("}{", "}\n{").splitlines())

    assert inspected["model"] == "lowercase"
    assert listed[0]["id"] == queued
    assert listed[0]["name"] == "rising-capitals"
    wait_until(lambda: app.store.get(queued).digest is not None, 60)


def test_an_mcp_client_lists_the_calls_as_tools_and_uses_one(app: RunningApp) -> None:
    tools, inspected = run(app, 2).splitlines()

    assert {"inspect", "plan", "queue", "cancel"} <= set(re.findall(r"\w+", tools))
    assert "'model': 'capitals'" in inspected
