import hashlib
import json
import random
from pathlib import Path

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from blockmerge.checkpoints.files import opened
from blockmerge.checkpoints.manifest import (
    FileEntry,
    Manifest,
    TensorEntry,
    block_digest,
    read_digest,
    read_manifest,
    result_digest,
    tensor_digest,
    write_manifest,
)
from blockmerge.core.tensors import DType
from blockmerge.errors import VerifyError
from tests.checkpoints.planned import digest_of

ENTRIES = st.dictionaries(
    st.text(st.characters(categories=["L", "N"]), min_size=1),
    st.builds(
        TensorEntry,
        st.sampled_from(DType),
        st.lists(st.integers(0, 2**40), max_size=4).map(tuple),
        st.binary(min_size=16, max_size=16).map(bytes.hex),
    ),
    max_size=8,
)


def write(folder: Path, **changes: object) -> Path:
    """A manifest of one tensor, with keys replaced or, for None, left out."""
    entry = TensorEntry(DType.FLOAT32, (2,), "00")
    write_manifest(folder, Manifest("0.1", "recipe", "2.13", "x86_64", {"w": entry}))
    path = folder / "blockmerge.json"
    value = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: entry for key, entry in value.items() if entry is not None}))
    return folder


def problem_of(folder: Path) -> str:
    with pytest.raises(VerifyError) as caught:
        read_manifest(folder)
    return str(caught.value)


def test_every_tensor_has_a_line_whatever_its_name_holds(tmp_path: Path) -> None:
    names = ['}, "', '"}, "a": {"', "\\", "}, '", "\u00e9"]
    entries = {name: TensorEntry(DType.FLOAT32, (number,), f"0{number}") for number, name in enumerate(names)}

    write_manifest(tmp_path, Manifest("0.1", "recipe", "2.13", "x86_64", entries))

    assert read_manifest(tmp_path).tensors == entries
    lines = (tmp_path / "blockmerge.json").read_text().splitlines()
    assert [line.split("{")[-1][:15] for line in lines[-7:-2]] == ['"dtype": "F32",'] * 5


def test_digests_are_those_of_the_documented_definition() -> None:
    # Golden: a result of this version must keep its digest in every later one.
    assert tensor_digest([]) == "99aa06d3014798d86001c324468d497f"
    assert tensor_digest([block_digest(b"a" * 2**20), block_digest(b"b")]) == "96d6ea7eb7b235fc9e6ce8105b0a9ebc"
    entries = {
        "b": TensorEntry(DType.BFLOAT16, (2, 3), "11"),
        "a": TensorEntry(DType.FLOAT32, (), "22"),
    }
    assert (
        result_digest(entries)
        == xxhash.xxh3_128_hexdigest(b"a F32 [] 22\nb BF16 [2,3] 11\n")
        == "8a6f6737163e71d96443b770c7bb5beb"
    )


@pytest.mark.parametrize("size", [0, 1, 2**20 - 1, 2**20, 2**20 + 1, 3 * 2**20 + 5])
def test_blocks_may_be_digested_in_any_order(tmp_path: Path, size: int) -> None:
    data = random.Random(size).randbytes(size)
    blocks = list(range(0, size, 2**20))
    random.Random(0).shuffle(blocks)
    digests = {start: block_digest(data[start : start + 2**20]) for start in blocks}
    (tmp_path / "x").write_bytes(b"before" + data + b"after")

    with opened(tmp_path / "x") as fd:
        read = read_digest(fd, 6, size)

    assert tensor_digest(digests[start] for start in sorted(digests)) == read == digest_of(data)


@given(entries=ENTRIES, seed=st.integers())
def test_the_result_digest_does_not_depend_on_the_order(entries: dict[str, TensorEntry], seed: int) -> None:
    names = list(entries)
    random.Random(seed).shuffle(names)

    assert result_digest({name: entries[name] for name in names}) == result_digest(entries)


def test_the_result_digest_sees_name_dtype_shape_and_bytes() -> None:
    entry = TensorEntry(DType.FLOAT32, (2, 3), "11")
    variants = [
        {"a": entry},
        {"b": entry},
        {"a": TensorEntry(DType.INT32, (2, 3), "11")},
        {"a": TensorEntry(DType.FLOAT32, (3, 2), "11")},
        {"a": TensorEntry(DType.FLOAT32, (2, 3), "12")},
        {},
    ]

    assert len({result_digest(variant) for variant in variants}) == len(variants)


def test_a_manifest_is_read_back_with_the_files_of_its_folder(tmp_path: Path) -> None:
    tensors = {"b": TensorEntry(DType.BFLOAT16, (2, 3), "11"), "a": TensorEntry(DType.FLOAT32, (), "22")}
    manifest = Manifest("0.1", "method: linear\n# é\n", "2.13.0", "x86_64 AVX2", tensors)
    (tmp_path / "sub").mkdir()
    (tmp_path / ".cache").mkdir()
    contents = {"config.json": b"{}", "sub/blockmerge.json": b"", ".lock": b"", ".cache/x": b"", "m.safetensors": b"12"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)

    write_manifest(tmp_path, manifest)
    found = read_manifest(tmp_path)

    assert found.files == {
        "config.json": FileEntry(2, digest_of(b"{}")),
        "m.safetensors": FileEntry(2),
        "sub/blockmerge.json": FileEntry(0, digest_of(b"")),
    }
    assert (found.version, found.recipe, found.torch) == (manifest.version, manifest.recipe, manifest.torch)
    assert (found.processor, found.tensors) == (manifest.processor, manifest.tensors)
    assert found.result_digest == manifest.result_digest


def test_equal_manifests_have_equal_bytes(tmp_path: Path) -> None:
    digests = set()
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        digests.add(hashlib.sha256((write(tmp_path / name) / "blockmerge.json").read_bytes()).hexdigest())

    assert len(digests) == 1


def test_a_folder_without_a_manifest_is_no_result(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()

    assert problem_of(folder) == "mine has no blockmerge.json, so it is no finished result of blockmerge."


def test_a_manifest_that_is_not_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "blockmerge.json").write_text('{"a": 1, "a": 2}')

    assert problem_of(tmp_path) == "blockmerge.json is not valid: duplicate key a."


def test_a_manifest_of_a_later_format_is_refused(tmp_path: Path) -> None:
    assert problem_of(write(tmp_path, blockmerge=2)) == (
        "blockmerge.json is of the format '2', this version reads 1. Use a newer blockmerge."
    )


@pytest.mark.parametrize("key", ["version", "recipe", "torch", "processor", "files", "tensors"])
def test_a_manifest_that_lacks_a_key_is_refused(tmp_path: Path, key: str) -> None:
    assert problem_of(write(tmp_path, **{key: None})) == (
        "blockmerge.json lacks what every manifest says: version, recipe, torch, processor, files, tensors."
    )


@pytest.mark.parametrize(
    "entry", [3, {"dtype": "Q4", "shape": [], "digest": ""}, {"dtype": "F32", "shape": ["2"], "digest": ""}]
)
def test_a_tensor_that_is_not_described_is_named(tmp_path: Path, entry: object) -> None:
    assert problem_of(write(tmp_path, tensors={"w": entry})) == (
        "blockmerge.json does not describe the tensor 'w': dtype, shape and digest were expected."
    )


def test_a_file_that_is_not_described_is_named(tmp_path: Path) -> None:
    assert problem_of(write(tmp_path, files={"x": {"size": "2"}})) == (
        "blockmerge.json does not describe the file 'x': its size was expected."
    )


def test_a_manifest_whose_tensors_were_changed_is_refused(tmp_path: Path) -> None:
    changed = {"w": {"dtype": "F32", "shape": [2], "digest": "01"}}

    assert problem_of(write(tmp_path, tensors=changed)) == (
        "blockmerge.json was changed: its result digest is not that of its tensors. Merge again."
    )
