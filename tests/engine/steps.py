"""How far two results are apart, in steps of their dtype: 1 from a number to the next one that the dtype has."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.engine.oracle import read_raw, read_values

_WHOLE = {"F32": np.int32, "F16": np.int16, "BF16": np.int16}


def steps_apart(one: Path, other: Path) -> NDArray[np.int64]:
    """For every number of all tensors, in the order of their names."""
    return np.concatenate([np.abs(mine - theirs) for mine, theirs in _both(one, other)])


def _both(one: Path, other: Path) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    mine, theirs = read_raw(one), read_raw(other)
    assert mine.keys() == theirs.keys()
    return [(_places(*mine[name]), _places(*theirs[name])) for name in sorted(mine)]


def _places(code: str, _: object, raw: bytes) -> NDArray[np.int64]:
    """Where each number stands among all that the dtype has, 0 in the middle."""
    bits = np.frombuffer(raw, dtype=_WHOLE[code]).astype(np.int64)
    lowest = int(np.iinfo(_WHOLE[code]).min)
    return np.where(bits < 0, lowest - bits, bits)


def far_apart(one: Path, other: Path) -> float:
    """Which part of all numbers is more than a step apart, and more than 2⁻¹⁸ of their tensor's largest number: where
    numbers cancel out, what is left of them has far smaller steps than float32 had before.
    """
    mine, theirs = read_values(one), read_values(other)
    steps = {name: np.abs(a - b) for name, (a, b) in zip(sorted(mine), _both(one, other), strict=True)}
    far = [
        (steps[name].ravel() > 1) & (np.abs(mine[name] - theirs[name]).ravel() > 2.0**-18 * np.abs(mine[name]).max())
        for name in steps
    ]
    return float(np.concatenate(far).mean())
