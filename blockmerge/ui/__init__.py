"""The page. Whatever of it is imported first, gradio is imported here, without the stubs that it writes."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def _without_sources() -> Iterator[None]:
    """While it is entered, no class of components has a source file.

    For each of them gradio parses its source and writes a .pyi beside it, for editors: a third of what starting the
    page takes, and files in a folder that is not the page's to write in. It leaves out what has no source.
    """
    real = inspect.getfile

    def getfile(object: Any) -> str:
        if type(object).__name__ == "ComponentMeta":
            raise OSError(f"{object} is not asked for its source")
        return real(object)

    inspect.getfile = getfile
    try:
        yield
    finally:
        inspect.getfile = real


def _write_none(*_: object) -> None:
    """In the place of gradio's create_or_modify_pyi, for components of our own."""


with _without_sources():
    from gradio import component_meta

component_meta.create_or_modify_pyi = _write_none
