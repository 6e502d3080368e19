"""What a plan will need of the machine, known before it starts."""

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from blockmerge.core.describe import size_text
from blockmerge.core.method import Scope
from blockmerge.core.methods import LINEAR, METHODS
from blockmerge.core.parts import room_for_parts
from blockmerge.core.plan import Action, Plan
from blockmerge.core.steps import Step
from blockmerge.core.tensors import ShardFile
from blockmerge.engine.devices import CPU, used_device
from blockmerge.engine.memory import memory_here
from blockmerge.errors import StorageError

HEADROOM = 64 * 10**6  # bytes for headers, side files and the file system's own needs
# Measured on two shared cores; tests/engine/test_estimate.py holds the bytes.
PROCESS = 280 * 10**6  # bytes of a process that has imported torch and merges
PROCESS_WITH_CUDA = 740 * 10**6  # the same with the build of torch for GPUs, whether there is one or not
SPEEDS = {Action.COPY: 1.6e9, Action.CAST: 1.0e9, Action.BLEND: 0.9e9}  # bytes of the result per second
START = 2.0  # seconds until the first byte
# On a GPU, by two threads with two chunks of 16 MiB each; tests/engine/test_gpu_road.py holds the bytes of the kernels.
THREADS = 2
GPU_ELEMENTS = 1 << 23  # that a kernel sees at once, unless it must see a whole tensor
GPU_PROCESS = 600 * 10**6  # bytes that CUDA takes for itself; not measured


@dataclass(frozen=True, slots=True)
class Estimate:
    """`disk` is what the result takes, `scratch` what is unpacked beside it meanwhile, `free` what their disk has;
    `memory` is the merge process at its largest, `gpu` what it needs of a GPU's memory, 0 without one. All in bytes;
    `seconds` is how long the merge takes about, by the processors."""

    disk: int
    scratch: int
    free: int
    memory: int
    seconds: float
    gpu: int = 0

    @property
    def fits(self) -> bool:
        return self.disk + self.scratch + HEADROOM <= self.free


def estimate(plan: Plan, out: Path, device: str = CPU) -> Estimate:
    """What is needed on the disk that holds `out`, or its nearest folder that exists, and in memory."""
    sizes = {(key, file.name): file.size for key, held in plan.checkpoints.items() for file in held.side_files}
    disk = plan.nbytes + sum(sizes[step.model, step.name] for step in plan.side_files)
    whole = loaded_whole(plan)
    folder = out.resolve()
    while not folder.exists():
        folder = folder.parent
    uses_gpu = used_device(plan.recipe.method, device) != CPU
    return Estimate(
        disk=disk,
        scratch=sum(shard.size for shard in whole),
        free=shutil.disk_usage(folder).free,
        memory=_process() + max((shard.size for shard in whole), default=0) + (_pinned(plan) if uses_gpu else 0),
        seconds=START + sum(step.nbytes / SPEEDS[step.action] for step in plan.steps),
        gpu=gpu_memory(plan) if uses_gpu else 0,
    )


def estimate_by_shard(plan: Plan, out: Path) -> Estimate:
    """The same for a merge that keeps neither models nor result: its largest shard and the parts that this is merged
    from, at most. engine.by_shard.check_room knows it to the byte, with torch."""
    shard = max(shard.nbytes for shard in plan.shards)
    remote = {key for key, held in plan.checkpoints.items() if held.is_headers_only}
    tensors = (
        sum(source.tensor.nbytes for source in step.inputs if source.model in remote)
        for step in plan.steps
        # Most other methods need a tensor as a whole, and may begin with one when there is hardly room left.
        if step.rows or (step.action is Action.BLEND and plan.recipe.method != LINEAR.name)
    )
    parts = room_for_parts(shard) + max(tensors, default=0) if remote else 0
    return replace(estimate(plan, out), disk=shard + parts)


def gpu_memory(plan: Plan) -> int:
    """Bytes of a GPU's memory that a merge takes at most, whatever the size of its models."""
    at_once = (
        elements * (_raw_bytes(step, slots) + work_bytes(len(step.sources))) for step, elements, slots in _on_gpu(plan)
    )
    return GPU_PROCESS + THREADS * max(at_once, default=0)


def _pinned(plan: Plan) -> int:
    """Of the machine's memory, what a GPU reads from and writes to."""
    return THREADS * max((elements * _raw_bytes(step, slots) for step, elements, slots in _on_gpu(plan)), default=0)


def _on_gpu(plan: Plan) -> Iterator[tuple[Step, int, int]]:
    """What is computed: the elements that are there at once, and how many such chunks a thread may have begun."""
    method = METHODS[plan.recipe.method]
    for step in (step for step in plan.steps if step.action is Action.BLEND):
        is_whole = method.scope_for(step.parameters) is Scope.TENSOR
        yield step, step.elements if is_whole else GPU_ELEMENTS, 1 if is_whole else 2


def _raw_bytes(step: Step, slots: int) -> int:
    """For one element in all slots, as it is read and written."""
    return slots * sum(dtype.bits // 8 for dtype in (step.dtype, *map(step.read_dtype, step.sources)))


def work_bytes(sources: int) -> int:
    """For one element what a kernel holds: every source and its difference as float32, and as much again between."""
    return 4 * (4 * sources + 8)


@cache
def _process() -> int:
    """By torch's files, as importing it would take longer than the plan."""
    torch = find_spec("torch")
    folders = torch.submodule_search_locations if torch is not None else None
    has_cuda = any(any(Path(folder, "lib").glob("*torch_cuda*")) for folder in folders or ())
    return PROCESS_WITH_CUDA if has_cuda else PROCESS


def check_disk(plan: Plan, out: Path) -> None:
    """Raises StorageError when the result would not fit."""
    need = estimate(plan, out)
    partial = Path(f"{out.resolve()}.partial")
    held = sum(path.stat().st_blocks * 512 for path in partial.glob("*.safetensors")) if partial.is_dir() else 0
    if not replace(need, free=need.free + held).fits:
        raise StorageError(
            f"The result needs {size_text(need.disk + need.scratch)}, and {size_text(HEADROOM)} should stay free; "
            f"{size_text(need.free)} is free at {out.parent}. Free some space, or choose a folder on another disk."
        )


def check_memory(whole: Iterable[ShardFile]) -> None:
    """Raises StorageError when a file that has to be loaded whole does not fit into the memory that is free."""
    free = memory_here().free
    for shard in whole:
        if shard.size > free:
            raise StorageError(
                f"{shard.name} is in PyTorch's format from before 2020, which has to be loaded whole: "
                f"{size_text(shard.size)}, and {size_text(free)} of memory is free. "
                "Close other programs, or load the model in transformers and save it with save_pretrained."
            )


def loaded_whole(plan: Plan) -> list[ShardFile]:
    read = {(source.model, source.tensor.file) for step in plan.steps for source in step.inputs}
    return [
        shard
        for key, held in plan.checkpoints.items()
        for shard in held.shards
        if shard.whole and (key, shard.name) in read
    ]
