"""What a merge may be computed on, and what is said about it. No torch here: the page asks, too."""

import json
import os
import subprocess
from dataclasses import dataclass

from blockmerge.child_environment import child_command, child_environment
from blockmerge.core.methods import METHODS
from blockmerge.errors import DeviceError

CPU = "cpu"
CUDA = "cuda"
DEVICES = (CPU, CUDA)
TIMEOUT = 60  # seconds: torch is imported, on a busy machine

_FINDER = "blockmerge.engine.gpu"


@dataclass(frozen=True, slots=True)
class Found:
    """A GPU by its name, or in words why there is none."""

    gpu: str = ""
    why: str = ""


def check_device(device: str) -> None:
    """Raises DeviceError for a device that does not exist anywhere."""
    if device not in DEVICES:
        raise DeviceError(f"device {device[:40]}: there is no such device. Use {CPU} or {CUDA}.")


def check_found(device: str, found: Found) -> None:
    """Raises DeviceError where a GPU is asked for and none was found."""
    if device == CUDA and not found.gpu:
        raise DeviceError(
            f"device {CUDA}: no CUDA GPU was found ({found.why}). Merge on the processors (device {CPU}), "
            "or install torch's CUDA build where there is a GPU."
        )


def used_device(method: str, device: str) -> str:
    """Where a method is really computed: on the processors where a GPU gains nothing."""
    return device if METHODS[method].gains_on_gpu else CPU


def device_sentence(method: str, device: str) -> str:
    """What is said of a plan whose device is no matter of course; empty for the processors."""
    if device == CPU:
        return ""
    if used_device(method, device) == CPU:
        return f"Computed on the processors: {method} waits for the disk, not for arithmetic, so a GPU gains nothing."
    return "Computed on the GPU: other last bits than the processors' may come out."


def ask_gpu() -> Found:
    """What torch finds on this machine, from a child, as importing it here would take seconds and memory."""
    try:
        child = subprocess.run(
            child_command(_FINDER),
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            env=child_environment(os.environ),
            check=True,
        )
    except subprocess.TimeoutExpired:
        return Found(why=f"torch did not answer within {TIMEOUT} seconds")
    except subprocess.CalledProcessError as error:
        return Found(why=next(iter(error.stderr.strip().splitlines()[-1:]), "torch could not be imported"))
    return Found(**json.loads(child.stdout.splitlines()[-1]))
