"""The results as docs/benchmarks.md."""

import os
import platform
import statistics
from collections.abc import Iterable, Mapping
from pathlib import Path

from benchmarks.contenders import Run

Runs = Mapping[str, list[Run]]

# What is compared: ours against theirs, by which number, and the goal for ours / theirs or theirs / ours.
RATIOS = (
    ("data phase of linear against cat + cp", "linear", "cat + cp", "merge", "wall", "≤ 0.65 on two free cores"),
    ("linear against mergekit, wall", "mergekit linear", "linear", "wall", "wall", "≥ 6"),
    ("linear against mergekit, CPU seconds", "mergekit linear", "linear", "cpu", "cpu", "≥ 5"),
    ("slerp against mergekit, wall", "mergekit slerp", "slerp", "wall", "wall", "≥ 8"),
    ("ties against mergekit, wall", "mergekit ties", "ties", "wall", "wall", "≥ 15"),
    ("linear against the naive script, wall", "naive script", "linear", "wall", "wall", "≥ 15"),
    ("linear against the naive script, memory", "naive script", "linear", "peak", "peak", "≥ 20"),
)


def write_table(path: Path, results: Mapping[str, Runs]) -> None:
    lines = ["# Benchmarks", "", *_introduction()]
    for size, runs in results.items():
        lines += ["", f"## {size}", "", *_times(runs), "", *_ratios(runs)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _introduction() -> Iterable[str]:
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    yield (
        f"Made by `python -m benchmarks` on {platform.system()} {platform.machine()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}, with a load of {load:.1f} at the end."
    )
    yield "Contenders take turns; each ratio is of two runs of one round. All inputs lie in the page cache."


def _times(runs: Runs) -> Iterable[str]:
    yield "| what | wall s, least / middle | CPU s, least / middle | peak MB | data phase s |"
    yield "| --- | --- | --- | --- | --- |"
    for name, made in runs.items():
        data = [run.merge for run in made if run.merge is not None]
        yield (
            f"| {name} | {_pair([run.wall for run in made])} | {_pair([run.cpu for run in made])} | "
            f"{max(run.peak for run in made) / 1e6:.0f} | {_pair(data) if data else ''} |"
        )


def _ratios(runs: Runs) -> Iterable[str]:
    yield "| ratio, round by round | least / middle | goal |"
    yield "| --- | --- | --- |"
    for what, over, under, own, other, goal in RATIOS:
        if over in runs and under in runs:
            pairs = zip(runs[over], runs[under], strict=True)
            yield f"| {what} | {_pair([getattr(x, own) / getattr(y, other) for x, y in pairs])} | {goal} |"


def _pair(numbers: list[float]) -> str:
    return f"{min(numbers):.2f} / {statistics.median(numbers):.2f}"
