"""app.py as a process: what it says, what it loads, and how it ends."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import psutil
import pytest

from blockmerge.engine.journal import count_units
from blockmerge.jobs.states import JobState, NewJob, part_folder
from tests.browser.conftest import REPOSITORY, RunningApp, running_app
from tests.jobs.bench import write_hollow_model
from tests.ui.conftest import wait_until


def start(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, REPOSITORY / "app.py", *arguments],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_it_answers_and_says_that_a_worker_is_there(app: RunningApp) -> None:
    def health() -> object:
        with urllib.request.urlopen(f"{app.address}/healthz") as answer:
            return json.load(answer)

    wait_until(lambda: health() == {"status": "ok", "worker": True}, 30)


@pytest.mark.skipif(sys.platform != "linux", reason="reads what is mapped into a process")
def test_the_pages_process_never_loads_torch(app: RunningApp) -> None:
    with urllib.request.urlopen(app.address) as answer:
        assert b"blockmerge" in answer.read()

    loaded = [Path(file.path).name for file in psutil.Process(app.process.pid).memory_maps()]

    assert any("python" in name or name.endswith(".so") for name in loaded)
    assert [name for name in loaded if "torch" in name] == []


def test_ctrl_c_ends_everything_and_the_running_job_waits(tmp_path: Path) -> None:
    sizes = (2048, 8192, 256)
    pair = [write_hollow_model(tmp_path / name, 4, sizes) for name in "ab"]
    recipe = json.dumps(
        {"blockmerge": 1, "models": dict(zip("ab", map(str, pair), strict=True)), "weights": {"layers": 0.5}}
    )
    with running_app(tmp_path) as app:
        job = app.store.add(NewJob("later", recipe, app.settings.output / "later", ("a", "b")))
        wait_until(lambda: app.store.get(job).state is JobState.MERGING, 60)
        children = app.children()

        asked = time.monotonic()
        app.process.send_signal(signal.SIGINT)
        code = app.process.wait(15)

        assert code == 0
        assert time.monotonic() - asked <= 10
        assert len(children) >= 2
        assert [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE] == []
        assert app.store.get(job).state is JobState.WAITING
        # On a fast machine something is finished by then, and kept.
        kept = count_units(part_folder(app.settings.output / "later"))
        assert [path.name for path in app.settings.output.glob("*")] == (["later.partial"] if kept else [])


def test_a_port_that_is_taken_gets_a_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = start("--port", str(port), BLOCKMERGE_HOME=str(tmp_path))

    assert done.returncode == 2
    assert done.stderr.startswith(f"The page cannot answer at 127.0.0.1, port {port}: ")
    assert done.stderr.endswith("Choose another with --port.\n")
    assert "Traceback" not in done.stderr


def test_a_wrong_setting_gets_a_sentence() -> None:
    done = start(BLOCKMERGE_HOSTS="http://box.example")

    assert done.returncode == 2
    assert done.stderr == (
        "BLOCKMERGE_HOSTS: expected names such as box.example, found 'http://box.example'. "
        "Leave out https:// and the port.\n"
    )
