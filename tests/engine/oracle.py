"""The linear blend in float64, and what a float32 computation that is rounded once may differ from it.

The exact result is e = a + w × (b − a). float32 makes of it some f with |f − e| ≤ δ: the difference, the weight and the
sum are each rounded, by 2⁻²⁴ of something that |a| + |b| bounds up to a small factor. Rounding is monotone, so what is
written lies between e − δ and e + δ, both rounded to the output dtype. For bfloat16 and float16, where δ is a tiny
part of a step, this is e rounded once, unless e lies within δ of the middle between two numbers of the dtype.
"""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

# 2⁻²⁴ × (|c| + 1 + |f| / m), c the coefficient, m = |a| + |b|: at most 2 + 1 + 3 for weights from −1 to 2, and one
# rounding more where a processor multiplies and adds in two steps.
_RELATIVE = 2.0**-21
_SMALLEST = 2.0**-149  # float32's own step around 0


def exact(a: Float64, b: Float64, weight: float) -> Float64:
    return a + weight * (b - a)


def rounded(values: Float64, dtype: str) -> Float64:
    """To nearest, ties to even, from float64 in one step; what lies beyond the dtype is Inf."""
    if dtype != "bfloat16":
        with np.errstate(over="ignore"):
            return values.astype(dtype).astype(np.float64)
    exponent = np.maximum(np.frexp(values)[1], -125)
    step = np.ldexp(1.0, exponent - 8)  # bfloat16 has 8 bits of mantissa, the first of them unwritten
    return np.asarray(np.rint(values / step) * step)


def assert_blended(result: Float64, a: Float64, b: Float64, weight: float, dtype: str) -> None:
    """`result` is a + weight × (b − a), computed in float32 and rounded once to `dtype`."""
    wanted = exact(a, b, weight)
    slack = _RELATIVE * (np.abs(a) + np.abs(b)) + _SMALLEST
    assert np.all(rounded(wanted - slack, dtype) <= result)
    assert np.all(result <= rounded(wanted + slack, dtype))


def read_raw(folder: Path) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """(dtype's code, shape, bytes) of every tensor in a folder, by a reader that shares nothing with blockmerge's."""
    tensors = {}
    for path in sorted(folder.glob("*.safetensors")):
        raw = path.read_bytes()
        start = 8 + int.from_bytes(raw[:8], "little")
        for name, entry in json.loads(raw[8:start]).items():
            if name != "__metadata__":
                begin, end = entry["data_offsets"]
                tensors[name] = (entry["dtype"], tuple(entry["shape"]), raw[start + begin : start + end])
    return tensors


def decoded(code: str, raw: bytes) -> Float64:
    if code == "BF16":
        return (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    return np.frombuffer(raw, {"F16": "<f2", "F32": "<f4"}[code]).astype(np.float64)


def read_values(folder: Path) -> dict[str, Float64]:
    """Every tensor of a folder as one row of float64 numbers."""
    return {name: decoded(code, raw) for name, (code, _, raw) in read_raw(folder).items()}
