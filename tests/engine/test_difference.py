import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from safetensors.torch import load_file as load_tensors
from typer.testing import CliRunner

from blockmerge.checkpoints.models import open_models
from blockmerge.cli import app
from blockmerge.core.difference import Difference
from blockmerge.engine import difference
from tests.tiny_models import write_gpt2, write_llama


def measure(folder: Path) -> Difference:
    opened = open_models({key: str(folder / key) for key in ("a", "b")})
    return difference.measure(opened, folder / "kept", report=lambda _: None)


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    for seed, key in enumerate("ab"):
        write_gpt2(tmp_path / key, seed=seed)
    return tmp_path


def test_distance_and_cosine_are_those_of_float64(pair: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(difference, "CHUNK", 100)  # elements: every tensor in several chunks
    a, b = (load_file(pair / key / "model.safetensors") for key in ("a", "b"))
    names = [name for name in a if ".h.1." in name and ".mlp." in name]
    one, two = (np.concatenate([held[name].ravel() for name in names]).astype(np.float64) for held in (a, b))

    found = next(block for block in measure(pair).blocks if (block.layer, block.module) == (1, "mlp"))

    assert found.elements == one.size
    assert found.distance == pytest.approx(np.linalg.norm(one - two) / np.linalg.norm(one), rel=1e-12)
    assert found.cosine == pytest.approx(one @ two / np.linalg.norm(one) / np.linalg.norm(two), rel=1e-12)


def test_every_block_is_measured_once_and_the_whole_model_too(pair: Path) -> None:
    measured = measure(pair)

    places = [(block.stack, block.layer, block.module) for block in measured.blocks]
    assert len(set(places)) == len(places)
    assert sum(block.elements for block in measured.blocks) == sum(
        values.size for values in load_file(pair / "a" / "model.safetensors").values()
    )
    assert measured.distance is not None


def test_files_from_before_2020_are_measured_like_any_other(pair: Path) -> None:
    expected = measure(pair)
    for key in "ab":
        tensors = load_tensors(pair / key / "model.safetensors")
        torch.save(tensors, pair / key / "pytorch_model.bin", _use_new_zipfile_serialization=False)
        (pair / key / "model.safetensors").unlink()

    measured = measure(pair)

    assert measured.blocks == expected.blocks
    assert sorted(path.suffix for path in (pair / "kept").iterdir()) == [".json", ".json"]


def test_a_model_is_no_distance_from_itself(tmp_path: Path) -> None:
    for key in "ab":
        write_llama(tmp_path / key)

    measured = measure(tmp_path)

    assert measured.distance == 0
    assert measured.cosine == pytest.approx(1, abs=1e-12)


def test_a_result_is_kept_until_a_file_changes(pair: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = measure(pair)
    monkeypatch.setattr(difference, "match", lambda *_: pytest.fail("measured again"))

    assert measure(pair) == first
    monkeypatch.undo()
    write_gpt2(pair / "b", seed=7)
    assert measure(pair) != first


@pytest.mark.parametrize("as_json", [True, False])
def test_the_command_prints_it_for_people_and_programs(
    pair: Path, as_json: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BLOCKMERGE_HOME", str(pair / "home"))

    result = CliRunner().invoke(app, ["diff", str(pair / "a"), str(pair / "b"), *(["--json"] if as_json else [])])

    assert result.exit_code == 0
    measured = measure(pair)
    if as_json:
        value: dict[str, Any] = json.loads(result.stdout)
        assert value["distance"] == measured.distance
        assert len(value["blocks"]) == len(measured.blocks)
    else:
        assert result.stdout.startswith(f"whole model: ‖A − B‖ / ‖A‖ = {measured.distance:.4g}, cosine ")
        assert "h layer 1 mlp: " in result.stdout


def test_models_that_do_not_fit_are_refused_with_exit_code_2(tmp_path: Path) -> None:
    write_llama(tmp_path / "a")
    write_llama(tmp_path / "b", layers=3)

    result = CliRunner().invoke(app, ["diff", str(tmp_path / "a"), str(tmp_path / "b")])

    assert (result.exit_code, result.stderr) == (
        2,
        "A has 4 layers, B has 3. A blend needs the same number. Choose another B.\n",
    )
