"""What a checkpoint is, as far as its headers tell: names, shapes, dtypes and where the bytes lie."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from pathlib import Path

from blockmerge.core.detection import detect_layout
from blockmerge.core.hub_reference import HubReference
from blockmerge.core.layout import Layout
from blockmerge.core.vocabulary import Vocabulary


class DType(Enum):
    """A safetensors dtype: its name in the file, its width in bits, and the name people know it by."""

    FLOAT64 = ("F64", 64, "float64")
    FLOAT32 = ("F32", 32, "float32")
    FLOAT16 = ("F16", 16, "float16")
    BFLOAT16 = ("BF16", 16, "bfloat16")
    FLOAT8_E4M3 = ("F8_E4M3", 8, "float8_e4m3")
    FLOAT8_E5M2 = ("F8_E5M2", 8, "float8_e5m2")
    FLOAT8_E8M0 = ("F8_E8M0", 8, "float8_e8m0")
    FLOAT4 = ("F4", 4, "float4")
    COMPLEX64 = ("C64", 64, "complex64")
    INT64 = ("I64", 64, "int64")
    INT32 = ("I32", 32, "int32")
    INT16 = ("I16", 16, "int16")
    INT8 = ("I8", 8, "int8")
    UINT64 = ("U64", 64, "uint64")
    UINT32 = ("U32", 32, "uint32")
    UINT16 = ("U16", 16, "uint16")
    UINT8 = ("U8", 8, "uint8")
    BOOL = ("BOOL", 8, "bool")

    def __init__(self, code: str, bits: int, label: str) -> None:
        self.code = code
        self.bits = bits
        self.label = label
        # Values, not properties: asked of every tensor of a plan, several times.
        self.can_blend = code in ("F32", "F16", "BF16")
        self.is_integer = code[0] in "IU" or code == "BOOL"


HEADERS_ONLY = ".headers-only"  # the file that marks a folder whose weight files hold no more than their headers

DTYPE_BY_CODE: Mapping[str, DType] = {dtype.code: dtype for dtype in DType}


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One tensor of one file. `offset` counts bytes from the start of the file, header included."""

    name: str
    dtype: DType
    shape: tuple[int, ...]
    file: str
    offset: int

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.elements * self.dtype.bits // 8


@dataclass(frozen=True, slots=True)
class ShardFile:
    """A weight file as it was when its header was read; a change of size, mtime or inode means another file.

    `whole` where its tensors cannot be read from a place in the file: an old `.bin` is unpacked before a merge.
    """

    name: str
    size: int
    mtime_ns: int
    inode: int
    whole: bool = False


@dataclass(frozen=True, slots=True)
class SideFile:
    """A file of a checkpoint that is not weights; `name` is its path relative to the folder, with forward slashes."""

    name: str
    size: int


@dataclass(frozen=True)  # without slots, so that it can keep what was found once
class Checkpoint:
    """A folder with config and weights, known by its headers alone.

    `tensors` is in file order: by shard name, then by offset. `header_digest` is the SHA-256 (hex) of all
    tensor names, dtypes, shapes and offsets. `skipped` lists files that a result will not carry, each with the reason.
    `integers` has a digest of the bytes of each small tensor of whole numbers: these are compared, never averaged.
    `origin` is the commit on the Hub that it comes from. Where `is_headers_only`, the folder's weight files hold their
    headers and nothing behind them: enough for a plan, not for a merge.
    `samples` has one of the first bytes of each matrix that a tied config may mean to be a copy of another.
    `licence` is what the Hub was told of it; None where nothing is known.
    """

    folder: Path
    config: Mapping[str, object]
    tensors: Mapping[str, TensorSpec]
    shards: tuple[ShardFile, ...]
    side_files: tuple[SideFile, ...]
    skipped: tuple[tuple[str, str], ...]
    header_digest: str
    warnings: tuple[str, ...] = ()
    vocabulary: Vocabulary = field(default_factory=Vocabulary)
    integers: Mapping[str, str] = field(default_factory=dict)
    origin: HubReference | None = None
    is_headers_only: bool = False
    samples: Mapping[str, str] = field(default_factory=dict)
    licence: str | None = None

    @cached_property
    def layout(self) -> Layout:
        """Found when somebody asks for it first. Raises CheckpointError where there are no layers."""
        return detect_layout(self.shapes, self.config)

    def layout_beside(self, owner: "Checkpoint") -> Layout:
        """Equal names of equal shapes are laid out alike, whatever the configs say."""
        return owner.layout if self.shapes == owner.shapes else self.layout

    @cached_property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        return {name: tensor.shape for name, tensor in self.tensors.items()}

    @property
    def name(self) -> str:
        return self.origin.repository if self.origin else self.folder.name

    @property
    def identity(self) -> str:
        """What tells it from every other checkpoint, wherever it lies; canonical recipes name it so."""
        return str(self.origin) if self.origin else f"{self.name}@{self.header_digest}"

    @property
    def model_type(self) -> str:
        return str(self.config.get("model_type", "unknown"))

    @property
    def elements(self) -> int:
        return sum(tensor.elements for tensor in self.tensors.values())

    @property
    def nbytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.tensors.values())

    @property
    def dtype(self) -> DType:
        """The dtype that holds most of the bytes."""
        held: dict[DType, int] = {}
        for tensor in self.tensors.values():
            held[tensor.dtype] = held.get(tensor.dtype, 0) + tensor.nbytes
        return max(held, key=lambda dtype: held[dtype])
