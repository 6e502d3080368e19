"""`python -m benchmarks.device`: the data phase of every method on the processors and on a GPU, from file to file.

Models of 54 million parameters that lie in the page cache, so that no disk hides what is computed; the second of two
runs. `python -m benchmarks.device cpu` measures the processors alone.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from blockmerge.core.plan import Plan
from blockmerge.engine.devices import CPU, DEVICES, check_device, check_found
from blockmerge.engine.gpu import find_gpu, make_device
from blockmerge.engine.merge import processor
from blockmerge.engine.stations import PROCESSORS
from blockmerge.errors import DeviceError
from tests.engine.merges import merge
from tests.engine.test_methods import plan_for
from tests.kernels.cases import CASES
from tests.tiny_models import write_llama

SIZES = {"layers": 4, "hidden": 1024, "vocab": 8000}
MODELS = ("base", "a", "b", "c")


def main() -> int:
    try:
        measure(sys.argv[1:] or DEVICES)
    except DeviceError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def measure(devices: Sequence[str]) -> None:
    found = find_gpu()
    for device in devices:
        check_device(device)
        check_found(device, found)
    print(f"torch {torch.__version__}, {processor()}, {found.gpu or found.why}; seconds, and GB of the result in one")
    with TemporaryDirectory() as name:
        folder = Path(name)
        for seed, model in enumerate(MODELS):
            write_llama(folder / model, seed=seed, **SIZES)  # type: ignore[arg-type]
        for case in CASES:
            plan = plan_for(case, folder)
            took = {device: seconds(plan, folder / "out", device, found.gpu) for device in devices}
            rates = [f"{device} {one:7.2f} s {plan.nbytes / 1e9 / one:6.2f} GB/s" for device, one in took.items()]
            print(f"{case!s:70} {'   '.join(rates)}", flush=True)


def seconds(plan: Plan, out: Path, device: str, gpu: str) -> float:
    used = PROCESSORS if device == CPU else make_device(plan, torch.device(device), gpu)
    runs = [merge(plan, out, overwrite=out.exists(), device=used).seconds["merge"] for _ in range(2)]
    return runs[-1]


if __name__ == "__main__":
    sys.exit(main())
