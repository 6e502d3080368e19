"""Lets one system call of a merge fail, then another, as a full or a broken disk would; nothing may be broken.

    python -m tests.jobs.disk_faults 300

Every point is a process that has imported all it needs and is forked from this one; strace, attached to it, makes the
n-th call of a kind fail. Needs Linux, strace, and the right to trace.
"""

import argparse
import json
import mmap
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from blockmerge.checkpoints.models import open_models
from blockmerge.checkpoints.verify_folder import verify_folder
from blockmerge.core.plan import Plan, make_plan
from blockmerge.core.recipe import parse_recipe
from blockmerge.engine.merge import carry_out
from blockmerge.engine.target import Target
from blockmerge.errors import BlockmergeError
from blockmerge.jobs.states import part_folder
from tests.jobs.bench import write_hollow_model

CALLS = ("pwrite64", "write", "fsync", "fallocate", "mkdir", "rename", "unlink")
ERRORS = ("ENOSPC", "EIO")
LONGEST_TEXT = 1 << 16  # bytes


@dataclass(frozen=True)
class Fault:
    call: str
    error: str
    number: int


def faults(calls: Counter[str], points: int) -> Iterator[Fault]:
    """Points spread evenly over all that there are, given how often a merge makes each call."""
    every = [Fault(call, error, n) for error in ERRORS for call in CALLS for n in range(1, calls[call] + 1)]
    return (every[len(every) * place // points] for place in range(points))


def count_calls(plan: Plan, out: Path, folder: Path) -> Counter[str]:
    """How often one thread of a merge that nothing disturbs makes each call, at most; its result stays."""
    log = folder / "calls"
    assert attempt(plan, out, None, log) == ""
    calls = Counter(re.findall(r"^(\d+) +(\w+)\(", log.read_text(), re.MULTILINE))
    most: Counter[str] = Counter()
    for (_, name), times in calls.items():
        most[name] = max(most[name], times)
    return most


def plan_for(folder: Path) -> Plan:
    """A merge that is written in several units of work."""
    sizes = (256, 512, 512)
    models = {name: str(write_hollow_model(folder / name, 6, sizes)) for name in "ab"}
    recipe = {"blockmerge": 1, "models": models, "weights": {"layers": 0.5}, "output": {"shard_size": "1MB"}}
    parsed = parse_recipe(json.dumps(recipe))
    return make_plan(parsed, open_models(parsed.references))


def attempt(plan: Plan, out: Path, fault: Fault | None, log: Path | None = None) -> str:
    """Empty where the merge succeeded, else what it said; a crash begins with "Traceback". `log` takes its calls."""
    said = mmap.mmap(-1, LONGEST_TEXT)  # shared with the child; a pipe's write could be the call that fails
    ready, begin = os.pipe()
    child = os.fork()
    if child == 0:
        os.read(ready, 1)
        text = _outcome(plan, out)
        said.write(text.encode()[:LONGEST_TEXT])
        os._exit(0)
    tracer = None if fault is None and log is None else _trace(child, fault, log or Path(os.devnull))
    os.write(begin, b"!")
    os.waitpid(child, 0)
    if tracer is not None:
        tracer.wait()
    os.close(ready)
    os.close(begin)
    with said:
        return said.read().rstrip(b"\0").decode()


def _outcome(plan: Plan, out: Path) -> str:
    try:
        # With one thread the n-th call is the same one each time: strace counts each thread's calls for themselves.
        carry_out(plan, Target(out), report=lambda _: None, is_cancelled=lambda: False, threads=1)
    except BlockmergeError as error:
        return str(error)
    except OSError as error:
        return f"Traceback: {error!r}"
    return ""


def _trace(child: int, fault: Fault | None, log: Path) -> "subprocess.Popen[bytes]":
    what = ["-e", f"trace={','.join(CALLS)}"]
    if fault is not None:
        how = f"{fault.call}:error={fault.error}:when={fault.number}"
        what = ["-e", f"trace={fault.call}", "-e", f"inject={how}"]
    tracer = subprocess.Popen(["strace", "-f", "-qq", "-p", str(child), *what, "-o", str(log)])
    status = Path(f"/proc/{child}/status")
    while "TracerPid:\t0\n" in status.read_text():
        assert tracer.poll() is None, "strace may not trace here"
        time.sleep(0.005)
    return tracer


def check_fault(plan: Plan, out: Path, digest: str, fault: Fault) -> str:
    """One point: a whole result, or a sentence and nothing that the same merge cannot go on from. What it said."""
    said = attempt(plan, out, fault)
    assert not said.startswith("Traceback"), (fault, said)
    if said:
        assert not out.exists() or is_whole(out, digest), (fault, said)
    else:
        assert is_whole(out, digest), fault
        assert not part_folder(out).exists(), fault
    if not out.exists():
        assert attempt(plan, out, None) == "", fault
    assert is_whole(out, digest), fault
    assert not part_folder(out).exists(), fault
    shutil.rmtree(out)
    return said


def is_whole(out: Path, digest: str) -> bool:
    return verify_folder(out, report=lambda _: None, read_data=True).manifest.result_digest == digest


def run(points: int, folder: Path) -> Counter[str]:
    """How often each sentence was said, numbers apart; "" is a merge whose call did not fail, or did not matter."""
    plan, out = plan_for(folder), folder / "out"
    calls = count_calls(plan, out, folder)
    print(json.dumps(calls), flush=True)
    digest = verify_folder(out, report=lambda _: None).manifest.result_digest
    shutil.rmtree(out)
    said: Counter[str] = Counter()
    for fault in faults(calls, points):
        said[check_fault(plan, out, digest, fault).replace(str(folder), "…")] += 1
    return said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("points", type=int)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="blockmerge-faults-") as folder:
        said = run(arguments.points, Path(folder))
    print(json.dumps(dict(said.most_common()), indent=1))
    fired = sum(times for sentence, times in said.items() if sentence)
    print(f"{arguments.points} points, {fired} stopped the merge; nothing broken, nothing left over")


if __name__ == "__main__":
    main()
