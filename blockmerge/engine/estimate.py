"""What a plan will need of the machine, known before it starts."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from blockmerge.core.describe import size_text
from blockmerge.core.plan import Plan
from blockmerge.errors import StorageError

HEADROOM = 64 * 10**6  # bytes for headers, side files and the file system's own needs


@dataclass(frozen=True, slots=True)
class Estimate:
    """`disk` is what the result takes and `free` what its disk has, in bytes."""

    disk: int
    free: int

    @property
    def fits(self) -> bool:
        return self.disk + HEADROOM <= self.free


def estimate(plan: Plan, out: Path) -> Estimate:
    """Bytes on the disk that holds `out`, or its nearest folder that exists."""
    sizes = {(key, file.name): file.size for key, held in plan.checkpoints.items() for file in held.side_files}
    disk = plan.nbytes + sum(sizes[step.model, step.name] for step in plan.side_files)
    folder = out.resolve()
    while not folder.exists():
        folder = folder.parent
    return Estimate(disk, shutil.disk_usage(folder).free)


def check_disk(plan: Plan, out: Path) -> None:
    """Raises StorageError when the result would not fit."""
    need = estimate(plan, out)
    partial = Path(f"{out.resolve()}.partial")
    held = sum(path.stat().st_blocks * 512 for path in partial.glob("*.safetensors")) if partial.is_dir() else 0
    if not replace(need, free=need.free + held).fits:
        raise StorageError(
            f"The result needs {size_text(need.disk)}, and {size_text(HEADROOM)} should stay free; "
            f"{size_text(need.free)} is free at {out.parent}. Free some space, or choose a folder on another disk."
        )
