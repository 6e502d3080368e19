import os
import sys

from blockmerge.cli import app

try:
    app(prog_name="python -m blockmerge")
except SystemExit as ended:
    if "torch" not in sys.modules or not isinstance(ended.code, int):
        raise
    # Taking torch apart, object by object, takes Python a tenth of a second; the system takes the memory at once.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(ended.code)
