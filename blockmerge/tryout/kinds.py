"""What a model can be asked, told from its config alone."""

from enum import StrEnum

from blockmerge.core.tensors import Checkpoint
from blockmerge.errors import TryError


class Kind(StrEnum):
    WRITER = "writer"  # goes on with a text
    FILLER = "filler"  # fills a gap in a sentence
    READER = "reader"  # says how alike two sentences are


_ENDINGS = {
    "ForCausalLM": Kind.WRITER,
    "LMHeadModel": Kind.WRITER,
    "ForConditionalGeneration": Kind.WRITER,
    "ForMaskedLM": Kind.FILLER,
    "Model": Kind.READER,
}


def kind_of(checkpoint: Checkpoint) -> Kind:
    """Raises TryError for a model that can neither write, fill nor compare, or whose files cannot be trusted."""
    architecture = architecture_of(checkpoint)
    kind = next((kind for ending, kind in _ENDINGS.items() if architecture.endswith(ending)), None)
    if kind is None:
        raise TryError(
            f"{checkpoint.name} is a {architecture or 'model without a stated architecture'}, "
            "which has nothing to say in words. It can be merged, but not tried here."
        )
    pickled = [shard.name for shard in checkpoint.shards if not shard.name.endswith(".safetensors")]
    if pickled:
        raise TryError(
            f"{checkpoint.name} has its weights in {pickled[0]}. It can be merged, but only models in "
            "safetensors files are loaded here. Save it in transformers with save_pretrained to try it."
        )
    return kind


def architecture_of(checkpoint: Checkpoint) -> str:
    named = checkpoint.config.get("architectures")
    first = named[0] if isinstance(named, list) and named else ""
    return first if isinstance(first, str) and first.isidentifier() else ""
