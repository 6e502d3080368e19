"""torch without what no merge asks of it: so this module does not import it itself."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from blockmerge.lasting import made_to_last

# Importing torch 2.13 imports both and asks nothing of them. They take a quarter of its time, and 18 MB.
_SPARED = (
    "torch._meta_registrations",  # the shapes of results on the meta device and under FakeTensorMode
    "torch.export",  # a model as a graph
)
_KNOWN = "2.13."  # the torch of which this is known; another one is imported whole
_BLAS_THREADS = "OPENBLAS_NUM_THREADS"  # read once, as numpy is imported


@contextmanager
def lean_torch() -> Iterator[None]:
    """A first import of torch inside leaves out torch.export and the meta device, which no merge uses, and is made to
    last; numpy, which comes along, gets no threads for products of matrices.

    Whoever imports them later gets them. In a process that has torch already, or has another one than 2.13, nothing is
    left out.
    """
    from importlib.metadata import version  # torch needs it too, and --help does not

    with made_to_last(), _numpy_without_threads():
        if "torch" in sys.modules or not version("torch").startswith(_KNOWN):
            yield
            return
        sys.modules.update((name, ModuleType(name)) for name in _SPARED)
        try:
            yield
        finally:
            for name in _SPARED:
                del sys.modules[name]
                package, _, attribute = name.rpartition(".")
                if package in sys.modules:  # not where nothing was imported, or the import failed
                    vars(sys.modules[package]).pop(attribute, None)


@contextmanager
def _numpy_without_threads() -> Iterator[None]:
    """No merge has numpy multiply matrices, and its threads for that, one per processor, would spin for a tenth of a
    second as they start: beside an import that has a processor to itself no longer."""
    given = os.environ.get(_BLAS_THREADS)
    os.environ.setdefault(_BLAS_THREADS, "1")
    try:
        yield
    finally:
        if given is None:
            del os.environ[_BLAS_THREADS]
