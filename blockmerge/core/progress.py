"""How far a merge is: a stage, and bytes done of bytes planned."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class Stage(StrEnum):
    CHECK = "check"
    DOWNLOAD = "download"
    MERGE = "merge"
    VERIFY = "verify"
    SAVE = "save"  # the verified result gets its name
    UPLOAD = "upload"
    PUBLISH = "publish"  # all that was uploaded becomes a commit


@dataclass(frozen=True, slots=True)
class Progress:
    """`done` and `total` are bytes of what the stage moves; `detail` says where in words, such as "shard 2 of 3"."""

    stage: Stage
    done: int
    total: int
    detail: str = ""


Report = Callable[[Progress], None]
IsCancelled = Callable[[], bool]
