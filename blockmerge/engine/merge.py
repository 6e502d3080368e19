"""Carries out a plan: everything in `<out>.partial`, verified there, and only then renamed to `<out>`."""

import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

from blockmerge import __version__
from blockmerge.checkpoints.files import disk_failure, sync_folder
from blockmerge.checkpoints.folder import check_unchanged, check_whole
from blockmerge.checkpoints.manifest import Manifest, TensorEntry, tensor_digest, write_manifest
from blockmerge.checkpoints.verify import verify_result
from blockmerge.checkpoints.writer import write_index, write_side_files
from blockmerge.core.mergekit_writer import mergekit_of_result
from blockmerge.core.plan import OutputShard, Plan
from blockmerge.core.progress import IsCancelled, Progress, Report, Stage
from blockmerge.engine.chunks import Chunk, count_blocks
from blockmerge.engine.estimate import check_disk, check_memory, loaded_whole
from blockmerge.engine.journal import Journal, identity_of, is_whole, note_whole, read_identity
from blockmerge.engine.odd_values import judge
from blockmerge.engine.pickled import open_tensors
from blockmerge.engine.read_ahead import ahead
from blockmerge.engine.resume import Outputs, clear, finished_units
from blockmerge.engine.schedule import Schedule
from blockmerge.engine.stations import PROCESSORS, Device
from blockmerge.engine.syncing import Syncer
from blockmerge.engine.target import Target, check_target, locked_shard, part_folder, publish
from blockmerge.engine.units import units_of
from blockmerge.engine.workers import Crew, OpenFiles, Tally
from blockmerge.errors import MergeCancelledError, MergePausedError, OutputExistsError
from blockmerge.kernels import KERNELS

REPORT_EVERY = 0.1  # seconds


@dataclass(frozen=True, slots=True)
class Result:
    """A finished merge: its folder, its result digest, its bytes of tensors, and the seconds each stage took: check,
    merge (read, compute and write), sync (what the disk still had to do then), verify, and save (it gets its name).
    """

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
    parts: Iterable[int] | None = None,
    device: Device = PROCESSORS,
) -> Result:
    """Write the merged checkpoint of `plan` under `target.path`, whole and verified, or not at all.

    `check` is asked for warnings about the verified folder before it gets its name, and may raise VerifyError.
    `parts` are numbers of shards to merge first, each by itself. It is asked for the first one when all shards have
    their place on the disk, so that others may carry out other parts meanwhile, and for each further one when the part
    before is whole. What is not whole at its end is merged then.
    A part folder that an earlier attempt at the same merge left is taken up where it was. Raises OutputExistsError or
    PlanError before anything is written; MergeCancelledError, MergePausedError, StorageError, SourceChangedError or
    VerifyError afterwards. After a cancel nothing stays; target.part_folder says when something does.
    """
    watch = Watch(report, is_cancelled, is_paused)
    means = Means(threads, device)
    with watch.timed("check"):
        report(Progress(Stage.CHECK, 0, plan.nbytes))
        for checkpoint in plan.checkpoints.values():
            check_whole(checkpoint)
        check_target(plan, target)
        check_disk(plan, target.path)
        check_memory(loaded_whole(plan))
    identity = identity_of(plan, torch.__version__, processor(device))
    with part_folder(target, identity) as journal:
        clear(target.partial, {shard.name for shard in plan.shards})
        if parts is not None:
            with ExitStack() as stack:
                Outputs(plan, plan.shards, target.partial, stack)
            for number in parts:
                _merge_part(plan, plan.shards[number], target.partial, watch, means)
        tally = _merge(plan, plan.shards, target.partial, journal, watch, means)
        with watch.timed("sync"):
            warnings = judge(plan, tally.odd)
            for checkpoint in plan.checkpoints.values():
                check_unchanged(checkpoint)
            manifest = manifest_of(plan, tally, device)
            write_side_files(plan, target.partial)
            write_index(plan, target.partial)
            write_manifest(target.partial, manifest)
        with watch.timed("verify"):
            verify_result(target.partial, plan, report=report, is_cancelled=is_cancelled)
            warnings += check(target.partial, watch.stop_if_asked)
        with watch.timed("save"):
            report(Progress(Stage.SAVE, plan.nbytes, plan.nbytes))
            sync_folder(target.partial)
            publish(target)
    return Result(target.path, manifest.result_digest, plan.nbytes, watch.seconds, warnings)


def carry_out_parts(  # noqa: PLR0913 - as above
    plan: Plan,
    target: Target,
    parts: Iterable[int],
    *,
    report: Report,
    threads: int = 2,
    device: Device = PROCESSORS,
) -> None:
    """Merge these shards into the part folder of somebody else who carries out the same plan, until `parts` ends.

    A kill costs no more than the units at work. Raises OutputExistsError where nobody carries out just the same plan,
    and what carry_out raises.
    """
    if read_identity(target.partial) != identity_of(plan, torch.__version__, processor(device)):
        raise OutputExistsError(
            f"{target.partial} is no part folder of this merge as this machine sees it. Let all workers share the "
            "folder and the models, and have the same versions and the same kind of processor and GPU."
        )
    watch, means = Watch(report, lambda: False, lambda: False), Means(threads, device)
    try:
        for number in parts:
            _merge_part(plan, plan.shards[number], target.partial, watch, means)
    except OSError as error:
        raise disk_failure(f"{target.partial} could not be written", error) from error


@dataclass(frozen=True, slots=True)
class Watch:
    """Whom the merge tells how far it is, who may stop it, and the seconds that its stages took so far."""

    report: Report
    is_cancelled: IsCancelled
    is_paused: IsCancelled
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        start = time.monotonic()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.monotonic() - start

    def stop_if_asked(self) -> None:
        if self.is_cancelled():
            raise MergeCancelledError("The merge was cancelled. The unfinished result is removed.")
        if self.is_paused():
            raise MergePausedError("The merge was stopped. Started again, it goes on from what is finished.")


@dataclass(frozen=True, slots=True)
class Means:
    """Who does the work: so many threads, each with a station of this device."""

    threads: int
    device: Device


def _merge_part(plan: Plan, shard: OutputShard, partial: Path, watch: Watch, means: Means) -> None:
    def keep_waiting() -> None:
        watch.report(Progress(Stage.MERGE, 0, shard.nbytes, "an earlier attempt is still at work"))
        watch.stop_if_asked()

    with locked_shard(partial, shard.name, keep_waiting):
        if is_whole(partial, shard.name):
            return
        with Journal(partial, shard.name) as journal:
            if journal.is_new:
                journal.begin(identity_of(plan, torch.__version__, processor(means.device)))
            _merge(plan, (shard,), partial, journal, watch, means)
            journal.sync()
        note_whole(partial, shard.name)


def _merge(  # noqa: PLR0913 - what, where, and how it is watched
    plan: Plan, shards: Sequence[OutputShard], partial: Path, journal: Journal, watch: Watch, means: Means
) -> Tally:
    with ExitStack() as stack:
        with watch.timed("merge"):
            inputs = open_inputs(plan, shards, partial, stack)
            outputs = Outputs(plan, shards, partial, stack)
            syncer = stack.enter_context(Syncer())
            finished = finished_units(plan, partial, outputs, watch.stop_if_asked)
            grain = means.device.grain
            left = {name: start for name, start in outputs.starts.items() if not is_whole(partial, name)}
            units = (unit for unit in units_of(plan, left, grain) if unit.key not in finished)
            kernel = KERNELS[plan.recipe.method]
            schedule = Schedule(plan.recipe.method, kernel, plan.recipe.base is not None, plan.recipe.seed, grain)
            files = OpenFiles(inputs, outputs.handles, syncer)
            crew = Crew(ahead(schedule.jobs(units), inputs), files, kernel, journal, means.device)
            for record in finished.values():
                crew.tally.add(record)
            total = sum(shard.nbytes for shard in shards)
            watch.report(_progress(plan, total, crew.tally))
            work(plan, total, crew, watch, means.threads)
            watch.report(Progress(Stage.MERGE, total, total))
        with watch.timed("sync"):
            syncer.finish(outputs.handles.values(), watch.stop_if_asked)
        return crew.tally


def work(plan: Plan, total: int, crew: Crew, watch: Watch, threads: int) -> None:
    with ThreadPoolExecutor(threads, thread_name_prefix="merge") as pool:
        try:
            crew.start(pool, threads)
            while not crew.wait(REPORT_EVERY):
                watch.report(_progress(plan, total, crew.tally))
                watch.stop_if_asked()
        finally:
            crew.stop()  # an error in this thread must not leave the pool waiting for the whole merge
    watch.stop_if_asked()


def _progress(plan: Plan, total: int, tally: Tally) -> Progress:
    chunk: Chunk | None = tally.last
    if chunk is None:
        return Progress(Stage.MERGE, tally.done, total)
    place = chunk.step.place
    depth = next((stack.depth for stack in plan.layout.stacks if stack.name == place.stack), 0)
    detail = place.module.replace("_", " ") if place.layer is None else f"layer {place.layer} of {depth}"
    return Progress(Stage.MERGE, tally.done, total, detail)


def open_inputs(
    plan: Plan, shards: Iterable[OutputShard], partial: Path, stack: ExitStack
) -> dict[tuple[str, str], int]:
    handles: dict[tuple[str, str], int] = {}
    for step in (step for shard in shards for step in shard.steps):
        for source in step.inputs:
            file = (source.model, source.tensor.file)
            if file not in handles:
                handles[file] = open_tensors(plan.checkpoints[source.model], source.tensor.file, partial, stack)
    return handles


def manifest_of(plan: Plan, tally: Tally, device: Device = PROCESSORS) -> Manifest:
    counts = count_blocks(plan.steps)
    return Manifest(
        version=__version__,
        recipe=plan.canonical,
        torch=torch.__version__,
        processor=processor(device),
        tensors={
            step.name: TensorEntry(
                step.dtype,
                step.shape,
                tensor_digest(tally.digests[step.name, block] for block in range(counts[step.name])),
            )
            for step in plan.steps
        },
        mergekit=mergekit_of_result(plan),
    )


def processor(device: Device = PROCESSORS) -> str:
    """What arithmetic may depend on in the last bit: the machine type, torch's own choice of kernels, the GPU."""
    own = f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    return f"{own}, {device.name}" if device.name else own
