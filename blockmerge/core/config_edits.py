"""What of the owner's config a merge changes: what the plan decided otherwise, and nothing else."""

from collections.abc import Container, Iterator, Mapping

from blockmerge.core.tensors import Checkpoint

_DTYPES = ("dtype", "torch_dtype")
_TOKEN_IDS = ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id", "unk_token_id", "sep_token_id")

Config = Mapping[str, object]


def edit_config(owner: Checkpoint, dtype: str, tie: bool | None, giver: Checkpoint | None) -> dict[str, object]:
    """The keys to replace; None removes one.

    `dtype` is "as owner" or a name; `tie` is None where tying stays as it is; `giver` is set where the vocabulary, its
    size and its special tokens are another model's than the owner's.
    """
    edited = dict(_edited(owner.config, dtype, tie, giver.config if giver else None))
    if "auto_map" in owner.config:
        edited["auto_map"] = None  # it names code files, and these are never carried along
    if dtype != "as owner" and not _has(owner.config, _DTYPES):
        edited["dtype"] = dtype
    if tie is not None and not _has(owner.config, ("tie_word_embeddings",)):
        edited["tie_word_embeddings"] = tie
    return edited


def _has(config: Config, keys: Container[str]) -> bool:
    """Here or in a part of it, such as text_config: a key is edited where it stands, never written a second time."""
    return any(key in keys or (isinstance(value, Mapping) and _has(value, keys)) for key, value in config.items())


def _edited(config: Config, dtype: str, tie: bool | None, giver: Config | None) -> Iterator[tuple[str, object]]:
    """The changed entries of one config; of a part inside it, such as text_config, the whole part."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            part = giver.get(key) if giver is not None else None
            inner = dict(_edited(value, dtype, tie, part if isinstance(part, Mapping) else None))
            if inner and key != "quantization_config":
                yield key, {**value, **inner}
        elif key in _DTYPES and dtype != "as owner" and value is not None and value != dtype:
            yield key, dtype
        elif key == "tie_word_embeddings" and tie is not None and value is not tie:
            yield key, tie
        elif giver is not None and (key == "vocab_size" or key in _TOKEN_IDS) and giver.get(key) not in (None, value):
            yield key, giver[key]
