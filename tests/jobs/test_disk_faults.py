"""A short version of disk_faults.py, with all its checks."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.jobs.disk_faults import run


def _can_trace() -> bool:
    if shutil.which("strace") is None:
        return False
    return subprocess.run(["strace", "-qq", "-o", os.devnull, "true"], capture_output=True).returncode == 0


@pytest.mark.skipif(not _can_trace(), reason="needs Linux, strace, and the right to trace")
def test_a_call_that_fails_breaks_no_result(tmp_path: Path) -> None:
    said = run(14, tmp_path)

    # Only the lock and the journal of a result that is there already may fail without a word.
    assert sum(said.values()) == 14
    assert said[""] <= 2
    assert any("the disk is full" in sentence for sentence in said)
    assert any("Input/output error" in sentence for sentence in said)
