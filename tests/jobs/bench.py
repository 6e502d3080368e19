"""A queue in a temporary folder, models that take a while to merge, and questions about who is at work."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from blockmerge.jobs.process import close_stdin, start_python
from blockmerge.jobs.states import Job, JobState, NewJob, Ticket
from blockmerge.jobs.store import Store
from blockmerge.settings import Settings, environment_of, read_settings

STAND_IN = Path(__file__).parent / "stand_in"
PAGE = """
import os, time
from blockmerge.jobs.supervise import supervised_worker
from blockmerge.settings import read_settings
with supervised_worker(read_settings(os.environ)):
    print("up", flush=True)
    time.sleep(24 * 3600)  # longer than any measure takes
"""


def _shapes(layers: int, hidden: int, inner: int, vocabulary: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocabulary, hidden)}
    for layer in range(layers):
        prefix = f"model.layers.{layer}."
        shapes |= {f"{prefix}self_attn.{letter}_proj.weight": (hidden, hidden) for letter in "qkvo"}
        shapes |= {f"{prefix}mlp.{name}_proj.weight": (inner, hidden) for name in ("gate", "up")}
        shapes[f"{prefix}mlp.down_proj.weight"] = (hidden, inner)
        shapes |= {f"{prefix}{name}_layernorm.weight": (hidden,) for name in ("input", "post_attention")}
    return shapes | {"model.norm.weight": (hidden,), "lm_head.weight": (vocabulary, hidden)}


def write_hollow_model(folder: Path, layers: int, sizes: tuple[int, int, int]) -> Path:
    """A Llama of zeros that takes no room on the disk: its data is a hole."""
    hidden, inner, vocabulary = sizes
    entries: dict[str, object] = {}
    end = 0
    for name, shape in _shapes(layers, hidden, inner, vocabulary).items():
        start, end = end, end + 2 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        entries[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [start, end]}
    header = json.dumps(entries).encode()
    header += b" " * (-len(header) % 8)
    folder.mkdir(parents=True)
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + end)
    config = {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_attention_heads": 2,
        "vocab_size": vocabulary,
        "tie_word_embeddings": False,
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@dataclass
class Bench:
    """A queue, what works on it, and questions about both."""

    settings: Settings
    store: Store
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def add(self, name: str, models: tuple[Path, Path], method: str = "slerp", device: str = "cpu") -> int:
        """slerp takes more than twice as long as linear, which would be done with 0.5 GB before it is stopped."""
        recipe = {
            "blockmerge": 1,
            "method": method,
            "models": {"a": str(models[0]), "b": str(models[1])},
            "weights": {"layers": 0.5},
        }
        return self.add_recipe(name, json.dumps(recipe), device)

    def add_recipe(self, name: str, recipe: str, device: str = "cpu") -> int:
        return self.store.add(NewJob(name, recipe, self.settings.output / name, ("a", "b"), device=device))

    def start_worker(self, home: Path | None = None) -> subprocess.Popen[bytes]:
        """With its own home where one is given, as on another machine."""
        environ = self.environ() if home is None else {**self.environ(), "BLOCKMERGE_HOME": str(home)}
        return self._keep(start_python("blockmerge.jobs.worker", environ))

    def start_page(self) -> subprocess.Popen[bytes]:
        """A process that does nothing but keep a worker, as the page's does."""
        script = self.settings.home / "page.py"
        script.parent.mkdir(parents=True, exist_ok=True)
        script.write_text(PAGE)
        log = (self.settings.home / f"page-{len(self.started)}.log").open("wb")
        environ = {**self.environ(), "PYTHONPATH": f"{Path.cwd()}{os.pathsep}{STAND_IN}"}
        with log:
            return self._keep(subprocess.Popen([sys.executable, script], stdout=log, stderr=log, env=environ))

    def log_of(self, page: subprocess.Popen[bytes]) -> str:
        return (self.settings.home / f"page-{self.started.index(page)}.log").read_text()

    def _keep(self, process: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
        self.started.append(process)
        return process

    def environ(self) -> dict[str, str]:
        return {**os.environ, **environment_of(self.settings), "PYTHONPATH": str(STAND_IN)}

    def wait_for(self, job_id: int, *states: JobState, seconds: float = 90) -> Job:
        job = self.store.get(job_id)

        def arrived() -> bool:
            nonlocal job
            job = self.store.get(job_id)
            return job.state in states

        wait_until(arrived, seconds, lambda: f"job {job_id} is {job}")
        return job

    def wait_for_merge(self, job_id: int) -> psutil.Process:
        """The process that merges this job, caught in the act and held, so that it cannot finish meanwhile."""
        self.wait_for(job_id, JobState.MERGING)
        process = self.merge_at_work()
        process.send_signal(signal.SIGSTOP)
        assert self.store.get(job_id).state is JobState.MERGING
        return process

    def merge_at_work(self) -> psutil.Process:
        """Of the merge processes, the one that has something to do."""
        [process] = [process for process in self.processes("blockmerge.jobs.run") if _works(process)]
        return process

    def is_at_work(self) -> bool:
        return any(map(_works, self.processes("blockmerge.jobs.run")))

    def processes(self, module: str) -> list[psutil.Process]:
        """The living processes of this queue that run a module."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.NoSuchProcess):
                lives = process.status() != psutil.STATUS_ZOMBIE and module in process.cmdline()
                if lives and process.environ().get("BLOCKMERGE_HOME") == str(self.settings.home):
                    found.append(process)
        return found

    def left_over(self) -> list[psutil.Process]:
        modules = ("blockmerge.jobs.worker", "blockmerge.jobs.run", "blockmerge.hub.mover")
        return [process for module in modules for process in self.processes(module)]

    def folders(self) -> list[str]:
        return sorted(path.name for path in self.settings.output.iterdir()) if self.settings.output.exists() else []


@contextmanager
def running_bench(home: Path, queue: str = "") -> Iterator[Bench]:
    """A queue of its own, in a file where none is named; nothing that worked on it stays behind."""
    environ = {"BLOCKMERGE_HOME": str(home / "home"), "BLOCKMERGE_OUTPUT": str(home / "output")}
    settings = read_settings({**environ, "BLOCKMERGE_QUEUE": queue})
    with Store(settings.queue) as store:
        made = Bench(settings, store)
        yield made
        for process in made.started:
            process.kill()
            process.wait()
            if process.stdin is not None:
                close_stdin(process)
        for stray in made.left_over():
            with suppress(psutil.NoSuchProcess):  # it was ending by itself
                stray.kill()
        wait_until(lambda: not made.left_over(), 5, made.left_over)


def _works(process: psutil.Process) -> bool:
    """Whether it has a file open in a part folder."""
    try:
        return any(".partial" in file.path for file in process.open_files())
    except psutil.NoSuchProcess:
        return False


_QUEUE = """
import json, sys, time
from blockmerge.jobs.queue import open_queue
from blockmerge.jobs.states import Ticket
handed_out = []
tickets = [Ticket(*pair) for pair in json.loads(sys.argv[2])]
carry_out = lambda ticket: (time.sleep(0.1), handed_out.append(ticket))
with open_queue(sys.argv[1], "me", 1, carry_out) as queue:
    for ticket in tickets:
        queue.put(ticket, ticket.job)
    waiting = queue.is_active({*tickets, Ticket(99, 1)}, {"me"}, ())
    while any(queue.is_active(tickets, {"me"}, ()).values()):
        time.sleep(0.05)
    print(json.dumps({
        "order": [str(ticket) for ticket in handed_out],
        "before": {str(ticket): active for ticket, active in waiting.items()},
        "after": {str(ticket): active for ticket, active in queue.is_active(tickets, {"me"}, ()).items()},
    }))
"""


def use_up(settings: Settings, *tickets: Ticket) -> dict[str, Any]:
    """Put tickets into the queue and hand them out to nobody; says in which order, and what was active meanwhile."""
    pairs = json.dumps([[ticket.job, ticket.attempt] for ticket in tickets])
    # A process of its own: dbos is made for one start per process.
    done = subprocess.run(
        [sys.executable, "-c", _QUEUE, settings.queue, pairs], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stderr == ""
    value: dict[str, Any] = json.loads(done.stdout)
    return value


def wait_until(condition: Callable[[], bool], seconds: float, what: Callable[[], object]) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.01)
