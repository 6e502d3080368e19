"""`python -m benchmarks`: how fast merges are, against copying files, mergekit and a plain script, in one run.

Every round runs all contenders, forwards and then backwards, each after its last result was deleted and the inputs
were read once, or with --cold dropped from memory; only ratios of one round are compared. Every run is appended to
runs.jsonl in the folder, and docs/benchmarks.md is written from all that stands there: so sizes may be measured one by
one.
"""

import argparse
import compileall
import json
from collections.abc import Iterable
from pathlib import Path

import blockmerge
from benchmarks.contenders import CONTENDERS, Contender, Run, prepare
from benchmarks.fixtures import SIZES
from benchmarks.table import Results, write_table

KEPT = "runs.jsonl"


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    options.add_argument("folder", type=Path, help="where the models and results go; some 20 GB for all sizes")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--only", nargs="*", choices=[contender.name for contender in CONTENDERS])
    options.add_argument("--sizes", nargs="*", choices=list(SIZES), default=["1.3 GB"])
    options.add_argument("--cold", action="store_true", help="drop the inputs from the page cache before every run")
    options.add_argument("--out", type=Path, default=Path("docs/benchmarks.md"))
    given = options.parse_args()
    # As pip does with the others: a machine may forbid Python to keep what it compiled (PYTHONDONTWRITEBYTECODE).
    compileall.compile_dir(Path(blockmerge.__file__).parent, quiet=1)
    chosen = [one for one in CONTENDERS if given.only is None or one.name in given.only]
    for size in given.sizes:
        with (given.folder / KEPT).open("a") as kept:
            for name, run in _measure(given.folder, size, given.rounds, chosen, is_cold=given.cold):
                title = f"{size}, cold" if given.cold else size
                print(f"{title}: {name} {run}", flush=True)
                kept.write(json.dumps({"size": title, "name": name, **run.values}) + "\n")
                kept.flush()
    write_table(given.out, _results(given.folder / KEPT))


def _measure(
    folder: Path, size: str, rounds: int, chosen: list[Contender], *, is_cold: bool
) -> Iterable[tuple[str, Run]]:
    inputs = prepare(folder, size)
    for number in range(rounds):
        for contender in chosen if number % 2 == 0 else chosen[::-1]:
            yield contender.name, contender.run(inputs, is_cold=is_cold)


def _results(path: Path) -> Results:
    results: dict[str, dict[str, list[Run]]] = {}
    for line in path.read_text().splitlines():
        value = json.loads(line)
        size, name = value.pop("size"), value.pop("name")
        results.setdefault(size, {}).setdefault(name, []).append(Run(**value))
    return results


if __name__ == "__main__":
    main()
