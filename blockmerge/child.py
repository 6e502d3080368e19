"""A process of ours beside the first: `python -m blockmerge.child MODULE` imports that module and calls its main()."""

import sys
from importlib import import_module

from blockmerge.lasting import made_to_last


def main() -> int | None:
    """The exit code, None for 0."""
    with made_to_last():
        module = import_module(sys.argv[1])
    code: int | None = module.main()
    return code


if __name__ == "__main__":
    sys.exit(main())
