import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from blockmerge.engine.estimate import HEADROOM, Estimate, estimate
from blockmerge.errors import StorageError
from tests.engine.merges import merge, plan_for
from tests.jobs.bench import write_hollow_model
from tests.tiny_models import write_gpt2, write_llama, write_tokenizer


def test_the_disk_that_is_needed_is_what_the_result_takes(tmp_path: Path) -> None:
    a, b = write_llama(tmp_path / "a"), write_llama(tmp_path / "b", seed=1)
    write_tokenizer(a)
    plan = plan_for(a, b, 0.5)

    need = estimate(plan, tmp_path / "out")

    merge(plan, tmp_path / "out")
    taken = sum(path.stat().st_size for path in (tmp_path / "out").iterdir())
    side = sum((a / name).stat().st_size for name in ("config.json", "tokenizer.json", "tokenizer_config.json"))
    assert need.disk == plan.nbytes + side
    assert need.disk < taken < need.disk + HEADROOM


def test_another_dtype_takes_another_size(tmp_path: Path) -> None:
    a, b = write_gpt2(tmp_path / "a"), write_gpt2(tmp_path / "b", seed=1)
    side = (a / "config.json").stat().st_size

    sizes = [estimate(plan_for(a, b, 0.5, dtype=dtype), tmp_path).disk - side for dtype in ("float32", "float16")]

    assert sizes[0] == 2 * sizes[1]


def test_the_free_disk_is_asked_where_the_first_folder_exists(tmp_path: Path) -> None:
    plan = plan_for(write_llama(tmp_path / "a"), write_llama(tmp_path / "b", seed=1), 0.5)

    need = estimate(plan, tmp_path / "not" / "there" / "yet")

    assert need.free == pytest.approx(shutil.disk_usage(tmp_path).free, abs=10**9)  # others write there meanwhile


@pytest.mark.parametrize(("free", "fits"), [(HEADROOM + 100, True), (HEADROOM + 99, False), (0, False)])
def test_a_result_fits_when_some_room_is_left_beside_it(free: int, fits: bool) -> None:
    assert Estimate(disk=60, scratch=40, free=free, memory=0, seconds=0.0).fits is fits


@pytest.fixture
def models_larger_than_the_disk(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """All of it is a hole, and gone after the test, lest something else wants to read it."""
    sizes = (2**16, 2**18, 256)  # 137 GB a layer
    layers = shutil.disk_usage(tmp_path).free // (137 * 10**9) + 2
    folders = tmp_path / "a", tmp_path / "b"
    yield write_hollow_model(folders[0], layers, sizes), write_hollow_model(folders[1], layers, sizes)
    for folder in folders:
        shutil.rmtree(folder)


def test_a_result_larger_than_the_disk_is_refused_before_anything_is_made(
    models_larger_than_the_disk: tuple[Path, Path], tmp_path: Path
) -> None:
    plan = plan_for(*models_larger_than_the_disk, 0.5)

    with pytest.raises(StorageError) as caught:
        merge(plan, tmp_path / "out")

    size = r"\d+(\.\d)? [GT]B"
    assert re.fullmatch(
        rf"The result needs {size}, and 64\.0 MB should stay free; {size} is free at {re.escape(str(tmp_path))}\. "
        r"Free some space, or choose a folder on another disk\.",
        str(caught.value),
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


@pytest.mark.parametrize("dtype", ["as owner", "float32"])
def test_the_bytes_of_disk_are_estimated_to_a_fifth(tmp_path: Path, dtype: str) -> None:
    a, b = (write_llama(tmp_path / name, hidden=128, vocab=512, seed=ord(name)) for name in "ab")
    plan = plan_for(a, b, 0.5, dtype=dtype)

    need = estimate(plan, tmp_path / "out")

    merge(plan, tmp_path / "out")
    taken = sum(path.stat().st_size for path in (tmp_path / "out").iterdir())
    assert 0.8 * taken <= need.disk + need.scratch <= 1.2 * taken


MEASURED = """
import sys
from pathlib import Path
from tests.engine.merges import merge, plan_for
plan = plan_for(Path(sys.argv[1]), Path(sys.argv[2]), 0.5)
merge(plan, Path(sys.argv[3]))
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems count shared libraries otherwise")
def test_the_bytes_of_memory_are_estimated_to_a_fifth(tmp_path: Path) -> None:
    a, b = (write_llama(tmp_path / name, layers=8, hidden=1024, vocab=4096, seed=ord(name)) for name in "ab")
    need = estimate(plan_for(a, b, 0.5), tmp_path / "out")

    command = [sys.executable, "-c", MEASURED, *map(str, (a, b, tmp_path / "out"))]
    taken = 1024 * int(subprocess.run(command, capture_output=True, check=True, text=True).stdout)

    assert 0.8 * taken <= need.memory <= 1.2 * taken
    assert need.disk > 10**8
