"""Carries out a plan shard by shard: each is merged from parts of its models, handed on, and gone before the next.

At no time is more here than one shard and the parts that one unit of work reads. Everything happens in the part folder
of a target that is never made; its journal says which units are finished and which shards were handed on.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from shutil import disk_usage

import torch

from blockmerge.checkpoints.files import disk_failure
from blockmerge.checkpoints.folder import check_unchanged, check_whole
from blockmerge.checkpoints.manifest import FileEntry, Manifest, read_manifest, tensor_digest, write_manifest
from blockmerge.checkpoints.verify import verify_result, verify_shard
from blockmerge.checkpoints.writer import shard_header, write_index, write_side_files
from blockmerge.core.describe import size_text
from blockmerge.core.hub_reference import HubReference
from blockmerge.core.parts import Parts, Receipt, Span
from blockmerge.core.plan import OutputShard, Plan
from blockmerge.core.progress import IsCancelled, Progress, Report, Stage
from blockmerge.engine.chunks import count_blocks
from blockmerge.engine.estimate import HEADROOM, check_memory, loaded_whole
from blockmerge.engine.journal import Journal, identity_of, read_sent, read_units
from blockmerge.engine.merge import Watch, manifest_of, open_inputs, processor, work
from blockmerge.engine.odd_values import judge
from blockmerge.engine.read_ahead import ahead
from blockmerge.engine.resume import Outputs, clear, finished_units
from blockmerge.engine.schedule import Schedule
from blockmerge.engine.syncing import Syncer
from blockmerge.engine.target import Target, part_folder
from blockmerge.engine.units import Unit
from blockmerge.engine.windows import File, needed, weight_of, windows_of
from blockmerge.engine.workers import Crew, OpenFiles, Tally
from blockmerge.errors import StorageError
from blockmerge.kernels import KERNELS

MODELS = ".models"  # the folder of the parts, hidden as it is none of the result

Moved = Callable[[int], None]  # bytes of what is being moved


@dataclass(frozen=True, slots=True)
class Carrier:
    """Where parts come from and shards go to. `known` says which shards need not be sent again; `publish` makes them
    visible, all at once, with the files of a folder."""

    fetch: Callable[[Sequence[Parts], Moved], None]
    send: Callable[[Path, Moved], Receipt]
    known: Callable[[Sequence[Receipt]], Sequence[Receipt]]
    publish: Callable[[Path, Manifest, Sequence[Receipt]], None]


@dataclass(frozen=True, slots=True)
class Merged:
    """A merge whose result is elsewhere."""

    digest: str
    nbytes: int
    seconds: Mapping[str, float]
    warnings: tuple[str, ...]


def carry_out_by_shard(  # noqa: PLR0913 - how it is watched and stopped belongs to the call
    plan: Plan,
    target: Target,
    carrier: Carrier,
    destination: Mapping[str, object],
    *,
    report: Report,
    is_paused: IsCancelled,
    threads: int = 2,
) -> Merged:
    """Merge and publish. What a model of which only the headers are here has to give is fetched; the others are read
    where they are.

    An earlier attempt at the same merge to the same `destination` is taken up where it was. Raises what the carrier
    raises, and what engine.merge.carry_out does.
    """
    watch = Watch(report, lambda: False, is_paused)
    report(Progress(Stage.CHECK, 0, plan.nbytes))
    remote = {key: held.origin for key, held in plan.checkpoints.items() if held.is_headers_only and held.origin}
    for key, checkpoint in plan.checkpoints.items():
        if key not in remote:
            check_whole(checkpoint)
    check_memory(loaded_whole(plan))
    windows = dict(_windows(plan, remote))
    weights = {unit.number: weight_of(unit, remote) for units in windows.values() for unit in units}
    check_room(plan, windows, weights, target.partial)
    identity = {**identity_of(plan, torch.__version__, processor()), "to": dict(destination)}
    with part_folder(target, identity, is_temporary=True) as journal:
        moved = _moved_to(plan, remote, target.partial)
        return _Work(moved, remote, windows, weights, target.partial, journal, carrier, watch, threads).run()


def _windows(plan: Plan, remote: Mapping[str, HubReference]) -> Iterator[tuple[str, Sequence[Unit]]]:
    """The units of each shard, by its name."""
    count = 0
    for shard in plan.shards:
        units = windows_of(shard, len(shard_header(shard, plan)), plan.recipe.method, remote, count)
        count += len(units)
        yield shard.name, units


def check_room(plan: Plan, windows: Mapping[str, Sequence[Unit]], weights: Mapping[int, int], partial: Path) -> None:
    """Raises StorageError where the largest shard with its parts does not fit; `weights` are those by unit."""
    most = max(
        shard.nbytes + max((weights[unit.number] for unit in windows[shard.name]), default=0) for shard in plan.shards
    )
    most += sum(shard.size for shard in loaded_whole(plan))
    folder = partial.parent
    while not folder.exists():
        folder = folder.parent
    held = sum(path.stat().st_blocks * 512 for path in partial.rglob("*.safetensors")) if partial.is_dir() else 0
    free = disk_usage(folder).free + held
    if most + HEADROOM > free:
        raise StorageError(
            f"The largest shard and what it is merged from need {size_text(most)}, and {size_text(HEADROOM)} should "
            f"stay free; {size_text(free)} is free at {folder}. Free some space, write a smaller shard_size under "
            "output, or set BLOCKMERGE_OUTPUT to a folder on another disk."
        )


def _moved_to(plan: Plan, remote: Mapping[str, HubReference], partial: Path) -> Plan:
    """The same plan, with the models on the Hub where their parts will lie."""
    places = {key: partial / MODELS / str(number) for number, key in enumerate(plan.checkpoints)}
    return replace(
        plan,
        checkpoints={
            key: replace(held, folder=places[key], is_headers_only=False) if key in remote else held
            for key, held in plan.checkpoints.items()
        },
    )


@dataclass(frozen=True, slots=True)
class _Work:
    """One attempt. The models of `plan` that are `remote` lie in the part folder, as far as they are needed.

    `weights` are the bytes of the parts of each unit, by its number; `moved` has those that were fetched and handed on
    so far, by the stage.
    """

    plan: Plan
    remote: Mapping[str, HubReference]
    windows: Mapping[str, Sequence[Unit]]
    weights: Mapping[int, int]
    partial: Path
    journal: Journal
    carrier: Carrier
    watch: Watch
    threads: int
    tally: Tally = field(default_factory=Tally)
    moved: dict[Stage, int] = field(default_factory=dict)

    def run(self) -> Merged:
        with self.watch.timed("check"):
            receipts = {one.name: one for one in self.carrier.known(read_sent(self.partial))}
        for shard in self.plan.shards:
            self.watch.stop_if_asked()
            if shard.name in receipts:
                self._skip(shard)
            else:
                self._write(shard)
                receipts[shard.name] = self._hand_on(shard)
        self.watch.report(Progress(Stage.MERGE, self.plan.nbytes, self.plan.nbytes))
        warnings = judge(self.plan, self.tally.odd)
        manifest = self._gather([receipts[shard.name] for shard in self.plan.shards])
        return Merged(manifest.result_digest, self.plan.nbytes, self.watch.seconds, warnings)

    def _skip(self, shard: OutputShard) -> None:
        """What was handed on is known by the journal alone."""
        records = read_units(self.partial)
        for unit in self.windows[shard.name]:
            self.tally.add(records[unit.key])
            self._count(Stage.DOWNLOAD, self.weights[unit.number])
        self._count(Stage.UPLOAD, shard.nbytes)

    def _write(self, shard: OutputShard) -> None:
        alone = replace(self.plan, shards=(shard,))
        with ExitStack() as stack:
            clear(self.partial, {shard.name})
            outputs = Outputs(alone, alone.shards, self.partial, stack)
            parts = self._make_files(alone)
            inputs = open_inputs(alone, alone.shards, self.partial, stack)
            syncer = stack.enter_context(Syncer())
            files = OpenFiles(inputs, outputs.handles, syncer)
            finished = finished_units(alone, self.partial, outputs, self.watch.stop_if_asked)
            for unit in self.windows[shard.name]:
                if unit.key in finished:
                    self.tally.add(finished[unit.key])
                    self._count(Stage.DOWNLOAD, self.weights[unit.number])
                    continue
                self._fetch(unit, parts)
                with self.watch.timed("merge"):
                    self._merge(unit, files)
                for path in {parts[file].path for file in needed(unit, self.remote)}:
                    _empty(path)
            with self.watch.timed("sync"):
                syncer.finish(outputs.handles.values(), self.watch.stop_if_asked)

    def _make_files(self, alone: Plan) -> Mapping[File, Parts]:
        """A sparse file for each one on the Hub that a shard is merged from; no parts of them are here yet."""
        found: dict[File, Parts] = {}
        for step in alone.steps:
            for source in step.inputs:
                file = (source.model, source.tensor.file)
                if source.model in self.remote and file not in found:
                    checkpoint = alone.checkpoints[source.model]
                    size = next(shard.size for shard in checkpoint.shards if shard.name == source.tensor.file)
                    found[file] = self._parts(*file, size)
                    make_sparse(found[file].path, size)
        return found

    def _parts(self, key: str, name: str, size: int, spans: Sequence[Span] = ()) -> Parts:
        return Parts(self.remote[key], name, size, self.plan.checkpoints[key].folder / name, tuple(spans))

    def _fetch(self, unit: Unit, parts: Mapping[File, Parts]) -> None:
        wanted = [replace(parts[file], spans=spans) for file, spans in needed(unit, self.remote).items()]
        with self.watch.timed("download"):
            self.carrier.fetch(wanted, self._told(Stage.DOWNLOAD, sum(self.weights.values())))
        self._count(Stage.DOWNLOAD, self.weights[unit.number])

    def _merge(self, unit: Unit, files: OpenFiles) -> None:
        recipe = self.plan.recipe
        kernel = KERNELS[recipe.method]
        schedule = Schedule(recipe.method, kernel, recipe.base is not None, recipe.seed)
        crew = Crew(ahead(schedule.jobs([unit]), files.inputs), files, kernel, self.journal)
        crew.tally = self.tally
        work(self.plan, self.plan.nbytes, crew, self.watch, self.threads)

    def _hand_on(self, shard: OutputShard) -> Receipt:
        """Verified to the last byte, as nobody here can look at it again."""
        judge(self.plan, self.tally.odd)
        counts = count_blocks(shard.steps)
        digests = {
            name: tensor_digest(self.tally.digests[name, block] for block in range(count))
            for name, count in counts.items()
        }
        with self.watch.timed("verify"):
            verify_shard(self.partial, shard, self.plan, digests)
        path = self.partial / shard.name
        with self.watch.timed("upload"):
            receipt = self.carrier.send(path, self._told(Stage.UPLOAD, self.plan.nbytes))
        self.journal.append_sent(receipt)
        path.unlink()
        self._count(Stage.UPLOAD, shard.nbytes)
        return receipt

    def _gather(self, receipts: Sequence[Receipt]) -> Manifest:
        """What stands beside the shards is made when all of them are away, and everything is published."""
        clear(self.partial)
        for key, checkpoint in self.plan.checkpoints.items():
            if key not in self.remote:
                check_unchanged(checkpoint)
        self._fetch_side_files()
        shards = {one.name: FileEntry(one.size) for one in receipts}
        write_side_files(self.plan, self.partial)
        write_index(self.plan, self.partial)
        write_manifest(self.partial, replace(manifest_of(self.plan, self.tally), files=shards))
        with self.watch.timed("verify"):
            verify_result(
                self.partial, self.plan, report=self.watch.report, is_cancelled=lambda: False, sent=shards.keys()
            )
        manifest = read_manifest(self.partial)
        self.watch.report(Progress(Stage.PUBLISH, self.plan.nbytes, self.plan.nbytes))
        with self.watch.timed("upload"):
            self.carrier.publish(self.partial, manifest, receipts)
        return manifest

    def _fetch_side_files(self) -> None:
        wanted: list[Parts] = []
        for step in self.plan.side_files:
            if step.model in self.remote:
                checkpoint = self.plan.checkpoints[step.model]
                size = next(file.size for file in checkpoint.side_files if file.name == step.name)
                wanted.append(self._parts(step.model, step.name, size, [(0, size)] if size else []))
                make_sparse(wanted[-1].path, size)
        with self.watch.timed("download"):
            self.carrier.fetch(wanted, lambda _: None)

    def _count(self, stage: Stage, nbytes: int) -> None:
        self.moved[stage] = self.moved.get(stage, 0) + nbytes

    def _told(self, stage: Stage, total: int) -> Moved:
        before = self.moved.get(stage, 0)
        return lambda moved: self.watch.report(Progress(stage, min(before + moved, total), total))


def make_sparse(path: Path, size: int) -> None:
    """A file of this size that takes no room."""
    with _sentence(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(exist_ok=False)
        os.truncate(path, size)


def _empty(path: Path) -> None:
    """Give back the room of what lies in a sparse file; whoever has it open reads zeros from now on."""
    with _sentence(path):
        size = path.stat().st_size
        os.truncate(path, 0)
        os.truncate(path, size)


@contextmanager
def _sentence(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise disk_failure(f"{path.name} could not be made", error) from error
