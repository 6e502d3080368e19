import json
from pathlib import Path

import pytest
import safetensors

from blockmerge.checkpoints.folder import open_checkpoint
from blockmerge.checkpoints.writer import index_json, shard_header, write_index, write_side_files
from blockmerge.core.plan import Plan
from blockmerge.errors import SourceChangedError, StorageError
from tests.checkpoints.planned import (
    CANONICAL,
    FIRST,
    INPUT,
    SECOND,
    open_input,
    plan_of,
    single_file,
    two_shards,
    write_result,
)


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return two_shards(open_input(tmp_path / "input"))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def test_every_shard_carries_the_same_recipe(plan: Plan, tmp_path: Path) -> None:
    folder = write_result(plan, tmp_path / "result")

    for name in (FIRST, SECOND):
        with safetensors.safe_open(folder / name, "numpy") as shard:
            assert shard.metadata() == {"format": "pt", "blockmerge_recipe": CANONICAL}


def test_a_shard_header_lists_its_tensors_in_the_order_of_the_plan(plan: Plan) -> None:
    raw = shard_header(plan.shards[1], plan)

    entries = json.loads(raw[8:])
    assert list(entries) == ["__metadata__", "half", "flag"]
    assert entries["half"] == {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]}
    assert entries["flag"] == {"dtype": "BOOL", "shape": [], "data_offsets": [12, 13]}


def test_the_index_has_every_tensor_and_the_bytes_of_all(plan: Plan) -> None:
    assert json.loads(index_json(plan)) == {
        "metadata": {"total_size": 2**20 + 20 + 13},
        "weight_map": {"empty": FIRST, "flag": SECOND, "half": SECOND, "large": FIRST},
    }


def test_what_was_written_opens_as_a_checkpoint_without_warnings(plan: Plan, tmp_path: Path) -> None:
    checkpoint = open_checkpoint(write_result(plan, tmp_path / "result"))

    assert list(checkpoint.tensors) == ["large", "empty", "half", "flag"]
    assert checkpoint.warnings == ()
    assert dict(checkpoint.skipped)["blockmerge.json"] == "it describes the input, not the result"


def test_a_single_file_has_no_index(tmp_path: Path, out: Path) -> None:
    write_index(single_file(open_input(tmp_path / "input")), out)

    assert list(out.iterdir()) == []


def test_side_files_are_copied_byte_for_byte(plan: Plan, out: Path) -> None:
    write_side_files(plan, out)

    for name, text in {**INPUT, "sub/notes.txt": "x\r\n"}.items():
        assert (out / name).read_bytes() == text.encode()


def test_an_edited_config_changes_in_its_edits_only(tmp_path: Path, out: Path) -> None:
    edits = {"auto_map": None, "tie_word_embeddings": False, "model_type": "mistral"}

    write_side_files(plan_of(open_input(tmp_path / "input"), {}, edits), out)

    assert (out / "config.json").read_text() == (
        '{\n  "model_type": "mistral",\n  "eps": 1e-05,\n  "name": "\\u00fc",\n  "tie_word_embeddings": false\n}\n'
    )


def test_a_null_in_the_input_survives_an_edit_elsewhere(tmp_path: Path, out: Path) -> None:
    folder = tmp_path / "input"
    open_input(folder)
    (folder / "config.json").write_text('{"pad_token_id": null, "auto_map": null, "old": null}')

    write_side_files(plan_of(open_checkpoint(folder), {}, {"auto_map": None, "dtype": "float16"}), out)

    assert json.loads((out / "config.json").read_text()) == {"pad_token_id": None, "old": None, "dtype": "float16"}


def test_a_side_file_that_changed_is_named(plan: Plan, out: Path) -> None:
    (plan.checkpoints["a"].folder / "tokenizer.json").write_text("{}")

    with pytest.raises(SourceChangedError) as caught:
        write_side_files(plan, out)

    assert str(caught.value) == (
        "tokenizer.json of input changed during the merge. Let nothing change the models, then start it again."
    )


def test_a_folder_that_cannot_be_made_is_named(plan: Plan, out: Path) -> None:
    (out / "sub").write_text("in the way")

    with pytest.raises(StorageError) as caught:
        write_side_files(plan, out)

    assert str(caught.value) == f"{out / 'sub'} cannot be made: File exists. Choose another folder."
