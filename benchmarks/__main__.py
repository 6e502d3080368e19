"""`python -m benchmarks`: how fast merges are, against copying files, mergekit and a plain script, in one run.

Every round runs all contenders, forwards and then backwards, each after the inputs were read once and its last result
was deleted; only ratios of one round are compared. Writes docs/benchmarks.md.
"""

import argparse
import statistics
from collections.abc import Mapping
from pathlib import Path

from benchmarks.contenders import CONTENDERS, Contender, Run, prepare
from benchmarks.table import write_table


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    options.add_argument("folder", type=Path, help="where the models and results go; some 20 GB for all sizes")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--only", nargs="*", choices=[contender.name for contender in CONTENDERS])
    options.add_argument("--sizes", nargs="*", default=["1.3 GB"], help="1.3 GB, 5.2 GB, 10,000 tensors")
    options.add_argument("--out", type=Path, default=Path("docs/benchmarks.md"))
    given = options.parse_args()
    results = {size: _measure(given.folder, size, given.rounds, given.only) for size in given.sizes}
    for size, runs in results.items():
        _print(size, runs)
    write_table(given.out, results)


def _measure(folder: Path, size: str, rounds: int, only: list[str] | None) -> Mapping[str, list[Run]]:
    inputs = prepare(folder, size)
    chosen: list[Contender] = [one for one in CONTENDERS if only is None or one.name in only]
    runs: dict[str, list[Run]] = {one.name: [] for one in chosen}
    for number in range(rounds):
        for contender in chosen if number % 2 == 0 else chosen[::-1]:
            runs[contender.name].append(contender.run(inputs))
            print(f"{size}, round {number + 1}: {contender.name} {runs[contender.name][-1]}", flush=True)
    return runs


def _print(size: str, runs: Mapping[str, list[Run]]) -> None:
    for name, made in runs.items():
        walls = [run.wall for run in made]
        print(f"{size} {name}: wall {min(walls):.2f} s at least, {statistics.median(walls):.2f} s in the middle")


if __name__ == "__main__":
    main()
