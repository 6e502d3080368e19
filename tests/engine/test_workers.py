"""What the numbers of a result are: copies to the bit, and blends against float64."""

import struct
from pathlib import Path

import numpy as np
import pytest

from blockmerge.errors import RunError
from tests.engine.merges import merge, plan_for, put, write_tensors
from tests.engine.oracle import assert_blended, read_raw, read_values, rounded
from tests.tiny_models import CODES, write_llama, write_neox

DTYPES = ("bfloat16", "float16", "float32")
WEIGHTS = {
    "layers": [0.0, 0.25, 0.6, 1.0],
    "attention": [0.0, 0.3, 1.0, 0.45],
    "embeddings": 0.0,
    "final_norm": 1.0,
    "head": 0.125,
    "tensors": {"model.layers.2.mlp.*": -0.5, "model.layers.1.mlp.up_proj.weight": 1.5},
}
# Bit patterns: quiet and signalling NaN, with payload and sign, both Inf, both zeros, the smallest subnormal number.
ODD = {
    "bfloat16": struct.pack("<8H", 0x7FC0, 0x7F81, 0xFFC5, 0x7F80, 0xFF80, 0x8000, 0x0000, 0x0001),
    "float16": struct.pack("<8H", 0x7E00, 0x7C01, 0xFE05, 0x7C00, 0xFC00, 0x8000, 0x0000, 0x0001),
    "float32": struct.pack("<8I", 0x7FC00000, 0x7F800001, 0xFFC00005, 0x7F800000, 0xFF800000, 0x80000000, 0, 1),
}
INF = {"bfloat16": b"\x80\x7f", "float16": b"\x00\x7c", "float32": b"\x00\x00\x80\x7f"}
NORM = "model.norm.weight"


def weight_of(name: str) -> float:
    """What WEIGHTS means for a tensor, said again without blockmerge."""
    row = {"model.embed_tokens.weight": 0.0, NORM: 1.0, "lm_head.weight": 0.125}
    if name in row:
        return row[name]
    layer = int(name.split(".")[2])
    if ".mlp." in name and layer == 2:
        return -0.5
    if name == "model.layers.1.mlp.up_proj.weight":
        return 1.5
    return ([0.0, 0.3, 1.0, 0.45] if ".self_attn." in name else [0.0, 0.25, 0.6, 1.0])[layer]


@pytest.mark.parametrize(
    ("a_dtype", "b_dtype", "wanted"),
    [
        *((dtype, dtype, "as owner") for dtype in DTYPES),
        *(("float32", dtype, "as owner") for dtype in DTYPES[:2]),
        *((dtype, "float32", "as owner") for dtype in DTYPES[:2]),
        ("bfloat16", "float16", "as owner"),
        ("bfloat16", "bfloat16", "float32"),
        ("float32", "float32", "bfloat16"),
        ("float16", "bfloat16", "float16"),
    ],
)
def test_every_tensor_is_what_float64_says(tmp_path: Path, a_dtype: str, b_dtype: str, wanted: str) -> None:
    a = write_llama(tmp_path / "a", dtype=a_dtype)
    b = write_llama(tmp_path / "b", dtype=b_dtype, seed=1)
    dtype = a_dtype if wanted == "as owner" else wanted

    merge(plan_for(a, b, WEIGHTS, dtype=wanted), tmp_path / "out")

    a_values, b_values, results = read_values(a), read_values(b), read_values(tmp_path / "out")
    assert {code for code, _, _ in read_raw(tmp_path / "out").values()} == {CODES[dtype]}
    assert results.keys() == a_values.keys()
    for name, result in results.items():
        weight = weight_of(name)
        if weight in (0, 1):
            chosen = b_values[name] if weight else a_values[name]
            assert np.array_equal(result, rounded(chosen, dtype)), name
        else:
            assert_blended(result, a_values[name], b_values[name], weight, dtype)
            assert not np.array_equal(result, a_values[name])


@pytest.mark.parametrize("dtype", DTYPES)
def test_tensors_of_many_blocks_are_what_float64_says(tmp_path: Path, dtype: str) -> None:
    sizes = {"layers": 2, "hidden": 160, "vocab": 4999}
    a, b = (write_llama(tmp_path / name, dtype=dtype, seed=seed, **sizes) for seed, name in enumerate("ab"))

    merge(plan_for(a, b, 0.3), tmp_path / "out")

    a_values, b_values = read_values(a), read_values(b)
    for name, result in read_values(tmp_path / "out").items():
        assert_blended(result, a_values[name], b_values[name], 0.3, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weight", [0, 1])
def test_all_zero_is_a_and_all_one_is_b_to_the_byte(tmp_path: Path, dtype: str, weight: int) -> None:
    a, b = write_llama(tmp_path / "a", dtype=dtype), write_llama(tmp_path / "b", dtype=dtype, seed=1)
    put(a, NORM, ODD[dtype])
    put(b, NORM, ODD[dtype][::-1])

    result = merge(plan_for(a, b, weight), tmp_path / "out")

    assert read_raw(tmp_path / "out") == read_raw(b if weight else a)
    assert result.warnings == ()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weight", [0.3, 0.8, 1.6])
def test_a_model_merged_with_itself_is_itself_nan_and_inf_included(tmp_path: Path, dtype: str, weight: float) -> None:
    a, twin = write_llama(tmp_path / "a", dtype=dtype), write_llama(tmp_path / "twin", dtype=dtype)
    for folder in (a, twin):
        put(folder, NORM, ODD[dtype])

    result = merge(plan_for(a, twin, weight), tmp_path / "out")

    assert read_raw(tmp_path / "out") == read_raw(a)
    assert result.warnings == ()


@pytest.mark.parametrize("dtype", DTYPES)
def test_inf_in_one_model_is_refused_between_the_ends_and_leaves_nothing(tmp_path: Path, dtype: str) -> None:
    a, b = write_llama(tmp_path / "a", dtype=dtype), write_llama(tmp_path / "b", dtype=dtype, seed=1)
    put(a, NORM, 2 * INF[dtype])

    with pytest.raises(RunError) as caught:
        merge(plan_for(a, b, 0.5), tmp_path / "out")

    assert caught.value.problems == (
        f"{NORM} of a holds 2 NaN or Inf values.",
        "Leave that model out there, with a weight that copies another, or write 'nonfinite: warn' under output to "
        "keep them.",
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_inf_is_kept_with_a_warning_where_the_recipe_says_so(tmp_path: Path) -> None:
    a, b = write_llama(tmp_path / "a", dtype="float32"), write_llama(tmp_path / "b", dtype="float32", seed=1)
    put(a, NORM, np.array([np.inf, np.inf, -np.inf], "<f4").tobytes())
    put(b, NORM, np.array([np.inf, -np.inf, 1], "<f4").tobytes())

    result = merge(plan_for(a, b, 0.5, nonfinite="warn"), tmp_path / "out")

    # The first Inf is the same in both, so it is copied; the second has no middle; the third stays what it is.
    assert result.warnings == (f"{NORM} of a holds 2 NaN or Inf values.", f"{NORM} of b holds 1 NaN or Inf value.")
    head = read_values(tmp_path / "out")[NORM][:3]
    assert np.array_equal(head, [np.inf, np.nan, -np.inf], equal_nan=True)


@pytest.mark.parametrize("weight", [0, 0.5, 1])
def test_a_number_too_large_for_the_output_dtype_is_refused(tmp_path: Path, weight: float) -> None:
    a, b = write_llama(tmp_path / "a", dtype="float32"), write_llama(tmp_path / "b", dtype="float32", seed=1)
    for folder in (a, b):
        put(folder, NORM, np.array([1e6, np.inf], "<f4").tobytes())

    with pytest.raises(RunError) as caught:
        merge(plan_for(a, b, weight, dtype="float16"), tmp_path / "out")

    assert caught.value.problems == (
        f"{NORM}: 1 of 32 values does not fit float16.",
        "Choose 'dtype: bfloat16' or float32 under output, other weights, or write 'nonfinite: warn' under output to "
        "keep them.",
    )


@pytest.mark.parametrize("weight", [0, 0.5, 1])
def test_numbers_too_small_for_float16_become_zero_with_one_warning(tmp_path: Path, weight: float) -> None:
    a, b = write_llama(tmp_path / "a", dtype="bfloat16"), write_llama(tmp_path / "b", dtype="bfloat16", seed=1)
    for folder in (a, b):
        values = np.linspace(0.5, 1, 32).astype("<f4")
        values[:4] = 1e-9, 1e-9, 0, -1e-9  # which is less than half of the smallest float16
        put(folder, NORM, (values.view("<u4") >> 16).astype("<u2").tobytes())
    others = {"model.embed_tokens.weight": 0.0, "model.layers.*": 0.0, "lm_head.weight": 0.0}
    values = read_values(a)
    small = {name: int(((own != 0) & (own.astype("<f2") == 0)).sum()) for name, own in values.items()}
    assert {name: count for name, count in small.items() if count} == {NORM: 3}

    result = merge(plan_for(a, b, {"layers": weight, "tensors": others}, dtype="float16"), tmp_path / "out")

    assert result.warnings == (
        f"{NORM}: 3 values became 0, as they are too small for float16. "
        "Choose 'dtype: bfloat16' or float32 to keep them.",
    )
    assert read_values(tmp_path / "out")[NORM][:4].tolist() == [0.0] * 4


def test_whole_numbers_and_empty_tensors_are_carried_along(tmp_path: Path) -> None:
    a, b = write_llama(tmp_path / "a"), write_llama(tmp_path / "b", seed=1)
    for folder in (a, b):
        extra = {
            "model.embed_tokens.counts": ("I64", (2,), struct.pack("<2q", 7, -(2**62))),
            "model.layers.0.self_attn.flags": ("BOOL", (3,), bytes([1, 1, 0])),
            "model.layers.0.self_attn.nothing": ("BF16", (0, 32), b""),
            "model.layers.1.mlp.scalar": ("BF16", (), b"\x80\x3f"),
        }
        write_tensors(folder, {**extra, **read_raw(folder)})

    merge(plan_for(a, b, 0.5), tmp_path / "out")

    result, own = read_raw(tmp_path / "out"), read_raw(a)
    assert result.keys() == own.keys()
    for name in list(own)[:4]:
        assert result[name] == own[name]


def test_the_buffers_of_neox_are_copied_and_not_made_nan(tmp_path: Path) -> None:
    a, b = write_neox(tmp_path / "a"), write_neox(tmp_path / "b", seed=1)

    result = merge(plan_for(a, b, 0.5), tmp_path / "out")

    mask = "gpt_neox.layers.0.attention.masked_bias"
    assert read_raw(tmp_path / "out")[mask] == ("F16", (), struct.pack("<H", 0xFC00))
    assert result.warnings == ()
