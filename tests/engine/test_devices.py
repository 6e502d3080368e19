"""Which device may be asked for, and what is said of it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from blockmerge.core.methods import METHODS
from blockmerge.engine import devices
from blockmerge.engine.devices import Found, ask_gpu, check_device, check_found, device_sentence, used_device
from blockmerge.engine.gpu import find_gpu
from blockmerge.errors import DeviceError
from tests.engine.merges import recipe_text
from tests.tiny_models import write_llama

NOT_HERE = (
    r"^device cuda: no CUDA GPU was found \(torch \S+ (is built without CUDA|finds none that CUDA \S+ and the driver "
    r"can use)\)\. Merge on the processors \(device cpu\), or install torch's CUDA build where there is a GPU\.$"
)


def test_a_device_that_does_not_exist_is_refused() -> None:
    check_device("cpu")
    check_device("cuda")

    with pytest.raises(DeviceError, match=r"^device tpu: there is no such device\. Use cpu or cuda\.$"):
        check_device("tpu")


def test_a_gpu_is_refused_where_none_was_found() -> None:
    check_found("cpu", Found(why="torch 2.13.0+cpu is built without CUDA"))
    check_found("cuda", Found(gpu="NVIDIA H200"))

    with pytest.raises(DeviceError, match=NOT_HERE):
        check_found("cuda", Found(why="torch 2.13.0+cpu is built without CUDA"))
    with pytest.raises(DeviceError, match=NOT_HERE):
        check_found("cuda", Found(why="torch 2.13.0+cu128 finds none that CUDA 12.8 and the driver can use"))


def test_methods_that_wait_for_the_disk_stay_on_the_processors() -> None:
    stay = [name for name in METHODS if used_device(name, "cuda") == "cpu"]

    assert stay == ["linear", "slerp", "task_arithmetic", "nearswap", "passthrough"]
    assert device_sentence("linear", "cpu") == device_sentence("ties", "cpu") == ""
    assert device_sentence("linear", "cuda") == (
        "Computed on the processors: linear waits for the disk, not for arithmetic, so a GPU gains nothing."
    )
    assert device_sentence("ties", "cuda") == (
        "Computed on the GPU: other last bits than the processors' may come out."
    )


def test_a_child_says_what_torch_finds_here() -> None:
    assert ask_gpu() == find_gpu()


def test_a_child_that_cannot_say_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_FINDER", "blockmerge.engine.no_such_module")

    assert ask_gpu() == Found(why="ModuleNotFoundError: No module named 'blockmerge.engine.no_such_module'")


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    a, b = write_llama(tmp_path / "a"), write_llama(tmp_path / "b", seed=1)
    path = tmp_path / "recipe.json"
    path.write_text(recipe_text(a, b, 0.5).replace('"linear"', '"karcher"'))
    return path


def command(*arguments: object) -> "subprocess.CompletedProcess[str]":
    """Where no GPU can be seen, whether there is one or not."""
    return subprocess.run(
        [sys.executable, "-m", "blockmerge", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        check=False,
    )


@pytest.mark.parametrize("words", [("plan",), ("merge", "--out", "out")], ids=lambda words: words[0])
def test_plan_and_merge_refuse_a_gpu_that_is_not_there(words: tuple[str, ...], recipe: Path) -> None:
    name, *more = words
    done = command(
        name, recipe, *(recipe.parent / word if word == "out" else word for word in more), "--device", "cuda"
    )

    assert done.returncode == 2
    assert re.search(NOT_HERE, done.stderr.strip())
    assert not (recipe.parent / "out").exists()


def test_a_plan_says_where_it_is_computed(recipe: Path) -> None:
    assert json.loads(command("plan", recipe, "--json").stdout)["device"] == "cpu"


def test_a_merge_to_the_hub_takes_no_device(recipe: Path) -> None:
    done = command("merge", recipe, "--to", "org/name", "--device", "cuda")

    assert done.returncode == 2
    assert done.stderr.strip() == (
        "--device is of a merge into a folder: --to waits for the network, so a GPU gains nothing."
    )
