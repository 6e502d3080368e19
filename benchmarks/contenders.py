"""Who is measured: each a command of its own, timed as a whole process."""

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.fixtures import SIZES, write_model

NAIVE = """
import sys, torch
from transformers import AutoModelForCausalLM
a, b = (AutoModelForCausalLM.from_pretrained(path, dtype=torch.bfloat16) for path in sys.argv[1:3])
weights, other = a.state_dict(), b.state_dict()
for name in weights:
    weights[name] = weights[name] * 0.7 + other[name] * 0.3
a.load_state_dict(weights)
a.save_pretrained(sys.argv[3])
"""


@dataclass(frozen=True)
class Inputs:
    """The models of one size: a base and two that were tuned from it; where results go."""

    folder: Path

    def model(self, key: str) -> Path:
        return self.folder / key

    @property
    def out(self) -> Path:
        return self.folder / "out"


@dataclass(frozen=True)
class Run:
    """Seconds and bytes of one run, and the load of the machine before it; `stages` are seconds by stage, where it says
    so, and among them `merge` is the data phase."""

    wall: float
    cpu: float
    peak: int
    load: float
    stages: Mapping[str, float] = field(default_factory=dict)

    @property
    def merge(self) -> float:
        return self.stages["merge"]

    @property
    def values(self) -> Mapping[str, object]:
        return asdict(self)

    def __str__(self) -> str:
        said = "".join(f", {stage} {seconds:.2f} s" for stage, seconds in self.stages.items())
        return f"{self.wall:.2f} s, {self.cpu:.2f} CPU s, {self.peak / 1e6:.0f} MB{said}; load {self.load:.1f}"


@dataclass(frozen=True)
class Contender:
    name: str
    command: Callable[[Inputs], list[str]]

    def run(self, inputs: Inputs, *, is_cold: bool) -> Run:
        command = self.command(inputs)
        for key in ("base", "a", "b"):
            for path in sorted(inputs.model(key).glob("*.safetensors")):
                (_forget if is_cold else _read)(path)
        # Last, as a virtual machine may give freed memory back to its host seconds later, and has to ask for it again.
        shutil.rmtree(inputs.out, ignore_errors=True)
        os.sync()
        return _time(command)


def _forget(path: Path) -> None:
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _read(path: Path) -> None:
    buffer = bytearray(1 << 22)
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass


def _time(command: list[str]) -> Run:
    load = os.getloadavg()[0]
    environ = {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environ)
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - start
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(command)[:200]} ended with {process.returncode}.")
    return _run(wall, used, said, load)


def _run(wall: float, used: resource.struct_rusage, said: bytes, load: float) -> Run:
    stages: dict[str, float] = json.loads(said)["seconds"] if said.startswith(b"{") else {}
    return Run(wall, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024, load, stages)


def _ours(method: str, **recipe: object) -> Callable[[Inputs], list[str]]:
    def command(inputs: Inputs) -> list[str]:
        models = {key: str(inputs.model(key)) for key in "ab"}
        value = {"blockmerge": 1, "method": method, "models": models, "weights": {"layers": 0.3}, **recipe}
        if "base" in recipe:
            value["base"] = str(inputs.model("base"))
        path = inputs.folder / f"{method}.json"
        path.write_text(json.dumps(value))
        return [sys.executable, "-m", "blockmerge", "merge", str(path), "--out", str(inputs.out), "--json"]

    return command


def _mergekit(method: str) -> Callable[[Inputs], list[str]]:
    def command(inputs: Inputs) -> list[str]:
        path = inputs.folder / f"{method}.yml"
        path.write_text(json.dumps(_mergekit_config(method, inputs)))  # JSON is YAML
        tool = str(Path(sys.executable).with_name("mergekit-yaml"))
        return [tool, str(path), str(inputs.out), "--no-copy-tokenizer", "--no-write-model-card"]

    return command


def _mergekit_config(method: str, inputs: Inputs) -> dict[str, object]:
    a, b, base = (str(inputs.model(key).resolve()) for key in ("a", "b", "base"))
    if method == "slerp":
        models: list[dict[str, object]] = [{"model": a}, {"model": b}]
        return {"merge_method": method, "base_model": a, "models": models, "parameters": {"t": 0.3}}
    told = {"weight": 0.7, "density": 0.2}, {"weight": 0.3, "density": 0.2}
    both = [{"model": path, "parameters": own} for path, own in zip((a, b), told, strict=True)]
    if method == "linear":
        return {"merge_method": method, "models": both, "parameters": {"normalize": False}}
    return {"merge_method": method, "base_model": base, "models": both, "parameters": {"normalize": True}}


def _copy(inputs: Inputs) -> list[str]:
    a, b = inputs.model("a"), inputs.model("b")
    script = f"cat {b}/*.safetensors >/dev/null; mkdir {inputs.out}; cp {a}/*.safetensors {inputs.out}"
    return ["sh", "-c", script]


def _naive(inputs: Inputs) -> list[str]:
    return [sys.executable, "-c", NAIVE, str(inputs.model("a")), str(inputs.model("b")), str(inputs.out)]


def _imports(module: str) -> Callable[[Inputs], list[str]]:
    return lambda _: [sys.executable, "-c", f"import {module}"]


TIES = {
    "base": "",
    "weights": {"a": {"layers": 0.7}, "b": {"layers": 0.3}},
    "parameters": {"density": 0.2, "normalize": True},
}
CONTENDERS = (
    Contender("cat + cp", _copy),
    Contender("import torch", _imports("torch")),
    Contender("import mergekit", _imports("mergekit.scripts.run_yaml")),
    Contender("linear", _ours("linear")),
    Contender("slerp", _ours("slerp")),
    Contender("ties", _ours("ties", **TIES)),
    Contender("mergekit linear", _mergekit("linear")),
    Contender("mergekit slerp", _mergekit("slerp")),
    Contender("mergekit ties", _mergekit("ties")),
    Contender("naive script", _naive),
)


def prepare(folder: Path, size: str) -> Inputs:
    """Make the models of this size unless they are there."""
    inputs = Inputs(folder / size.replace(" ", "-"))
    base = write_model(inputs.model("base"), SIZES[size], 0)
    for seed, key in enumerate("ab", 1):
        write_model(inputs.model(key), SIZES[size], seed, base)
    return inputs
