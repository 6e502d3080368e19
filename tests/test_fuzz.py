import random
from pathlib import Path

import pytest

from tests.fuzz import fuzz


@pytest.mark.parametrize("seed", [1, random.randrange(2**32)])
def test_mutated_files_end_in_a_plan_or_in_an_error_of_ours(tmp_path: Path, seed: int) -> None:
    outcome = fuzz(tmp_path, headers=150, others=40, seed=seed)

    assert sum(outcome.counts.values()) == 150 + 4 * 40
    assert outcome.counts.keys() <= {"accepted", "CheckpointError", "PlanError", "RecipeError"}
    assert len(outcome.counts) > 2
