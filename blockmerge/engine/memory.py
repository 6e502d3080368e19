"""How much memory there is: what the machine has, or what the container around us may take, whichever is less."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

_ROOT = Path("/sys/fs/cgroup")
_CGROUPS = (  # limit, used, and of that what the system would give back; version 2, then 1
    ("memory.max", "memory.current", "memory.stat", "inactive_file"),
    (
        "memory/memory.limit_in_bytes",
        "memory/memory.usage_in_bytes",
        "memory/memory.stat",
        "total_inactive_file",
    ),
)


@dataclass(frozen=True, slots=True)
class Memory:
    """In bytes; `free` is what can still be taken."""

    total: int
    free: int


def memory_here(cgroup: Path = _ROOT) -> Memory:
    machine = psutil.virtual_memory()
    known = [Memory(machine.total, machine.available), *_container(cgroup)]
    return Memory(min(memory.total for memory in known), max(0, min(memory.free for memory in known)))


def _container(cgroup: Path) -> Iterator[Memory]:
    for limit_file, used_file, stat_file, reclaimable in _CGROUPS:
        try:
            limit, used = (cgroup / limit_file).read_text(), (cgroup / used_file).read_text()
            stat = dict(line.split() for line in (cgroup / stat_file).read_text().splitlines())
        except OSError:
            continue  # another version, or another system
        if limit.strip().isdecimal():  # "max" where there is none
            yield Memory(int(limit), int(limit) - int(used) + int(stat[reclaimable]))
