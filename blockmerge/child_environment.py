"""How a child process is started, so that it finds this package wherever its parent was started from."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

_PACKAGE_ROOT = str(Path(__file__).resolve().parents[1])


def child_command(module: str, *options: str) -> list[str]:
    """Runs the main() of a module; `options` are Python's own."""
    return [sys.executable, *options, "-m", "blockmerge.child", module]


def child_environment(environ: Mapping[str, str], **more: str) -> dict[str, str]:
    """A copy of `environ` in which that works; `more` is set beside it."""
    paths = [_PACKAGE_ROOT, *filter(None, [environ.get("PYTHONPATH")])]
    return {**environ, "PYTHONPATH": os.pathsep.join(paths), **more}
