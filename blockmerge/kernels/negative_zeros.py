"""-0.0 where every input has it, so that a model merged with itself is itself to the bit."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

_BITS: Mapping[torch.dtype, torch.dtype] = {
    torch.float32: torch.int32,
    torch.float16: torch.int16,
    torch.bfloat16: torch.int16,
}


def find_negative_zeros(inputs: Sequence[Tensor]) -> Tensor | None:
    """Where all of these tensors of one dtype are -0.0; None where the first never is."""
    bits = _BITS[inputs[0].dtype]
    first, negative_zero = inputs[0].view(bits), torch.iinfo(bits).min
    # Read as a whole number -0.0 is the smallest of all: looking for it costs a twentieth of a blend. numpy finds the
    # smallest of 16-bit numbers in half of torch's time.
    if first.numel() == 0 or (first.numpy().min() if first.is_cpu else first.amin()) != negative_zero:
        return None
    everywhere = first == negative_zero
    for tensor in inputs[1:]:
        everywhere = everywhere & (tensor.view(bits) == negative_zero)
    return everywhere


def put_negative_zeros(result: Tensor, everywhere: Tensor | None) -> None:
    """Change the result to -0.0 where `find_negative_zeros` found that all inputs are.

    Most formulas make 0.0 of them: a + w × (b − a), where b − a is 0.0.
    """
    if everywhere is not None:
        result.masked_fill_(everywhere, -0.0)
