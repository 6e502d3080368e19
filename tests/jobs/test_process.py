import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from blockmerge.jobs.process import close_stdin, death_sentence, start_python

_WATCHER = """
import os, time
from blockmerge.jobs.process import watch_parent
watch_parent(lambda line: print(line.decode(), flush=True), lambda: os._exit(7))
print("ready", flush=True)
time.sleep(60)
"""


@pytest.fixture
def child(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A child that repeats every line it hears, and ends with 7 when it hears no more."""
    (tmp_path / "watcher.py").write_text(_WATCHER)
    process = start_python("watcher", {**os.environ, "PYTHONPATH": str(tmp_path)}, answers=True)
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == b"ready\n"
        yield process
        process.kill()
        process.wait()
        close_stdin(process)


def test_a_child_hears_whole_lines_however_they_are_cut(child: subprocess.Popen[bytes]) -> None:
    assert child.stdin is not None
    assert child.stdout is not None

    child.stdin.write(b"one\ntw")
    child.stdin.flush()
    heard = [child.stdout.readline()]
    child.stdin.write(b"o\nthree\n")
    child.stdin.flush()
    heard += [child.stdout.readline(), child.stdout.readline()]

    assert heard == [b"one\n", b"two\n", b"three\n"]


def test_a_child_sees_that_its_parent_closed_its_stdin(child: subprocess.Popen[bytes]) -> None:
    close_stdin(child)

    assert child.wait(5) == 7


def test_a_child_sees_that_its_parent_is_dead(tmp_path: Path) -> None:
    (tmp_path / "watcher.py").write_text(_WATCHER)
    parent = (
        "import os, sys; from blockmerge.jobs.process import start_python;"
        "child = start_python('watcher', dict(os.environ)); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", parent],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{Path.cwd()}"},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"

        process.kill()

        # The child shares the parent's stdout, which ends when both are gone.
        assert process.stdout.read() == b""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has groups instead of sessions")
def test_a_child_has_a_session_of_its_own(child: subprocess.Popen[bytes]) -> None:
    assert os.getsid(child.pid) == child.pid


def test_closing_the_stdin_of_a_dead_child_is_no_error(child: subprocess.Popen[bytes]) -> None:
    assert child.stdin is not None
    child.kill()
    child.wait()
    child.stdin.write(b"still buffered")

    close_stdin(child)


@pytest.mark.parametrize("returncode", [-9, 137])
def test_a_kill_from_outside_is_called_out_of_memory(returncode: int) -> None:
    sentence = death_sentence(returncode)

    assert sentence == (
        "The merge was killed, most likely out of memory. Close other programs, or merge on a machine with more memory."
    )


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGBUS")
def test_a_source_that_shrank_under_the_reader_is_named() -> None:
    for returncode in (-signal.SIGBUS, 128 + signal.SIGBUS):
        assert death_sentence(returncode).startswith("A source file became shorter during the merge.")


@pytest.mark.parametrize("returncode", [1, 3, -11])
def test_any_other_death_points_to_the_log(returncode: int) -> None:
    sentence = death_sentence(returncode)

    assert sentence == f"The merge process ended unexpectedly (exit code {returncode}). Its log may say why."
