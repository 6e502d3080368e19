import json
import math
import random
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blockmerge.checkpoints.safetensors import MAX_HEADER, encode_header, read_header
from blockmerge.core.tensors import DType
from blockmerge.errors import CheckpointError
from tests.checkpoints.raw_files import F32, file_of, float_file, header

FILE = "model-00002-of-00003.safetensors"
AGAIN = "Download it again."

NAMES = st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=20).filter(
    lambda name: "../" not in name and name != "__metadata__"
)
SHAPES = st.lists(st.integers(0, 4), max_size=4).map(tuple)
# The names that the library's numpy writer knows them by.
NUMPY = {
    DType.FLOAT64: "<f8",
    DType.FLOAT32: "<f4",
    DType.FLOAT16: "<f2",
    DType.INT64: "<i8",
    DType.INT32: "<i4",
    DType.INT16: "<i2",
    DType.INT8: "i1",
    DType.UINT64: "<u8",
    DType.UINT32: "<u4",
    DType.UINT16: "<u2",
    DType.UINT8: "u1",
    DType.BOOL: "?",
}
TEXTS = st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
    st.text(st.characters(exclude_categories=["Cs"])),
    max_size=3,
)
reuses_its_folder = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@given(
    tensors=st.dictionaries(NAMES, st.tuples(st.sampled_from(list(NUMPY)), SHAPES), min_size=1, max_size=6),
    metadata=TEXTS,
    seed=st.integers(0, 2**32 - 1),
)
@reuses_its_folder
def test_a_file_that_the_library_wrote_is_read_as_the_library_reads_it(
    tmp_path: Path, tensors: dict[str, tuple[DType, tuple[int, ...]]], metadata: dict[str, str], seed: int
) -> None:
    generator = np.random.default_rng(seed)
    arrays = {
        name: np.frombuffer(generator.bytes(math.prod(shape) * dtype.bits // 8), NUMPY[dtype]).reshape(shape)
        for name, (dtype, shape) in tensors.items()
        if dtype is not DType.BOOL
    } | {name: np.ones(shape, bool) for name, (dtype, shape) in tensors.items() if dtype is DType.BOOL}
    path = tmp_path / "x.safetensors"
    safetensors.numpy.save_file(arrays, path, metadata)

    found = read_header(path)

    content = path.read_bytes()
    with safetensors.safe_open(path, "numpy") as oracle:
        assert found.metadata == (oracle.metadata() or {})
        assert set(found.tensors) == set(oracle.keys())
    assert [tensor.offset for tensor in found.tensors.values()] == sorted(t.offset for t in found.tensors.values())
    for name, tensor in found.tensors.items():
        assert (tensor.name, tensor.dtype, tensor.shape) == (name, *tensors[name])
        assert content[tensor.offset : tensor.offset + tensor.nbytes] == arrays[name].tobytes()
    status = path.stat()
    assert (found.size, found.mtime_ns, found.inode) == (status.st_size, status.st_mtime_ns, status.st_ino)


@given(
    tensors=st.dictionaries(
        NAMES,
        st.tuples(st.sampled_from([dtype for dtype in DType if dtype.bits >= 8]), SHAPES),
        min_size=1,
        max_size=6,
    ),
    metadata=TEXTS,
)
@reuses_its_folder
def test_a_header_that_was_written_is_read_back_by_us_and_by_the_library(
    tmp_path: Path, tensors: dict[str, tuple[DType, tuple[int, ...]]], metadata: dict[str, str]
) -> None:
    raw = encode_header([(name, *kind) for name, kind in tensors.items()], metadata)
    nbytes = sum(math.prod(shape) * dtype.bits // 8 for dtype, shape in tensors.values())
    path = tmp_path / "x.safetensors"
    path.write_bytes(raw + bytes(nbytes))

    found = read_header(path)

    assert list(found.tensors) == list(tensors)
    assert [(t.dtype, t.shape) for t in found.tensors.values()] == list(tensors.values())
    assert found.metadata == metadata
    assert found.data_start == len(raw)
    assert len(raw) % 8 == 0
    with safetensors.safe_open(path, "numpy") as oracle:
        assert set(oracle.keys()) == set(tensors)
        assert (oracle.metadata() or {}) == metadata


def test_a_header_has_the_bytes_that_the_library_writes() -> None:
    arrays = {"a": np.zeros((2, 3), np.float32), "b": np.zeros((), np.float32), "c.ü": np.zeros((0, 7), np.float32)}

    written = encode_header([(name, DType.FLOAT32, array.shape) for name, array in arrays.items()], {"format": "pt"})

    assert safetensors.numpy.save(arrays, {"format": "pt"}) == written + bytes(28)


def entry(dtype: object = "F32", shape: object = (2,), offsets: object = (0, 8)) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


NOT_A_TENSOR = (
    f"'a' in {FILE} is not described as a tensor: dtype, shape and two data_offsets, all of them "
    f"whole numbers from 0, were expected. {AGAIN}"
)


def misnamed(name: str) -> str:
    return f"{FILE} holds a tensor named {name}. A name has 1 to 512 printable characters and no '../'."


REFUSED = {
    "1 empty": (b"", f"{FILE} is empty. {AGAIN}"),
    "2 seven bytes": (bytes(7), f"{FILE} is cut short: 7 bytes are there. {AGAIN}"),
    "3 length 2^63": (
        (2**63).to_bytes(8, "little") + b"{}",
        f"{FILE} is not a safetensors file: its header would have 9,223,372,036,854,775,808 bytes, "
        f"at most 16,000,000 are read. {AGAIN}",
    ),
    "3 one byte over the limit": (
        (MAX_HEADER + 1).to_bytes(8, "little") + b"{}",
        f"{FILE} is not a safetensors file: its header would have 16,000,001 bytes, "
        f"at most 16,000,000 are read. {AGAIN}",
    ),
    "3 a web page": (
        b"<!DOCTYPE html>",
        f"{FILE} is not a safetensors file: its header would have 5,789,751,444,030,890,300 bytes, "
        f"at most 16,000,000 are read. {AGAIN}",
    ),
    "3 a pointer": (
        b"version https://git-lfs.github.com/spec/v1\n",
        f"{FILE} is a Git LFS pointer, not the file itself. Run 'git lfs pull' in its folder.",
    ),
    "4 length beyond the file": (
        (1000).to_bytes(8, "little") + b"{}",
        f"{FILE} is cut short: 10 bytes are there, its header alone has 1,008. {AGAIN}",
    ),
    "5 not UTF-8": (header(b'{"\xff":1}'), f"The header of {FILE} is not valid: byte 2 is not UTF-8."),
    "6 not JSON": (
        header("{a}"),
        f"The header of {FILE} is not valid: expecting property name enclosed in double quotes at line 1, column 2.",
    ),
    "6 a list": (header("[]"), f"The header of {FILE} is not valid: an object in braces was expected, found a list."),
    "8 no tensors": (header("{}"), f"{FILE} holds no tensors. Is this the right file?"),
    "8 metadata only": (header('{"__metadata__":{}}'), f"{FILE} holds no tensors. Is this the right file?"),
    "9 same key, same range": (
        header(f'{{"a":{json.dumps(F32)},"a":{json.dumps(F32)}}}') + bytes(8),
        f"The header of {FILE} is not valid: duplicate key a.",
    ),
    "10 same key, other range": (
        header(f'{{"a":{json.dumps(F32)},"a":{json.dumps(entry(offsets=[8, 16]))}}}') + bytes(16),
        f"The header of {FILE} is not valid: duplicate key a.",
    ),
    "11 overlap": (
        file_of({"a": entry(), "b": entry(offsets=[4, 12])}, 12),
        f"Tensors a and b share bytes in {FILE}. {AGAIN}",
    ),
    "11 same range": (file_of({"a": entry(), "b": entry()}, 8), f"Tensors a and b share bytes in {FILE}. {AGAIN}"),
    "11 an empty one inside": (
        file_of({"a": entry(), "b": entry(shape=[0], offsets=[4, 4])}, 8),
        f"Tensors a and b share bytes in {FILE}. {AGAIN}",
    ),
    "12 hole": (
        file_of({"a": entry(), "b": entry(offsets=[12, 20])}, 20),
        f"{FILE} has a gap before 'b'. {AGAIN}",
    ),
    "12 start not 0": (file_of({"a": entry(offsets=[4, 12])}, 12), f"{FILE} has a gap before 'a'. {AGAIN}"),
    "13 trailing bytes": (float_file("a") + bytes(1234), f"{FILE} has 1,234 bytes after its last tensor. {AGAIN}"),
    "14 truncated": (
        file_of({"a": entry(shape=[1000], offsets=[0, 4000])}, 1234),
        f"{FILE} is cut short: 1,309 of 4,075 bytes are there. {AGAIN}",
    ),
    "15 negative offset": (file_of({"a": entry(offsets=[-8, 0])}, 8), NOT_A_TENSOR),
    "15 offsets turned round": (
        file_of({"a": entry(offsets=[8, 0])}, 8),
        f"'a' in {FILE} has -8 bytes, but its shape [2] in float32 takes 8. {AGAIN}",
    ),
    "15 float offset": (file_of({"a": entry(offsets=[0, 8.0])}, 8), NOT_A_TENSOR),
    "15 true as a size": (file_of({"a": entry(shape=[True], offsets=[0, 4])}, 4), NOT_A_TENSOR),
    "15 NaN offset": (
        file_of({"a": entry(offsets=[0, math.nan])}, 8),
        f"The header of {FILE} is not valid: NaN is not JSON.",
    ),
    "15 three offsets": (file_of({"a": entry(offsets=[0, 4, 8])}, 8), NOT_A_TENSOR),
    "15 no shape": (file_of({"a": {"dtype": "F32", "data_offsets": [0, 8]}}, 8), NOT_A_TENSOR),
    "15 a number": (file_of({"a": 1}, 8), NOT_A_TENSOR),
    "16 shape overflow": (
        file_of({"a": entry(shape=[2**32, 2**32, 2**32], offsets=[0, 0])}, 0),
        f"'a' in {FILE} has an impossible shape. {AGAIN}",
    ),
    "16 a thousand dimensions": (
        file_of({"a": entry(shape=[1] * 1000, offsets=[0, 4])}, 4),
        f"'a' in {FILE} has an impossible shape. {AGAIN}",
    ),
    "16 shape and bytes differ": (
        file_of({"a": entry(shape=[2, 3])}, 8),
        f"'a' in {FILE} has 8 bytes, but its shape [2, 3] in float32 takes 24. {AGAIN}",
    ),
    "16 half a byte": (
        file_of({"a": entry("F4", [3], [0, 1])}, 1),
        f"'a' in {FILE} has 1 bytes, but its shape [3] in float4 takes 2. {AGAIN}",
    ),
    "19 empty but huge": (
        file_of({"a": entry(shape=[0, 2**60], offsets=[0, 0])}, 0),
        f"'a' in {FILE} has an impossible shape. {AGAIN}",
    ),
    "20 unknown dtype": (
        file_of({"a": entry("Q4_K")}, 8),
        f"'a' in {FILE} has the dtype 'Q4_K', which is not known.",
    ),
    "21 metadata is no text": (
        file_of({"__metadata__": {"n": 1}, "a": entry()}, 8),
        f"The header of {FILE} is not valid: __metadata__ may only hold texts.",
    ),
    "21 metadata is a list": (
        file_of({"__metadata__": [], "a": entry()}, 8),
        f"The header of {FILE} is not valid: __metadata__ may only hold texts.",
    ),
    "22 no name": (file_of({"": entry()}, 8), misnamed("''")),
    "22 NUL": (file_of({"a\0": entry()}, 8), misnamed(r"'a\x00'")),
    "22 newline": (file_of({"a\nb": entry()}, 8), misnamed(r"'a\nb'")),
    "22 a path": (file_of({"../a": entry()}, 8), misnamed("'../a'")),
    "22 right to left": (file_of({"a\u202e": entry()}, 8), misnamed(r"'a\u202e'")),
    "22 half a surrogate pair": (file_of({"a\ud800": entry()}, 8), misnamed(r"'a\ud800'")),
    "22 too long": (file_of({"a" * 513: entry()}, 8), misnamed("'" + "a" * 98 + "…")),
}


@pytest.mark.parametrize(("raw", "sentence"), REFUSED.values(), ids=REFUSED.keys())
def test_a_bad_file_is_refused_by_name(tmp_path: Path, raw: bytes, sentence: str) -> None:
    (tmp_path / FILE).write_bytes(raw)

    with pytest.raises(CheckpointError) as caught:
        read_header(tmp_path / FILE)

    assert str(caught.value) == sentence


ACCEPTED = {
    "7 leading space": header(" " + json.dumps({"a": F32})) + bytes(8),
    "17 a single number": file_of({"a": entry(shape=[], offsets=[0, 4])}, 4),
    "18 empty": file_of({"a": entry(shape=[0, 7], offsets=[0, 0])}, 0),
    "22 a name of 512 characters": file_of({"a" * 512: entry()}, 8),
    "23 unknown field": file_of({"a": {**entry(), "colour": "red"}}, 8),
    "24 a bool that is 7": header(json.dumps({"a": entry("BOOL", [1], [0, 1])})) + b"\x07",
    "out of order": file_of({"b": entry(offsets=[8, 16]), "a": entry()}, 16),
}


@pytest.mark.parametrize("raw", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_an_odd_file_is_accepted(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / FILE).write_bytes(raw)

    found = read_header(tmp_path / FILE)

    assert sum(tensor.nbytes for tensor in found.tensors.values()) == found.size - found.data_start
    assert next(iter(found.tensors.values())).file == FILE


def test_tensors_come_in_the_order_of_their_bytes(tmp_path: Path) -> None:
    path = tmp_path / FILE
    empty = entry(shape=[0], offsets=[8, 8])
    path.write_bytes(file_of({"c": entry(offsets=[8, 16]), "b": empty, "a": entry(), "e": empty}, 16))

    assert list(read_header(path).tensors) == ["a", "b", "e", "c"]


def test_files_with_equal_headers_are_each_judged_by_themselves(tmp_path: Path) -> None:
    raw = float_file("a")
    for name in ("one", "other", "cut"):
        (tmp_path / name).write_bytes(raw if name != "cut" else raw[:-1])

    assert {tensor.file for name in ("one", "other") for tensor in read_header(tmp_path / name).tensors.values()} == {
        "one",
        "other",
    }
    with pytest.raises(CheckpointError, match=f"cut is cut short: {len(raw) - 1} of {len(raw)} bytes are there"):
        read_header(tmp_path / "cut")
    (tmp_path / "one").write_bytes(raw[:-1])
    with pytest.raises(CheckpointError, match="one is cut short"):
        read_header(tmp_path / "one")


def test_a_header_bomb_is_refused_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / FILE
    count = 200_001
    path.write_bytes(
        header("{" + ",".join(f'"{i}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}' for i in range(count)) + "}")
    )
    tracemalloc.start()

    with pytest.raises(CheckpointError) as caught:
        read_header(path)

    assert str(caught.value) == (f"The header of {FILE} lists too many tensors: 200,001, at most 200,000 are read.")
    assert tracemalloc.get_traced_memory()[1] < 200e6
    tracemalloc.stop()


def test_mutated_files_raise_nothing_but_checkpoint_errors(tmp_path: Path) -> None:
    good = bytearray(file_of({"__metadata__": {"format": "pt"}, "a": entry(), "b": entry("BF16", [2, 2], [8, 16])}, 16))
    draw = random.Random(0)
    path = tmp_path / FILE
    opened = 0
    for _ in range(3000):
        raw = bytearray(good)
        for _ in range(draw.randint(1, 2)):
            place = draw.randrange(len(raw))
            match draw.randrange(3):
                case 0:
                    raw[place] = draw.randrange(256)
                case 1:
                    del raw[place : place + draw.randint(1, 4)]
                case _:
                    raw[place:place] = draw.choice([b"{", b"[", b'"', b"-", b"1e9", b"\\u0000", b"null", b"0" * 30])
        path.write_bytes(raw)
        try:
            found = read_header(path)
        except CheckpointError:
            continue
        opened += 1
        with safetensors.safe_open(path, "numpy") as oracle:  # what we accept, the library accepts as well
            assert set(found.tensors) == set(oracle.keys())
    assert opened > 20
