"""The order of work: for a method of several passes, first the measures of some tensors, then their results.

A job waits only for jobs before it in the order, so whichever of the jobs at work is the first never waits. Measures of
a window of tensors come together, so that waiting is rare, and the window is small, so that the second pass finds its
bytes in memory.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from threading import Condition, Event

from torch import Tensor

from blockmerge.core.plan import Action, Step
from blockmerge.engine.chunks import Chunk, Grain, chunks_of_step, sample_of
from blockmerge.engine.units import Unit
from blockmerge.kernels.kernel import Kernel, Measure, Setting, add_parts, conclude
from blockmerge.kernels.random_numbers import key_of

WINDOW_BYTES = 64 * 10**6
WINDOW_TENSORS = 4  # each may hold some megabytes of counts


@dataclass(slots=True)
class Task:
    """The measures of one tensor. `setting` grows by a statistic with every pass that is complete or not needed."""

    setting: Setting
    measures: Sequence[Measure]
    chunks: Sequence[Chunk]
    parts: list[Tensor] = field(default_factory=list)
    measured: int = 0
    changed: Condition = field(default_factory=Condition)

    def chunks_of(self, number: int) -> Sequence[Chunk]:
        """What a pass sees."""
        return (sample_of(self.chunks),) if self.measures[number].of_sample else self.chunks

    def wait_for(self, passes: int, stop: Event) -> bool:
        """Wait until so many passes are complete; False when the work was stopped meanwhile."""
        with self.changed:
            while len(self.setting.statistics) < passes:
                if stop.is_set():
                    return False
                self.changed.wait(0.05)
        return True

    def add(self, parts: Sequence[Tensor]) -> None:
        """Take one chunk's parts of the present pass; the last one completes it."""
        with self.changed:
            # Counts are added up at once, as each is as large as a histogram; sums wait, to be rounded once.
            self.parts = [add_parts([*self.parts, *parts])] if _are_counts(parts) else [*self.parts, *parts]
            self.measured += 1
            if self.measured == len(self.chunks_of(len(self.setting.statistics))):
                self.setting = conclude(self.measures, self.parts, self.setting)
                self.parts, self.measured = [], 0
                self.changed.notify_all()


def _are_counts(parts: Sequence[Tensor]) -> bool:
    return not parts[0].is_floating_point()


@dataclass(frozen=True, slots=True)
class Job:
    """A chunk to be measured in pass number `measure`, or computed and written where that is None."""

    chunk: Chunk
    unit: Unit
    task: Task | None = None
    measure: int | None = None

    @property
    def setting(self) -> Setting | None:
        return None if self.task is None else self.task.setting

    @property
    def is_idle(self) -> bool:
        """Whether what it would measure is known already."""
        return self.task is not None and self.measure is not None and self.measure < len(self.task.setting.statistics)


@dataclass(frozen=True, slots=True)
class Schedule:
    """Makes jobs of units for one method."""

    method: str
    kernel: Kernel
    has_base: bool
    seed: int
    grain: Grain | None = None

    def jobs(self, units: Iterable[Unit]) -> Iterator[Job]:
        tasks: dict[str, Task] = {}
        for unit in units:
            for window in _windows(unit):
                fresh = {chunk.step.name: self._task(chunk) for chunk in _first_chunks(window, tasks)}
                tasks |= fresh
                for number in range(max((len(task.measures) for task in fresh.values()), default=0)):
                    for task in fresh.values():
                        if number < len(task.measures):
                            yield from (Job(chunk, unit, task, number) for chunk in task.chunks_of(number))
                for chunk in window:
                    yield Job(chunk, unit, tasks.get(chunk.step.name))
                # A tensor may go on in the next unit; of all others the statistics are not needed any more.
                tasks = {name: task for name, task in tasks.items() if name == window[-1].step.name}

    def _task(self, chunk: Chunk) -> Task:
        step = chunk.step
        setting = self._setting(step)
        measures = self.kernel.measures(setting)
        begin = chunk.offset - chunk.start * step.dtype.bits // 8
        chunks = tuple(chunks_of_step(chunk.file, step, begin, self.method, self.grain)) if measures else ()
        return Task(setting, measures, chunks)

    def _setting(self, step: Step) -> Setting:
        models = step.sources[self.has_base :]
        return Setting(
            weights=step.weights,
            parameters=step.parameters,
            elements=step.elements,
            has_base=self.has_base,
            keys=tuple(key_of(self.seed, source.model, step.name) for source in models),
        )


def _first_chunks(window: Sequence[Chunk], known: Iterable[str]) -> Iterator[Chunk]:
    seen = set(known)
    for chunk in window:
        if chunk.action is Action.BLEND and chunk.step.name not in seen:
            seen.add(chunk.step.name)
            yield chunk


def _windows(unit: Unit) -> Iterator[Sequence[Chunk]]:
    held: list[Chunk] = []
    nbytes = 0
    tensors: set[str] = set()
    for chunk in unit.chunks:
        is_new = chunk.step.name not in tensors
        if held and is_new and (nbytes + chunk.nbytes > WINDOW_BYTES or len(tensors) == WINDOW_TENSORS):
            yield held
            held, nbytes, tensors = [], 0, set()
        held.append(chunk)
        tensors.add(chunk.step.name)
        nbytes += chunk.nbytes
    if held:
        yield held
