"""`python -m benchmarks.data_phase FOLDER`: the data phase alone, against cat + cp and against a loop that only copies.

Everything runs in one process that has torch already, each right after the last result was deleted: some machines give
freed memory back to their host within seconds, and whoever needs it then pays for it. The bare loop reads both models,
blends and writes: no digest, no look for NaN and Inf, no journal, and nothing goes to the disk meanwhile. It is what
threads could reach here at best; what a merge takes beyond it is the price of its promises.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import torch

from benchmarks.contenders import CONTENDERS, Inputs, prepare
from benchmarks.fixtures import SIZES
from blockmerge.checkpoints.files import allocate, open_new, opened, read_into, write_all
from blockmerge.checkpoints.models import open_models
from blockmerge.core.plan import Plan, make_plan
from blockmerge.core.recipe import parse_recipe
from blockmerge.engine.buffers import Buffer
from blockmerge.engine.chunks import CHUNK
from blockmerge.engine.merge import carry_out
from blockmerge.engine.target import Target

WEIGHT = 0.3


@dataclass(frozen=True)
class Took:
    """Seconds of what is compared, and of what the disk still had to do then."""

    work: float
    sync: float = 0.0


def copied(inputs: Inputs) -> Took:
    [contender] = [one for one in CONTENDERS if one.name == "cat + cp"]
    start = time.perf_counter()
    subprocess.run(contender.command(inputs), check=True)
    end = time.perf_counter()
    for path in inputs.out.iterdir():
        with opened(path) as file:
            os.fsync(file)
    return Took(end - start, time.perf_counter() - end)


def bare_loop(inputs: Inputs, threads: int) -> Took:
    """All files of a model have the same names and layout as the other's."""
    inputs.out.mkdir()
    lock = Lock()
    with ExitStack() as stack, ThreadPoolExecutor(threads) as pool:
        start = time.perf_counter()
        places = _places(inputs, stack)

        def work() -> None:
            torch.set_num_threads(1)
            buffers = [Buffer(), Buffer()]
            while True:
                with lock:
                    place = next(places, None)
                if place is None:
                    return
                sources, out, offset, nbytes = place
                for source, buffer in zip(sources, buffers, strict=True):
                    read_into(source, buffer.bytes(nbytes), offset)
                a, b = (buffer.tensor(nbytes, torch.bfloat16) for buffer in buffers)
                torch.lerp(a, b, WEIGHT, out=a)
                write_all(out, buffers[0].bytes(nbytes), offset)

        for future in [pool.submit(work) for _ in range(threads)]:
            future.result()
        return Took(time.perf_counter() - start)


def _places(inputs: Inputs, stack: ExitStack) -> Iterator[tuple[tuple[int, ...], int, int, int]]:
    """Where each megabyte lies: both inputs, the output, offset and length. Headers are blended as well."""
    for path in sorted(inputs.model("a").glob("*.safetensors")):
        sources = tuple(stack.enter_context(opened(inputs.model(key) / path.name)) for key in "ab")
        size = path.stat().st_size
        out = open_new(inputs.out / path.name)
        stack.callback(os.close, out)
        allocate(out, size)
        for offset in range(0, size, CHUNK):
            yield sources, out, offset, min(CHUNK, size - offset) // 2 * 2


def merged(inputs: Inputs, plan: Plan, threads: int) -> Took:
    target = Target(inputs.out)
    result = carry_out(plan, target, report=lambda _: None, is_cancelled=lambda: False, threads=threads)
    return Took(result.seconds["merge"], result.seconds["sync"])


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m benchmarks.data_phase", description=__doc__)
    options.add_argument("folder", type=Path)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--size", choices=list(SIZES), default="1.3 GB")
    given = options.parse_args()
    inputs = prepare(given.folder, given.size)
    models = {key: str(inputs.model(key)) for key in "ab"}
    recipe = parse_recipe(json.dumps({"blockmerge": 1, "models": models, "weights": {"layers": WEIGHT}}))
    plan = make_plan(recipe, open_models(models))
    contenders: Mapping[str, Callable[[], Took]] = {
        "cat + cp": lambda: copied(inputs),
        "bare loop, 1 thread": lambda: bare_loop(inputs, 1),
        "bare loop, 2 threads": lambda: bare_loop(inputs, 2),
        "merge, 1 thread": lambda: merged(inputs, plan, 1),
        "merge, 2 threads": lambda: merged(inputs, plan, 2),
    }
    took: dict[str, list[Took]] = {name: [] for name in contenders}
    for number in range(given.rounds + 1):
        for name in list(contenders)[:: 1 if number % 2 else -1]:
            _read(inputs)
            shutil.rmtree(inputs.out, ignore_errors=True)
            run = contenders[name]()
            if number:  # the first round is for the machine to wake up
                took[name].append(run)
    shutil.rmtree(inputs.out, ignore_errors=True)
    _print(took)


def _read(inputs: Inputs) -> None:
    buffer = bytearray(1 << 22)
    for key in "ab":
        for path in sorted(inputs.model(key).glob("*.safetensors")):
            with path.open("rb", buffering=0) as file:
                while file.readinto(buffer):
                    pass


def _print(took: Mapping[str, list[Took]]) -> None:
    print("seconds, and the same over cat + cp of the round; in brackets with what the disk had to do then")
    for name, runs in took.items():
        ratios = [run.work / copy.work for run, copy in zip(runs, took["cat + cp"], strict=True)]
        whole = [
            (run.work + run.sync) / (copy.work + copy.sync) for run, copy in zip(runs, took["cat + cp"], strict=True)
        ]
        synced = f" ({_spread(whole)})" if any(run.sync for run in runs) else ""
        print(f"{name}: {_spread([run.work for run in runs])} s; ratio {_spread(ratios)}{synced}")


def _spread(values: list[float]) -> str:
    return f"{min(values):.2f} / {statistics.median(values):.2f}"


if __name__ == "__main__":
    main()
