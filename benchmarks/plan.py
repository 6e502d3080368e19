"""`python -m benchmarks.plan`: what headers and the plan of 10,000 tensors cost, without torch.

CPU seconds, so that a busy machine disturbs them less, and how many times the same file's JSON alone could be parsed.
"""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.fixtures import SIZES, write_model
from blockmerge.checkpoints.models import open_models
from blockmerge.core.plan import make_plan
from blockmerge.core.recipe import parse_recipe
from blockmerge.core.tensors import Checkpoint
from blockmerge.lasting import made_to_last

SIZE = "10,000 tensors"
ROUNDS = 5


def main() -> None:
    with TemporaryDirectory() as folder:
        opened: dict[str, Checkpoint] = {}
        models = {key: str(write_model(Path(folder) / key, SIZES[SIZE], seed)) for seed, key in enumerate("ab")}
        # Once: headers that were read before are remembered.
        headers = _seconds(lambda: opened.update(open_models(models)), rounds=1)
        recipe = parse_recipe(
            json.dumps({"blockmerge": 1, "models": models, "weights": {"layers": {"preset": "rise"}}})
        )
        texts = [_header_text(path) for path in sorted(Path(models["a"]).glob("*.safetensors"))]
        parsing = _seconds(lambda: [json.loads(text) for text in texts])
        # Fresh checkpoints, as one that has been asked for its layout keeps it.
        plan = _seconds(lambda: make_plan(recipe, {key: replace(held) for key, held in opened.items()}))
    for what, seconds in (("JSON of one model's headers", parsing), ("both models opened", headers), ("plan", plan)):
        print(f"{what}: {seconds:.3f} s of CPU time, {seconds / parsing:.1f} times the JSON")


def _header_text(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(int.from_bytes(file.read(8), "little"))


def _seconds(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    """The least of some rounds, each as the command line does it: nothing is searched for garbage meanwhile."""
    taken: list[float] = []
    for _ in range(rounds):
        with made_to_last():
            start = time.process_time()
            work()
            taken.append(time.process_time() - start)
    return min(taken)


if __name__ == "__main__":
    main()
