"""The merge process, a child of the worker, as it starts.

It is started before there is anything to do, so that torch is imported by the time a job comes.
"""

from blockmerge.engine.lean_torch import lean_torch


def main() -> None:
    with lean_torch():
        from blockmerge.jobs.merging import serve
    serve()
