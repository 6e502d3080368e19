from collections.abc import Mapping
from pathlib import Path

import pytest

from blockmerge.checkpoints.shards import Shards, read_shards
from blockmerge.errors import CheckpointError
from tests.checkpoints.raw_files import float_file, write_folder

FIRST = "model-00001-of-00002.safetensors"
SECOND = "model-00002-of-00002.safetensors"
INDEX = "model.safetensors.index.json"


def write_shards(folder: Path, weight_map: object, files: Mapping[str, tuple[str, ...]], **metadata: object) -> Path:
    write_folder(folder, model__safetensors__index__json={"metadata": metadata, "weight_map": weight_map})
    for name, tensors in files.items():
        (folder / name).write_bytes(float_file(*tensors))
    return folder


def read(folder: Path) -> Shards:
    return read_shards(folder, {path.name for path in folder.iterdir()})


def problems_of(folder: Path) -> tuple[str, ...]:
    with pytest.raises(CheckpointError) as caught:
        read(folder)
    return caught.value.problems


def test_shards_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    write_shards(tmp_path, {"a": SECOND, "b": FIRST}, {SECOND: ("a",), FIRST: ("b",)}, total_size=16)

    shards = read(tmp_path)

    assert list(shards.headers) == [FIRST, SECOND]
    assert [(tensor.name, tensor.file) for tensor in shards.tensors.values()] == [("b", FIRST), ("a", SECOND)]
    assert shards.warnings == ()


def test_25_a_missing_shard_is_named_together_with_a_broken_one(tmp_path: Path) -> None:
    write_shards(tmp_path, {"a": FIRST, "b": SECOND}, {})
    (tmp_path / FIRST).write_bytes(b"")

    assert problems_of(tmp_path) == (
        "model-00002-of-00002.safetensors is missing. Download it again.",
        "model-00001-of-00002.safetensors is empty. Download it again.",
    )


def test_26_a_tensor_in_two_shards_is_refused(tmp_path: Path) -> None:
    write_shards(tmp_path, {"a": FIRST, "b": SECOND}, {FIRST: ("a",), SECOND: ("a", "b")})

    assert problems_of(tmp_path) == (f"'a' lies in {FIRST} and again in {SECOND}. Remove one of them.",)


def test_27_a_tensor_that_the_index_does_not_name_is_refused(tmp_path: Path) -> None:
    write_shards(tmp_path, {"a": FIRST}, {FIRST: ("a", "b", "c", "d")})

    assert problems_of(tmp_path) == (f"{FIRST} holds 'b' (and 2 more), which the index does not name. Download both.",)


def test_28_a_tensor_that_no_shard_holds_is_refused(tmp_path: Path) -> None:
    write_shards(tmp_path, {"a": FIRST, "b": FIRST}, {FIRST: ("a",)})

    assert problems_of(tmp_path) == (f"The index names 'b' in {FIRST}, where it is not. Download both.",)


def test_28_a_tensor_in_another_shard_than_the_index_says_is_refused(tmp_path: Path) -> None:
    write_shards(tmp_path, {"a": FIRST, "b": FIRST, "c": SECOND}, {FIRST: ("a",), SECOND: ("b", "c")})

    assert problems_of(tmp_path) == (f"The index names 'b' in {FIRST}, where it is not. Download both.",)


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "/etc/passwd",
        "../other/model.safetensors",
        r"..\model.safetensors",
        "C:\\model.safetensors",
        ".safetensors",
        "sub/model.safetensors",
    ],
)
def test_29_a_file_outside_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    write_shards(tmp_path, {"a": name}, {})

    assert problems_of(tmp_path) == (
        f"The index names a file outside the folder: '{name}'. Use a copy from a source that you trust.",
    )


def test_29_a_file_that_is_not_safetensors_is_refused(tmp_path: Path) -> None:
    write_shards(tmp_path, {"a": "pytorch_model.bin", "b": 3}, {})

    assert problems_of(tmp_path) == (
        "The index names '3', which is not a .safetensors file. Download the model again.",
        "The index names 'pytorch_model.bin', which is not a .safetensors file. Download the model again.",
    )


def test_30_the_index_wins_over_a_single_file_with_a_warning(tmp_path: Path) -> None:
    write_shards(tmp_path, {"a": FIRST}, {FIRST: ("a",), "model.safetensors": ("a",)}, total_size=8)

    shards = read(tmp_path)

    assert list(shards.headers) == [FIRST]
    assert shards.warnings == (f"model.safetensors is not read: {INDEX} names other files.",)


def test_30_an_index_may_name_the_single_file(tmp_path: Path) -> None:
    write_shards(tmp_path, {"a": "model.safetensors"}, {"model.safetensors": ("a",)}, total_size=8)

    assert read(tmp_path).warnings == ()


def test_31_a_wrong_total_size_is_a_warning(tmp_path: Path) -> None:
    write_shards(tmp_path, {"a": FIRST}, {FIRST: ("a",)}, total_size=1234)

    assert read(tmp_path).warnings == (f"{INDEX} says 1,234 bytes, the files hold 8.",)


def test_32_shards_without_an_index_are_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "mine")
    for name in (FIRST, SECOND):
        (folder / name).write_bytes(float_file("a"))

    assert problems_of(folder) == (
        f"mine has 2 .safetensors files but no {INDEX}, which says how they belong together. Download it too.",
    )


def test_32_a_lone_shard_is_not_taken_for_the_whole_model(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "mine")
    (folder / FIRST).write_bytes(float_file("a"))

    assert problems_of(folder) == (
        f"mine has only {FIRST} of its shards and no {INDEX}, which says what belongs together. Download the rest too.",
    )


def test_33_consolidated_files_alone_are_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "mine", consolidated__safetensors=float_file("a"))

    assert problems_of(folder) == (
        "mine has only consolidated.safetensors, which names its tensors in its publisher's own way. "
        "Use the model's files for transformers, model*.safetensors.",
    )


def test_a_single_file_may_have_any_name(tmp_path: Path) -> None:
    write_folder(tmp_path, weights__safetensors=float_file("a"))

    assert list(read(tmp_path).headers) == ["weights.safetensors"]


@pytest.mark.parametrize("weight_map", [None, [], {}])
def test_an_index_without_a_map_is_refused(tmp_path: Path, weight_map: object) -> None:
    write_shards(tmp_path, weight_map, {})

    assert problems_of(tmp_path) == (f"{INDEX} is not valid: it has no weight_map. Download it again.",)
