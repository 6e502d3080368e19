"""Start the page, and a worker beside it: `python app.py`, then open http://127.0.0.1:7860."""

import argparse
import os
import sys

from blockmerge.errors import SettingsError
from blockmerge.lasting import made_to_last
from blockmerge.settings import read_settings


def main() -> int:
    parser = argparse.ArgumentParser(description="Blend language models block by block, in a browser.")
    parser.add_argument("--listen", metavar="HOST", help="the address to answer on (default: this machine only)")
    parser.add_argument("--port", type=int, default=7860)
    parser.add_argument("--root-path", default="", help="where a proxy has put the page, such as /blockmerge")
    arguments = parser.parse_args()
    try:
        settings = read_settings(os.environ)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    with made_to_last():
        from blockmerge.ui.serve import serve  # --help and a wrong setting need no web server
    return serve(settings, arguments.listen, arguments.port, arguments.root_path)


if __name__ == "__main__":
    sys.exit(main())
