from pathlib import Path

import pytest

from tests.jobs.bench import write_hollow_model


@pytest.fixture(scope="session")
def large_models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two models of 0.5 GB each, which take no room: a merge of them can be watched and interrupted."""
    folder = tmp_path_factory.mktemp("large")
    sizes = (2048, 8192, 256)
    return write_hollow_model(folder / "a", 4, sizes), write_hollow_model(folder / "b", 4, sizes)
