"""Carries out a plan: everything in `<out>.partial`, verified there, and only then renamed to `<out>`."""

import math
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

from blockmerge import __version__
from blockmerge.checkpoints.files import open_for_reading, sync_file, sync_folder
from blockmerge.checkpoints.folder import check_unchanged
from blockmerge.checkpoints.manifest import Manifest, TensorEntry, tensor_digest, write_manifest
from blockmerge.checkpoints.verify import verify_result
from blockmerge.checkpoints.writer import write_index, write_side_files
from blockmerge.core.plan import Plan
from blockmerge.core.progress import IsCancelled, Progress, Report, Stage
from blockmerge.core.tensors import Checkpoint
from blockmerge.engine.chunks import Chunk, count_blocks
from blockmerge.engine.estimate import check_disk, check_memory
from blockmerge.engine.journal import Journal, identity_of
from blockmerge.engine.pickled import unpack
from blockmerge.engine.read_ahead import ahead
from blockmerge.engine.resume import Outputs, finished_units
from blockmerge.engine.schedule import Schedule
from blockmerge.engine.target import Target, check_target, part_folder, publish
from blockmerge.engine.units import units_of
from blockmerge.engine.workers import Crew, OpenFiles, Tally
from blockmerge.errors import MergeCancelledError, MergePausedError, RunError
from blockmerge.kernels import KERNELS

REPORT_EVERY = 0.1  # seconds


@dataclass(frozen=True, slots=True)
class Result:
    """A finished merge: its folder, its result digest, its bytes of tensors, and the seconds each stage took."""

    path: Path
    digest: str
    nbytes: int
    seconds: Mapping[str, float]
    warnings: tuple[str, ...] = field(default=())


# A folder, and what to call now and then: it raises when somebody asked to stop.
Check = Callable[[Path, Callable[[], None]], tuple[str, ...]]


def carry_out(  # noqa: PLR0913 - how it is watched and stopped belongs to the call
    plan: Plan,
    target: Target,
    *,
    report: Report,
    is_cancelled: IsCancelled,
    is_paused: IsCancelled = lambda: False,
    threads: int = 2,
    check: Check = lambda *_: (),
) -> Result:
    """Write the merged checkpoint of `plan` under `target.path`, whole and verified, or not at all.

    `check` is asked for warnings about the verified folder before it gets its name, and may raise VerifyError.
    A part folder that an earlier attempt at the same merge left is taken up where it was. Raises OutputExistsError or
    PlanError before anything is written; MergeCancelledError, MergePausedError, StorageError, SourceChangedError or
    VerifyError afterwards. After a cancel nothing stays; target.part_folder says when something does.
    """
    seconds: dict[str, float] = {}
    with _timed(seconds, Stage.CHECK):
        report(Progress(Stage.CHECK, 0, plan.nbytes))
        check_target(plan, target)
        check_disk(plan, target.path)
        check_memory(plan)
    with part_folder(target, identity_of(plan, torch.__version__, processor())) as journal:
        watch = _Watch(report, is_cancelled, is_paused)
        with _timed(seconds, Stage.MERGE):
            tally = _merge(plan, target.partial, journal, watch, threads)
            warnings = _judge_nonfinite(plan, tally)
            for checkpoint in plan.checkpoints.values():
                check_unchanged(checkpoint)
            manifest = _manifest(plan, tally)
            write_side_files(plan, target.partial)
            write_index(plan, target.partial)
            write_manifest(target.partial, manifest)
        with _timed(seconds, Stage.VERIFY):
            verify_result(target.partial, plan, report=report, is_cancelled=is_cancelled)
            warnings += check(target.partial, watch.stop_if_asked)
            sync_folder(target.partial)
        publish(target)
    return Result(target.path, manifest.result_digest, plan.nbytes, seconds, warnings)


@contextmanager
def _timed(seconds: dict[str, float], stage: Stage) -> Iterator[None]:
    start = time.monotonic()
    yield
    seconds[stage.value] = time.monotonic() - start


@dataclass(frozen=True, slots=True)
class _Watch:
    """Whom the merge tells how far it is, and who may stop it."""

    report: Report
    is_cancelled: IsCancelled
    is_paused: IsCancelled

    def stop_if_asked(self) -> None:
        if self.is_cancelled():
            raise MergeCancelledError("The merge was cancelled. The unfinished result is removed.")
        if self.is_paused():
            raise MergePausedError("The merge was stopped. Started again, it goes on from what is finished.")


def _merge(plan: Plan, partial: Path, journal: Journal, watch: _Watch, threads: int) -> Tally:
    kernel = KERNELS[plan.recipe.method]
    with ExitStack() as stack:
        inputs = _open_inputs(plan, partial, stack)
        outputs = Outputs(plan, partial, stack)
        finished = finished_units(plan, partial, outputs, watch.stop_if_asked)
        units = (unit for unit in units_of(plan, outputs.starts) if unit.number not in finished)
        schedule = Schedule(plan.recipe.method, kernel, plan.recipe.base is not None, plan.recipe.seed)
        crew = Crew(ahead(schedule.jobs(units), inputs), OpenFiles(inputs, outputs.handles), kernel, journal)
        for record in finished.values():
            crew.tally.add(record)
        pool = stack.enter_context(ThreadPoolExecutor(threads, thread_name_prefix="merge"))
        stack.callback(crew.stop)  # an error in this thread must not leave the pool waiting for the whole merge
        crew.start(pool, threads)
        while not crew.wait(REPORT_EVERY):
            watch.report(_progress(plan, crew.tally))
            watch.stop_if_asked()
        watch.stop_if_asked()
        watch.report(Progress(Stage.MERGE, plan.nbytes, plan.nbytes))
        for handle in outputs.handles.values():
            sync_file(handle)
        return crew.tally


def _progress(plan: Plan, tally: Tally) -> Progress:
    chunk: Chunk | None = tally.last
    if chunk is None:
        return Progress(Stage.MERGE, tally.done, plan.nbytes)
    place = chunk.step.place
    depth = next((stack.depth for stack in plan.layout.stacks if stack.name == place.stack), 0)
    detail = place.module.replace("_", " ") if place.layer is None else f"layer {place.layer} of {depth}"
    return Progress(Stage.MERGE, tally.done, plan.nbytes, detail)


def _open_inputs(plan: Plan, partial: Path, stack: ExitStack) -> dict[tuple[str, str], int]:
    handles: dict[tuple[str, str], int] = {}
    for step in plan.steps:
        for source in step.inputs:
            file = (source.model, source.tensor.file)
            if file not in handles:
                handles[file] = _open_input(plan.checkpoints[source.model], source.tensor.file, partial, stack)
    return handles


def _open_input(checkpoint: Checkpoint, file: str, partial: Path, stack: ExitStack) -> int:
    """A descriptor in which each tensor lies at its offset: the file itself, or what it holds, unpacked."""
    path = checkpoint.folder / file
    if any(shard.name == file and shard.whole for shard in checkpoint.shards):
        tensors = [tensor for tensor in checkpoint.tensors.values() if tensor.file == file]
        return stack.enter_context(unpack(path, tensors, partial)).fileno()
    handle = open_for_reading(path)
    stack.callback(os.close, handle)
    return handle


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
