"""Carries out a plan: everything in `<out>.partial`, verified there, and only then renamed to `<out>`."""

import math
import os
import platform
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

from blockmerge import __version__
from blockmerge.checkpoints.files import (
    allocate,
    open_for_reading,
    open_new,
    prefetch,
    sync_file,
    sync_folder,
    write_all,
)
from blockmerge.checkpoints.folder import check_unchanged
from blockmerge.checkpoints.manifest import Manifest, TensorEntry, tensor_digest, write_manifest
from blockmerge.checkpoints.verify import verify_result
from blockmerge.checkpoints.writer import shard_header, write_index, write_side_files
from blockmerge.core.plan import Plan
from blockmerge.core.progress import IsCancelled, Progress, Report, Stage
from blockmerge.engine.chunks import Chunk, chunks_of, count_blocks
from blockmerge.engine.estimate import check_disk
from blockmerge.engine.target import Target, check_target, part_folder, publish
from blockmerge.engine.workers import Crew, OpenFiles, Tally
from blockmerge.errors import MergeCancelledError, RunError

PREFETCH = 1 << 30  # bytes of the first shards; more would starve torch's own import on a cold disk
REPORT_EVERY = 0.1  # seconds


@dataclass(frozen=True, slots=True)
class Result:
    """A finished merge: its folder, its result digest, its bytes of tensors, and the seconds each stage took."""

    path: Path
    digest: str
    nbytes: int
    seconds: Mapping[str, float]
    warnings: tuple[str, ...] = field(default=())


def carry_out(plan: Plan, target: Target, *, report: Report, is_cancelled: IsCancelled, threads: int = 2) -> Result:
    """Write the merged checkpoint of `plan` under `target.path`, whole and verified, or not at all.

    Raises OutputExistsError or PlanError before anything is written; MergeCancelledError, StorageError,
    SourceChangedError or VerifyError afterwards. The part folder of a merge that failed is removed.
    """
    seconds: dict[str, float] = {}
    with _timed(seconds, Stage.CHECK):
        report(Progress(Stage.CHECK, 0, plan.nbytes))
        check_target(plan, target)
        check_disk(plan, target.path)
    with part_folder(target) as partial:
        with _timed(seconds, Stage.MERGE):
            tally = _merge(plan, partial, report, is_cancelled, threads)
            warnings = _judge_nonfinite(plan, tally)
            for checkpoint in plan.checkpoints.values():
                check_unchanged(checkpoint)
            manifest = _manifest(plan, tally)
            write_side_files(plan, partial)
            write_index(plan, partial)
            write_manifest(partial, manifest)
        with _timed(seconds, Stage.VERIFY):
            verify_result(partial, plan, report=report, is_cancelled=is_cancelled)
            sync_folder(partial)
        publish(target)
    return Result(target.path, manifest.result_digest, plan.nbytes, seconds, warnings)


@contextmanager
def _timed(seconds: dict[str, float], stage: Stage) -> Iterator[None]:
    start = time.monotonic()
    yield
    seconds[stage.value] = time.monotonic() - start


def _merge(plan: Plan, partial: Path, report: Report, is_cancelled: IsCancelled, threads: int) -> Tally:
    with ExitStack() as stack:
        starts: dict[str, int] = {}
        files = OpenFiles(_open_inputs(plan, stack), _open_outputs(plan, partial, starts, stack))
        crew = Crew(
            (chunk for shard in plan.shards for chunk in chunks_of(shard, starts[shard.name])),
            files,
            plan.recipe.method,
        )
        pool = stack.enter_context(ThreadPoolExecutor(threads, thread_name_prefix="merge"))
        stack.callback(crew.stop)  # an error in this thread must not leave the pool waiting for the whole merge
        crew.start(pool, threads)
        while not crew.wait(REPORT_EVERY):
            report(_progress(plan, crew.tally))
            _stop_if(is_cancelled)
        _stop_if(is_cancelled)
        report(Progress(Stage.MERGE, plan.nbytes, plan.nbytes))
        for handle in files.outputs.values():
            sync_file(handle)
        return crew.tally


def _stop_if(is_cancelled: IsCancelled) -> None:
    if is_cancelled():
        raise MergeCancelledError("The merge was cancelled. The unfinished result is removed.")


def _progress(plan: Plan, tally: Tally) -> Progress:
    chunk: Chunk | None = tally.last
    if chunk is None:
        return Progress(Stage.MERGE, 0, plan.nbytes)
    place = plan.layout.places[chunk.pieces[-1].name]
    depth = next((stack.depth for stack in plan.layout.stacks if stack.name == place.stack), 0)
    detail = place.module.replace("_", " ") if place.layer is None else f"layer {place.layer} of {depth}"
    return Progress(Stage.MERGE, tally.done, plan.nbytes, detail)


def _open_inputs(plan: Plan, stack: ExitStack) -> dict[tuple[str, str], int]:
    handles: dict[tuple[str, str], int] = {}
    ahead = PREFETCH
    for step in plan.steps:
        for source in step.sources:
            file = (source.model, source.tensor.file)
            if file not in handles:
                handle = open_for_reading(plan.checkpoints[source.model].folder / source.tensor.file)
                stack.callback(os.close, handle)
                handles[file] = handle
            if ahead > 0:
                prefetch(handles[file], source.tensor.offset, source.tensor.nbytes)
                ahead -= source.tensor.nbytes
    return handles


def _open_outputs(plan: Plan, partial: Path, starts: dict[str, int], stack: ExitStack) -> dict[str, int]:
    """Create every shard at its full size, so that a full disk shows now, with its header in place."""
    handles: dict[str, int] = {}
    for shard in plan.shards:
        header = shard_header(shard, plan)
        handle = open_new(partial / shard.name)
        stack.callback(os.close, handle)
        allocate(handle, len(header) + shard.nbytes)
        write_all(handle, memoryview(header), 0)
        handles[shard.name], starts[shard.name] = handle, len(header)
    return handles


def _judge_nonfinite(plan: Plan, tally: Tally) -> tuple[str, ...]:
    steps = {step.name: step for step in plan.steps}
    sentences = tuple(
        f"{name}: {count} of {math.prod(steps[name].shape):,} values came out as NaN or Inf, "
        f"or do not fit {steps[name].dtype.label}."
        for name, count in sorted(tally.nonfinite.items())
    )
    if sentences and plan.recipe.output.nonfinite == "refuse":
        raise RunError(*sentences, "Choose other weights, or write 'nonfinite: warn' under output to keep them.")
    return sentences


def _manifest(plan: Plan, tally: Tally) -> Manifest:
    counts = count_blocks(plan.steps)
    return Manifest(
        version=__version__,
        recipe=plan.canonical,
        torch=torch.__version__,
        processor=processor(),
        tensors={
            step.name: TensorEntry(
                step.dtype,
                step.shape,
                tensor_digest(tally.digests[step.name, block] for block in range(counts[step.name])),
            )
            for step in plan.steps
        },
    )


def processor() -> str:
    """What torch's arithmetic may depend on in the last bit: the machine type and torch's own choice of kernels."""
    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
