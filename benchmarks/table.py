"""The results as docs/benchmarks.md."""

import os
import platform
import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contenders import Run

NOTES = "\n## What the figures say\n"

Runs = Mapping[str, list[Run]]
Results = Mapping[str, Runs]


@dataclass(frozen=True)
class Ratio:
    """What is compared with its goal: `over` / `under`, of the runs of one round."""

    what: str
    over: str
    under: str
    goal: str
    of_over: Callable[[Run], float] = lambda run: run.wall
    of_under: Callable[[Run], float] = lambda run: run.wall


def _cpu(run: Run) -> float:
    return run.cpu


def _peak(run: Run) -> float:
    return run.peak


def _merge(run: Run) -> float:
    return run.merge


RATIOS = (
    Ratio("data phase of linear against cat + cp", "linear", "cat + cp", "≤ 0.65 on two free cores", _merge),
    Ratio("linear, whole, against cat + cp", "linear", "cat + cp", "≤ 1.8 where cold"),
    Ratio("mergekit against linear, wall", "mergekit linear", "linear", "≥ 6; ≥ 12 at 5.2 GB"),
    Ratio("mergekit against linear, CPU seconds", "mergekit linear", "linear", "≥ 5", _cpu, _cpu),
    Ratio("mergekit against slerp, wall", "mergekit slerp", "slerp", "≥ 8"),
    Ratio("mergekit against slerp, CPU seconds", "mergekit slerp", "slerp", "", _cpu, _cpu),
    Ratio("mergekit against ties, wall", "mergekit ties", "ties", "≥ 15"),
    Ratio("mergekit against ties, CPU seconds", "mergekit ties", "ties", "", _cpu, _cpu),
    Ratio("naive script against linear, wall", "naive script", "linear", "≥ 15"),
    Ratio("naive script against linear, memory", "naive script", "linear", "≥ 20", _peak, _peak),
)
MEMORY = (("linear", "≤ 256, and ≤ 24 more than import torch"), ("slerp", "≤ 300"), ("ties", "≤ 300"))


def write_table(path: Path, results: Results) -> None:
    lines = ["# Benchmarks", "", *_introduction(results)]
    for size, runs in results.items():
        lines += ["", f"## {size}", "", *_times(runs), "", *_ratios(runs), *_memory(runs)]
    path.parent.mkdir(parents=True, exist_ok=True)
    old = path.read_text(encoding="utf-8") if path.is_file() else ""
    _, heading, notes = old.partition(NOTES)  # what people wrote below stays
    path.write_text("\n".join(lines) + "\n" + heading + notes, encoding="utf-8")


def _introduction(results: Results) -> Iterable[str]:
    loads = [run.load for runs in results.values() for made in runs.values() for run in made]
    yield (
        f"Made by `python -m benchmarks` on {platform.system()} {platform.machine()}, {_processor()}, "
        f"{os.cpu_count()} cores, Python {platform.python_version()}. The load of the machine before the runs was "
        f"{min(loads):.1f} to {max(loads):.1f}, {statistics.median(loads):.1f} in the middle."
    )
    yield "Contenders take turns; each ratio is of two runs of one round. The inputs lie in the page cache, but where"
    yield "it says cold. The data phase is what a merge reads, computes and writes; `sync` is what the disk has to do"
    yield "then, and no other contender waits for that. CPU seconds suffer least where others use the machine."


def _processor() -> str:
    """As Linux describes it; elsewhere what Python knows."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return f"{model or platform.processor()}{'' if 'avx512' in ' '.join(lines) else ' without AVX-512'}"


def _times(runs: Runs) -> Iterable[str]:
    yield "| what | runs | wall s, least / middle | CPU s, least / middle | peak MB | data phase s | sync s |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for name, made in runs.items():
        stages = [_pair([run.stages[stage] for run in made if stage in run.stages]) for stage in ("merge", "sync")]
        yield (
            f"| {name} | {len(made)} | {_pair([run.wall for run in made])} | {_pair([run.cpu for run in made])} | "
            f"{max(run.peak for run in made) / 1e6:.0f} | {' | '.join(stages)} |"
        )


def _ratios(runs: Runs) -> Iterable[str]:
    yield "| ratio, round by round | least / middle / most | goal |"
    yield "| --- | --- | --- |"
    for ratio in RATIOS:
        if ratio.over in runs and ratio.under in runs:
            pairs = zip(runs[ratio.over], runs[ratio.under], strict=False)
            found = [ratio.of_over(over) / ratio.of_under(under) for over, under in pairs]
            yield f"| {ratio.what} | {_pair(found)} / {max(found):.2f} | {ratio.goal} |"
    if {"linear", "mergekit linear", "import torch", "import mergekit"} <= runs.keys():
        found = [_without(runs, number) for number in range(len(runs["mergekit linear"]))]
        what = "mergekit against linear, CPU seconds, without both sides' imports"
        yield f"| {what} | {_pair(found)} / {max(found):.2f} | ≥ 8 |"


def _without(runs: Runs, number: int) -> float:
    def cpu(name: str) -> float:
        return runs[name][min(number, len(runs[name]) - 1)].cpu

    return (cpu("mergekit linear") - cpu("import mergekit")) / (cpu("linear") - cpu("import torch"))


def _memory(runs: Runs) -> Iterable[str]:
    if "import torch" in runs:
        torch = max(run.peak for run in runs["import torch"]) / 1e6
        for name, goal in MEMORY:
            if name in runs:
                peak = max(run.peak for run in runs[name]) / 1e6
                yield f"| peak of {name} in MB; more than import torch | {peak:.0f}; {peak - torch:.0f} | {goal} |"


def _pair(numbers: list[float]) -> str:
    return f"{min(numbers):.2f} / {statistics.median(numbers):.2f}" if numbers else ""
