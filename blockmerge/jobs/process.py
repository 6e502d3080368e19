"""Child processes on every system: how they start, how they see that their parent is gone, what their death means."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress

from blockmerge.child_environment import child_command, child_environment

_WINDOWS = sys.platform == "win32"


def start_python(
    module: str, environ: Mapping[str, str], *, answers: bool = False, complains: bool = False
) -> subprocess.Popen[bytes]:
    """Start a module's main() in a session of its own, so that a Ctrl-C at the terminal reaches only the parent.

    Its stdin is a pipe that the parent holds open as long as it lives. With `answers` its stdout is a pipe too, with
    `complains` its stderr: whoever asks for one reads it to its end, or the child waits for that.
    """
    return subprocess.Popen(
        child_command(module),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE if answers else None,
        stderr=subprocess.PIPE if complains else None,
        env=child_environment(environ),
        start_new_session=not _WINDOWS,
        creationflags=_new_group(),
    )


def _new_group() -> int:
    if sys.platform == "win32":
        return subprocess.CREATE_NEW_PROCESS_GROUP
    return 0


def watch_parent(on_line: Callable[[bytes], None], on_end: Callable[[], None]) -> None:
    """Call `on_line` for each line on stdin and `on_end` when it ends: the parent closed it, or is dead.

    Both run in a thread of their own. Plain reads, because a buffered reader aborts the interpreter at its exit.
    """

    def watch() -> None:
        held = b""
        while found := os.read(0, 65536):
            *lines, held = (held + found).split(b"\n")
            for line in lines:
                on_line(line)
        on_end()

    threading.Thread(target=watch, name="parent", daemon=True).start()


def close_stdin(process: subprocess.Popen[bytes]) -> None:
    """Tell a child that it is no longer wanted; one that is dead already does not mind."""
    assert process.stdin is not None
    with suppress(BrokenPipeError):  # what was still buffered for it has no reader any more
        process.stdin.close()


def limit_memory(nbytes: int) -> None:
    """Let the system refuse this process more memory of its own than this; where it cannot, nothing is limited."""
    if sys.platform == "linux":
        import resource  # Windows has none

        resource.setrlimit(resource.RLIMIT_DATA, (nbytes, nbytes))


def death_sentence(returncode: int) -> str:
    """Why a merge process ended without a word, for the person whose merge it was."""
    # 128 + number is how a shell or a container reports a signal.
    number = -returncode if returncode < 0 else returncode - 128
    if number == 9:
        return (
            "The merge was killed, most likely out of memory. "
            "Close other programs, or merge on a machine with more memory."
        )
    if not _WINDOWS and number == signal.SIGBUS:
        return "A source file became shorter during the merge. Leave the models alone while they are merged."
    return f"The merge process ended unexpectedly (exit code {returncode}). Its log may say why."
