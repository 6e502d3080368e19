import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """As in the engine, where the workers are the parallelism."""
    torch.set_num_threads(1)
