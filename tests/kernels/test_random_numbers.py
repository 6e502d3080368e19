import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from blockmerge.kernels.random_numbers import key_of, uniform

KEYS = st.integers(0, 2**64 - 1)
STARTS = st.one_of(st.integers(0, 2**20), st.integers(2**32 - 20, 2**32 + 20), st.integers(0, 2**48))


def mixed(words: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """MurmurHash3's finaliser in numpy's unsigned numbers."""
    words = (words ^ (words >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    words = (words ^ (words >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return words ^ (words >> np.uint32(16))


def expected(key: int, start: int, count: int) -> NDArray[np.float32]:
    index = np.arange(start, start + count, dtype=np.uint64)
    low, high = (index & 0xFFFFFFFF).astype(np.uint32), (index >> np.uint64(32)).astype(np.uint32)
    words = mixed(low ^ np.uint32(key & 0xFFFFFFFF))
    words = mixed(words + np.uint32(key >> 32) + high * np.uint32(0x9E3779B9))
    return ((words >> np.uint32(8)) * np.float64(2.0**-24)).astype(np.float32)


@given(key=KEYS, start=STARTS)
def test_the_numbers_are_those_of_the_mixer(key: int, start: int) -> None:
    assert uniform(key, start, 37).tolist() == expected(key, start, 37).tolist()


@given(key=KEYS, start=STARTS, cut=st.integers(0, 50))
def test_a_cut_changes_nothing(key: int, start: int, cut: int) -> None:
    halves = [uniform(key, start, cut), uniform(key, start + cut, 50 - cut)]

    assert torch.equal(torch.cat(halves), uniform(key, start, 50))


def test_the_first_numbers_of_a_key_never_change() -> None:
    key = key_of(0, "a", "model.layers.0.mlp.up_proj.weight")

    assert key == 0x7D22F7DC5DE56461
    assert [int(number * 2**24) for number in uniform(key, 0, 4)] == [12758572, 3704692, 15219503, 11368828]


def test_they_are_uniform_and_independent_of_neighbours_tensors_and_models() -> None:
    count = 1 << 20
    numbers = [uniform(key_of(0, model, tensor), 0, count) for model in "ab" for tensor in ("x", "y")]

    for own in numbers:
        # Five standard deviations of the mean, and of a bin's count.
        assert abs(float(own.mean()) - 0.5) < 5 / (12 * count) ** 0.5
        bins = torch.histc(own, 256, 0, 1)
        assert float((bins - count / 256).abs().max()) < 5 * (count / 256) ** 0.5
        assert abs(float(torch.corrcoef(torch.stack([own[:-1], own[1:]]))[0, 1])) < 5 / count**0.5
    correlations = torch.corrcoef(torch.stack(numbers)) - torch.eye(4)
    assert float(correlations.abs().max()) < 5 / count**0.5
