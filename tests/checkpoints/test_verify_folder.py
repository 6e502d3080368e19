import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from blockmerge.checkpoints.verify_folder import Verified, verify_folder
from blockmerge.cli import app
from blockmerge.errors import VerifyError
from tests.merging import merge
from tests.tiny_models import write_llama

LAST = "Merge again; if it happens twice, check the disk and the memory of this machine."


@pytest.fixture
def result(tmp_path: Path) -> Path:
    for seed, key in enumerate("ab"):
        write_llama(tmp_path / key, layers=2, seed=seed)
    merge(tmp_path, {"layers": 0.5})
    return tmp_path / "out"


def verify(folder: Path, read_data: bool = True) -> Verified:
    return verify_folder(folder, report=lambda _: None, read_data=read_data)


def problems_of(folder: Path, read_data: bool = True) -> tuple[str, ...]:
    with pytest.raises(VerifyError) as caught:
        verify(folder, read_data)
    return caught.value.problems


def flip_last_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_a_result_is_whole(result: Path) -> None:
    verified = verify(result)

    assert verified.nonfinite == {}
    assert verified.manifest.result_digest == json.loads((result / "blockmerge.json").read_text())["result_digest"]


def test_one_flipped_bit_is_found_when_the_data_is_read(result: Path) -> None:
    flip_last_byte(result / "model.safetensors")

    verify(result, read_data=False)
    assert problems_of(result) == (
        "'lm_head.weight' in model.safetensors does not hold the bytes that were written.",
        LAST,
    )


def test_a_changed_side_file_and_a_missing_one_are_found_without_reading_data(result: Path) -> None:
    (result / "config.json").write_text("{}")
    (result / "model.safetensors").unlink()

    assert problems_of(result, read_data=False) == (
        "config.json is not the file that was written: its size or its digest differs from blockmerge.json.",
        "model.safetensors is missing in the result.",
        "out has no weight files. Choose the folder that holds them.",
        LAST,
    )


def test_nan_and_inf_are_counted(tmp_path: Path) -> None:
    for key in "ab":
        folder = write_llama(tmp_path / key, layers=2, dtype="float16")
        path = folder / "model.safetensors"
        content = bytearray(path.read_bytes())
        content[-4:] = np.array([np.inf, np.nan], np.float16).tobytes()
        path.write_bytes(content)
    merge(tmp_path, {"layers": 0})

    assert verify(tmp_path / "out").nonfinite == {"lm_head.weight": 2}


def test_another_folder_is_no_result(tmp_path: Path) -> None:
    write_llama(tmp_path / "a")

    assert problems_of(tmp_path / "a") == ("a has no blockmerge.json, so it is no finished result of blockmerge.",)
    assert problems_of(tmp_path / "b") == (f"There is no folder {tmp_path / 'b'}. Check the path.",)


def test_the_command_says_that_it_is_whole_or_ends_with_1(result: Path) -> None:
    run = CliRunner()

    good = run.invoke(app, ["verify", str(result), "--read-data"])
    as_json = run.invoke(app, ["verify", str(result), "--json"])
    flip_last_byte(result / "model.safetensors")
    bad = run.invoke(app, ["verify", str(result), "--read-data"])

    assert good.exit_code == 0
    assert good.stdout.startswith(f"{result} is whole: 21 tensors, ")
    assert json.loads(as_json.stdout)["warnings"] == []
    assert bad.exit_code == 1
    assert bad.stderr.splitlines()[-1] == LAST
