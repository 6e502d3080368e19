"""Objects that stay until the process ends: so this module does not import torch, which makes a million of them."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def made_to_last() -> Iterator[None]:
    """What is made inside is never searched for garbage: not while it is made, not later, not when the process ends.

    A sixth of the time that importing torch, transformers or gradio takes goes into such searches.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
