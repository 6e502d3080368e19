"""Random numbers from a counter: each depends on a key and on its element's index, and on nothing else.

So a mask is the same for any chunk size, thread count, order and device. The mixer is MurmurHash3's 32-bit finaliser
(Appleby 2011, public domain), twice, with one half of the key before each.
"""

import hashlib

import torch
from torch import Tensor

_WORD = 1 << 32


def key_of(seed: int, model: str, tensor: str) -> int:
    """The 64-bit key of one tensor of one model."""
    text = f"{seed}\0{model}\0{tensor}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def uniform(key: int, start: int, count: int, device: torch.device | None = None) -> Tensor:
    """`count` float32 numbers from 0 up to, not including, 1, all multiples of 2⁻²⁴: elements `start` and on."""
    high, first = divmod(start, _WORD)
    if first + count > _WORD:
        split = _WORD - first
        return torch.cat([uniform(key, start, split, device), uniform(key, start + split, count - split, device)])
    words = torch.arange(count, dtype=torch.int32, device=device)
    words.add_(_signed(first)).bitwise_xor_(_signed(key % _WORD))
    _mix(words)
    words.add_(_signed((key // _WORD + 0x9E3779B9 * high) % _WORD))
    _mix(words)
    return words.bitwise_right_shift_(8).bitwise_and_(0xFFFFFF).to(torch.float32).mul_(2.0**-24)


def _mix(words: Tensor) -> None:
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1)):
        # int32 shifts copy the sign: what comes in from the left is masked away.
        words.bitwise_xor_((words >> shift).bitwise_and_(_signed(_WORD - 1 >> shift)))
        if factor != 1:
            words.mul_(_signed(factor))


def _signed(word: int) -> int:
    return word - _WORD if word >= _WORD // 2 else word
