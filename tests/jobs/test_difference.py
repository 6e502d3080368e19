"""Measuring in a process of its own: the numbers of `diff`, one pair at a time, kept for the next time."""

from pathlib import Path

import pytest

from blockmerge.checkpoints.folder import open_checkpoint
from blockmerge.core.tensors import Checkpoint
from blockmerge.engine.difference import measure
from blockmerge.errors import JobRequestError
from blockmerge.jobs.difference import Differences, Measurement
from tests.tiny_models import write_llama
from tests.ui.conftest import wait_until


def model(folder: Path, seed: int, layers: int = 2) -> Checkpoint:
    write_llama(folder, layers=layers, seed=seed)
    return open_checkpoint(folder)


def wait_for(differences: Differences, a: Checkpoint, b: Checkpoint) -> Measurement:
    def found() -> Measurement | None:
        return differences.look(a, b)

    wait_until(lambda: (now := found()) is not None and not now.is_running, 60)
    measurement = found()
    assert measurement is not None
    return measurement


def test_a_pair_is_measured_as_the_command_measures_it(tmp_path: Path) -> None:
    a, b = model(tmp_path / "a", 1), model(tmp_path / "b", 2)
    differences = Differences(tmp_path / "home")
    assert differences.look(a, b) is None

    differences.measure(a, b)
    measurement = wait_for(differences, a, b)

    expected = measure({"a": a, "b": b}, tmp_path / "other", report=lambda _: None)
    assert measurement.difference == expected
    assert len(list((tmp_path / "home" / "differences").glob("*.json"))) == 1


def test_only_one_pair_is_measured_at_a_time(tmp_path: Path) -> None:
    a, b, c = (model(tmp_path / name, seed) for seed, name in enumerate("abc"))
    differences = Differences(tmp_path / "home")
    differences.measure(a, b)

    with pytest.raises(JobRequestError, match=r"^Another pair is being measured\. Try again when that is done\.$"):
        differences.measure(a, c)

    wait_for(differences, a, b)
    assert differences.look(a, c) is None


def test_why_a_pair_cannot_be_measured_is_told_and_it_may_be_tried_again(tmp_path: Path) -> None:
    a, b = model(tmp_path / "a", 1), model(tmp_path / "b", 2)
    (tmp_path / "b").rename(tmp_path / "gone")
    differences = Differences(tmp_path / "home")

    differences.measure(a, b)
    assert "models.b: " in wait_for(differences, a, b).problem
    (tmp_path / "gone").rename(tmp_path / "b")
    differences.measure(a, b)

    assert wait_for(differences, a, b).difference is not None
