"""What a person at a terminal sees of long work and of trouble, and how they stop it."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import typer

from blockmerge.core.progress import Progress
from blockmerge.errors import BlockmergeError, InputError


@contextmanager
def exit_codes() -> Iterator[None]:
    """Every expected trouble as sentences on stderr and the exit code that belongs to it."""
    try:
        yield
    except BlockmergeError as error:
        for problem in error.problems:
            typer.echo(problem, err=True)
        raise typer.Exit(2 if isinstance(error, InputError) else 1) from error


def on_signals() -> list[int]:
    """A list that fills when somebody asks to stop; the second Ctrl-C ends at once."""
    received: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        received.append(number)
        signal.signal(number, signal.SIG_DFL)

    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, note)
    return received


@contextmanager
def progress_bar(total: int, hidden: bool) -> Iterator[Any]:
    if hidden or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description:6}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Console(stderr=True)) as bar:
        tasks: dict[str, Any] = {}

        def report(progress: Progress) -> None:
            stage = progress.stage.value
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=total)
            bar.update(tasks[stage], completed=progress.done, total=progress.total)

        yield report
