"""Amounts and times as the page writes them."""

from collections.abc import Mapping

from blockmerge.core.describe import size_text
from blockmerge.core.progress import Stage
from blockmerge.jobs.states import JobProgress

SHORTEST_MEASURE = 0.5  # seconds; a rate over less is noise


def rate(progress: JobProgress | None) -> float | None:
    """Bytes a second since the stage began; None until there is something to measure."""
    if progress is None or progress.at - progress.since < SHORTEST_MEASURE or not progress.done:
        return None
    return progress.done / (progress.at - progress.since)


def time_left(progress: JobProgress | None) -> float | None:
    """Seconds until the bytes are written, at the rate so far. Verifying takes a moment only."""
    speed = rate(progress)
    if progress is None or progress.stage is not Stage.MERGE or speed is None:
        return None
    return (progress.total - progress.done) / speed


_UNITS: Mapping[str, int] = {"TB": 10**12, "GB": 10**9, "MB": 10**6, "kB": 10**3, "bytes": 1}


def share_text(done: int, total: int) -> str:
    """Bytes of bytes in one unit: "5.9 of 14.5 GB"."""
    number, unit = size_text(total).split()
    decimals = 1 if "." in number else 0
    return f"{done / _UNITS[unit]:.{decimals}f} of {number} {unit}"


def duration_text(seconds: float) -> str:
    """A time that was measured: "2 min 10 s"."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {whole % 60} s" if minutes else f"{whole} s"


def left_text(seconds: float) -> str:
    """A time that is expected: "about 3 min"."""
    if seconds < 10:
        return "a few seconds"
    if seconds < 55:
        return f"about {round(seconds / 10 + 0.4) * 10} s"
    if seconds < 5400:
        return f"about {max(1, round(seconds / 60))} min"
    return f"about {round(seconds / 3600)} h"
