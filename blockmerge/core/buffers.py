"""Numbers that code keeps beside the weights: computed from the config, never learned, so never averaged."""

from blockmerge.core.tensors import TensorSpec

_BUFFERS = ("rotary_emb.inv_freq", "masked_bias", "position_ids", "num_batches_tracked", "relative_position_index")
# GPT-2's and GPT-NeoX's causal masks have four dimensions; the bias of a Linear of the same name has one.
_MASKS = ("attn.bias", "attention.bias")


def is_buffer(tensor: TensorSpec) -> bool:
    return tensor.name.endswith(_BUFFERS) or (tensor.name.endswith(_MASKS) and len(tensor.shape) == 4)
