"""A container that may take less than the machine has is what counts."""

from pathlib import Path

import psutil
import pytest

from blockmerge.engine.memory import Memory, memory_here

MB = 10**6


def write_files(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("memory_", "memory.")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    "files",
    [
        {
            "memory_max": f"{50 * MB}\n",
            "memory_current": f"{40 * MB}\n",
            "memory_stat": f"anon 1\ninactive_file {5 * MB}\n",
        },
        {
            "memory__memory_limit_in_bytes": f"{50 * MB}\n",
            "memory__memory_usage_in_bytes": f"{40 * MB}\n",
            "memory__memory_stat": f"cache 1\ntotal_inactive_file {5 * MB}\n",
        },
    ],
    ids=["version 2", "version 1"],
)
def test_the_limit_of_the_container_counts_and_what_the_system_would_give_back(
    tmp_path: Path, files: dict[str, str]
) -> None:
    assert memory_here(write_files(tmp_path, **files)) == Memory(50 * MB, 15 * MB)


def test_a_container_without_a_limit_has_what_the_machine_has(tmp_path: Path) -> None:
    files = {"memory_max": "max\n", "memory_current": "40\n", "memory_stat": "inactive_file 5\n"}

    assert memory_here(write_files(tmp_path, **files)).total == psutil.virtual_memory().total


def test_where_nothing_is_told_the_machine_counts(tmp_path: Path) -> None:
    here = memory_here(tmp_path / "none")

    assert here.total == psutil.virtual_memory().total
    assert 0 < here.free <= here.total


def test_a_container_that_is_full_has_nothing_free(tmp_path: Path) -> None:
    files = {"memory_max": "50\n", "memory_current": "60\n", "memory_stat": "inactive_file 0\n"}

    assert memory_here(write_files(tmp_path, **files)) == Memory(50, 0)
