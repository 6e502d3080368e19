"""The GPU of this machine, as torch sees it. Its main() tells a process that does not import torch."""

import json
from dataclasses import asdict

import torch

from blockmerge.core.describe import size_text
from blockmerge.core.method import Scope
from blockmerge.core.methods import METHODS
from blockmerge.core.plan import Action, Plan
from blockmerge.engine.devices import CPU, CUDA, Found, check_device, check_found, used_device
from blockmerge.engine.estimate import gpu_memory
from blockmerge.engine.stations import COARSE, PROCESSORS, Device, Gpu
from blockmerge.errors import GpuError


def find_gpu() -> Found:
    """The first GPU; nothing is computed on several."""
    if torch.cuda.is_available():
        return Found(gpu=torch.cuda.get_device_name(0))
    if torch.version.cuda is None:
        return Found(why=f"torch {torch.__version__} is built without CUDA")
    return Found(why=f"torch {torch.__version__} finds none that CUDA {torch.version.cuda} and the driver can use")


def device_for(plan: Plan, device: str) -> Device:
    """What carries out a plan on the device that was asked for.

    Raises DeviceError where that is not here, and GpuError where it has too little free memory.
    """
    check_device(device)
    if device == CPU:
        return PROCESSORS
    found = find_gpu()
    check_found(device, found)
    if used_device(plan.recipe.method, device) == CPU:
        return PROCESSORS
    check_free(plan, found, torch.cuda.mem_get_info()[0])
    return make_device(plan, torch.device(CUDA), found.gpu)


def make_device(plan: Plan, device: torch.device, name: str) -> Device:
    """A method that must see a whole tensor has one at a time there."""
    method = METHODS[plan.recipe.method]
    scopes = {method.scope_for(step.parameters) for step in plan.steps if step.action is Action.BLEND}
    waiting = 0 if Scope.TENSOR in scopes else 1
    return Device(lambda: Gpu(device, waiting), COARSE, name)


def check_free(plan: Plan, found: Found, free: int) -> None:
    """Raises GpuError where a GPU with so many free bytes is too small for the merge."""
    need = gpu_memory(plan)
    if need > free:
        raise GpuError(
            f"{found.gpu} has {size_text(free)} of memory free, and this merge needs {size_text(need)} of it. "
            f"End what else uses it, or merge on the processors (device {CPU})."
        )


def main() -> None:
    print(json.dumps(asdict(find_gpu())))
