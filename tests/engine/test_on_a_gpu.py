"""What a GPU computes against what the processors do: for every method, how many steps of the output's dtype apart.

`pytest -s tests/engine/test_on_a_gpu.py` prints what was measured.
"""

from pathlib import Path

import pytest
import torch

from blockmerge.engine.gpu import find_gpu, make_device
from tests.engine.merges import contents, merge
from tests.engine.oracle import assert_blended, read_values
from tests.engine.steps import far_apart, steps_apart
from tests.engine.test_methods import folder as models_folder
from tests.engine.test_methods import plan_for
from tests.kernels.cases import CASES, Case, case

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason=f"no CUDA GPU: {find_gpu().why}")

folder = models_folder
every_case = pytest.mark.parametrize("case", CASES, ids=str)
every_dtype = pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])


@every_dtype
@every_case
def test_a_gpu_computes_what_the_processors_do(case: Case, dtype: str, folder: Path, tmp_path: Path) -> None:
    plan = plan_for(case, folder, dtype=dtype, nonfinite="warn")
    device = make_device(plan, torch.device("cuda"), find_gpu().gpu)
    merge(plan, tmp_path / "processors")

    merge(plan, tmp_path / "gpu", device=device)

    steps = steps_apart(tmp_path / "gpu", tmp_path / "processors")
    far = far_apart(tmp_path / "gpu", tmp_path / "processors")
    print(f"\n{case}, {dtype}: {(steps > 0).mean():.2e} differ, by up to {steps.max()} steps; {far:.1e} are far apart")
    # Of one threshold or sign the last bit decides whether a number is taken at all: one in ten thousand may be.
    assert far < 1e-4


@every_dtype
def test_linear_is_at_most_a_step_from_the_processors(dtype: str, folder: Path, tmp_path: Path) -> None:
    plan = plan_for(case("linear", 2), folder, dtype=dtype)
    merge(plan, tmp_path / "processors")

    merge(plan, tmp_path / "gpu", device=make_device(plan, torch.device("cuda"), find_gpu().gpu))

    a, b, made = (read_values(path) for path in (folder / "a", folder / "b", tmp_path / "gpu"))
    for name in made:
        assert_blended(made[name], a[name], b[name], plan.steps[0].weight, dtype)
    assert far_apart(tmp_path / "gpu", tmp_path / "processors") == 0


@every_case
def test_two_merges_on_one_gpu_make_the_same_files(case: Case, folder: Path, tmp_path: Path) -> None:
    plan = plan_for(case, folder)
    device = make_device(plan, torch.device("cuda"), find_gpu().gpu)

    merge(plan, tmp_path / "one", device=device, threads=1)
    merge(plan, tmp_path / "other", device=device, threads=3)

    assert contents(tmp_path / "one") == contents(tmp_path / "other")
