"""The threads of a merge: each takes a job, reads it into its own buffers, computes, writes and digests it."""

from collections import deque
from collections.abc import Iterable, Mapping
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, field
from threading import Event, Lock

import torch

from blockmerge.checkpoints.files import write_all
from blockmerge.checkpoints.manifest import block_digest, read_blocks
from blockmerge.engine.bench import Begun, Bench
from blockmerge.engine.buffers import keep_freed_memory
from blockmerge.engine.chunks import Chunk
from blockmerge.engine.journal import Journal, UnitKey, UnitRecord
from blockmerge.engine.odd_values import Odd
from blockmerge.engine.schedule import Job
from blockmerge.engine.stations import PROCESSORS, Device
from blockmerge.engine.syncing import Syncer
from blockmerge.engine.units import Unit
from blockmerge.kernels.kernel import Kernel


@dataclass(slots=True)
class Tally:
    """What the workers have done so far, and what an earlier attempt had; guarded by `lock`."""

    lock: Lock = field(default_factory=Lock)
    done: int = 0
    digests: dict[tuple[str, int], bytes] = field(default_factory=dict)
    odd: dict[tuple[str, str], int] = field(default_factory=dict)
    last: Chunk | None = None

    def add(self, record: UnitRecord) -> None:
        """A unit that was finished before."""
        self.done += record.nbytes
        self.digests |= record.digests
        self.add_odd(record.odd)

    def add_odd(self, counts: Odd) -> None:
        for key, count in counts.items():
            self.odd[key] = self.odd.get(key, 0) + count


@dataclass(slots=True)
class _Open:
    """A unit at work: how many of its chunks are still to be written, and what the others gave."""

    left: int
    digests: dict[tuple[str, int], bytes] = field(default_factory=dict)
    odd: dict[tuple[str, str], int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OpenFiles:
    """File descriptors: inputs by (model key, shard name), outputs by shard name; and who syncs them."""

    inputs: Mapping[tuple[str, str], int]
    outputs: Mapping[str, int]
    syncer: Syncer


class Crew:
    """Worker threads over one iterable of jobs. An error in one stops them all and is raised by `wait`."""

    def __init__(
        self, jobs: Iterable[Job], files: OpenFiles, kernel: Kernel, journal: Journal, device: Device = PROCESSORS
    ) -> None:
        self.tally = Tally()
        self._jobs = iter(jobs)
        self._files = files
        self._kernel = kernel
        self._journal = journal
        self._device = device
        self._open: dict[UnitKey, _Open] = {}
        self._stop = Event()
        self._work: list[Future[None]] = []

    def start(self, pool: ThreadPoolExecutor, threads: int) -> None:
        keep_freed_memory()
        self._work = [pool.submit(self._run) for _ in range(threads)]

    def stop(self) -> None:
        self._stop.set()

    def wait(self, seconds: float) -> bool:
        """Wait up to `seconds`; True when all have ended. Raises the first error of any worker."""
        done, running = wait(self._work, timeout=seconds, return_when=FIRST_EXCEPTION)
        for future in done:
            future.result()
        return not running

    def _take(self) -> Job | None:
        with self.tally.lock:
            return None if self._stop.is_set() else next(self._jobs, None)

    def _run(self) -> None:
        # The workers are the parallelism; torch's own threads would only fight them for the same cores. Said in each
        # thread, as a product of two vectors that is the first thing in a thread would be added up by two, and so in
        # another order.
        torch.set_num_threads(1)
        bench = Bench(self._kernel, self._files.inputs, self._device)
        begun: deque[tuple[Job, Begun | memoryview]] = deque()
        with ExitStack() as on_error:
            on_error.callback(self._stop.set)  # the others may wait for what will never be measured
            while (job := self._take()) is not None and self._is_due(job):
                if job.is_idle:
                    continue
                if job.task is not None and job.measure is not None:
                    job.task.add(bench.measure(job.chunk, job.task.setting, job.measure))
                    continue
                begun.append((job, bench.begin(job.chunk, job.setting)))
                while len(begun) > bench.waiting:
                    self._finish(bench, *begun.popleft())
            while begun and not self._stop.is_set():
                self._finish(bench, *begun.popleft())
            on_error.pop_all()

    def _is_due(self, job: Job) -> bool:
        """True once everything is measured that this job needs; False when the work was stopped.

        Nobody waits for a chunk that is begun, so this thread may hold some meanwhile.
        """
        task = job.task
        if task is None:
            return True
        return task.wait_for(len(task.measures) if job.measure is None else job.measure, self._stop)

    def _finish(self, bench: Bench, job: Job, begun: Begun | memoryview) -> None:
        chunk = job.chunk
        result, odd = (begun, {}) if isinstance(begun, memoryview) else bench.finish(begun)
        write_all(self._files.outputs[chunk.file], result, chunk.offset)
        digests: dict[tuple[str, int], bytes] = {}
        start = 0
        for piece in chunk.pieces:
            digests[piece.name, piece.block] = block_digest(result[start : start + piece.nbytes])
            start += piece.nbytes
        with self.tally.lock:
            self.tally.done += chunk.nbytes
            self.tally.digests |= digests
            self.tally.last = chunk
            self.tally.add_odd(odd)
            state = self._open.setdefault(job.unit.key, _Open(len(job.unit.chunks)))
            state.left -= 1
            state.digests |= digests
            state.odd |= {key: state.odd.get(key, 0) + count for key, count in odd.items()}
            is_last = state.left == 0
            if is_last:
                del self._open[job.unit.key]
        if is_last:
            self._record(job.unit, state)

    def _record(self, unit: Unit, state: _Open) -> None:
        """A finished unit goes into the journal, with the digests of blocks that no single chunk had whole."""
        handle = self._files.outputs[unit.chunks[0].file]
        self._files.syncer.begin(handle)
        unread: dict[tuple[str, int], bytes] = {}
        for name, first, offset, nbytes in unit.unread_blocks:
            blocks = read_blocks(handle, offset, nbytes)
            unread |= {(name, first + number): block_digest(block) for number, block in enumerate(blocks)}
        record = UnitRecord(unit.key, unit.nbytes, {**state.digests, **unread}, state.odd)
        with self.tally.lock:
            self.tally.digests |= unread
            self._journal.append(record)
