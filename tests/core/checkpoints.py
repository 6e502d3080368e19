"""Checkpoints put together from names and shapes alone, as the core sees them."""

from collections.abc import Mapping
from pathlib import Path

from blockmerge.core.tensors import Checkpoint, DType, TensorSpec
from blockmerge.core.vocabulary import Vocabulary

Shapes = Mapping[str, tuple[int, ...]]


def checkpoint_of(
    shapes: Shapes,
    config: Mapping[str, object] | None = None,
    *,
    dtypes: Mapping[str, DType] | None = None,
    vocabulary: Vocabulary | None = None,
    integers: Mapping[str, str] | None = None,
) -> Checkpoint:
    """Float32 unless `dtypes` says otherwise; all tensors lie in one file without gaps. All tokenizers are equal."""
    tensors: dict[str, TensorSpec] = {}
    offset = 0
    for name, shape in shapes.items():
        tensors[name] = TensorSpec(name, (dtypes or {}).get(name, DType.FLOAT32), shape, "model.safetensors", offset)
        offset += tensors[name].nbytes
    return Checkpoint(
        folder=Path("model"),
        config=config or {},
        tensors=tensors,
        shards=(),
        side_files=(),
        skipped=(),
        header_digest="",
        vocabulary=vocabulary or Vocabulary("one digest for all"),
        integers=integers or {},
    )


def renamed(shapes: Shapes, *changes: tuple[str, str]) -> dict[str, tuple[int, ...]]:
    """The same shapes with a prefix exchanged, for each change in turn."""
    names = list(shapes)
    for old, new in changes:
        names = [new + name.removeprefix(old) if name.startswith(old) else name for name in names]
    return dict(zip(names, shapes.values(), strict=True))


def layers(prefix: str, count: int = 3, width: int = 8) -> dict[str, tuple[int, ...]]:
    """A stack with attention, MLP and a norm in each layer."""
    return {
        f"{prefix}.{layer}.{name}": shape
        for layer in range(count)
        for name, shape in {
            "attention.query.weight": (width, width),
            "attention.query.bias": (width,),
            "mlp.up_proj.weight": (2 * width, width),
            "LayerNorm.weight": (width,),
            "LayerNorm.bias": (width,),
        }.items()
    }
