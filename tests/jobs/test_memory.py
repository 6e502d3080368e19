"""A second merge begins beside the first only where there is memory for it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from blockmerge.engine.estimate import PROCESS
from blockmerge.jobs.memory import RESERVE, fits_beside
from blockmerge.jobs.store import Store
from tests.jobs.rows import new_job


@pytest.mark.parametrize(("free", "fits"), [(PROCESS + RESERVE, True), (PROCESS + RESERVE - 1, False)])
def test_a_merge_needs_its_estimate_and_leaves_a_reserve(
    store: Store, small_models: tuple[Path, Path], free: int, fits: bool
) -> None:
    models = dict(zip("ab", map(str, small_models), strict=True))
    recipe = json.dumps({"blockmerge": 1, "models": models, "weights": {"layers": 0.5}})
    job = store.get(store.add(replace(new_job("job"), recipe=recipe)))

    assert fits_beside(job, free) is fits


def test_a_job_that_cannot_be_planned_may_begin_as_its_merge_says_why(store: Store) -> None:
    assert fits_beside(store.get(store.add(new_job("typo"))), free=0)
