"""Where a merge may be computed."""

from blockmerge.errors import InputError

DEVICES = ("cpu",)


def check_device(device: str) -> None:
    """Raises InputError for a device that is not there or not supported."""
    if device not in DEVICES:
        raise InputError(f"--device {device}: merges are computed on the processor in this version. Use --device cpu.")
