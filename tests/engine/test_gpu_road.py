"""The way over a GPU. Without one it leads over the processors, with all its copies, slots and waits; what is left to
be seen on a real one is in test_on_a_gpu.py."""

from collections import deque
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch

from blockmerge.checkpoints.manifest import read_manifest
from blockmerge.core.describe import size_text
from blockmerge.core.plan import Plan
from blockmerge.engine.bench import Begun, Bench
from blockmerge.engine.devices import Found
from blockmerge.engine.estimate import estimate, gpu_memory
from blockmerge.engine.gpu import check_free, make_device
from blockmerge.engine.merge import carry_out_parts, open_inputs
from blockmerge.engine.schedule import Schedule
from blockmerge.engine.stations import COARSE, Device, Gpu
from blockmerge.engine.target import Target
from blockmerge.engine.units import units_of
from blockmerge.errors import GpuError, MergePausedError, OutputExistsError, RunError
from blockmerge.kernels import KERNELS
from tests.engine.merges import contents, ignore, merge, plan_for, put
from tests.engine.steps import far_apart
from tests.engine.test_methods import folder as models_folder
from tests.engine.test_methods import plan_for as plan_of
from tests.engine.test_methods import sample_small_tensors
from tests.kernels.cases import CASES, Case, case
from tests.kernels.pretend_gpu import THERE, PretendGpu
from tests.tiny_models import write_llama

HERE = torch.device("cpu")
THROUGH = Device(lambda: Gpu(HERE))
NORM = "model.norm.weight"

folder = models_folder
every_case = pytest.mark.parametrize("case", CASES, ids=str)


@every_case
def test_the_way_over_a_gpu_makes_the_same_files(
    case: Case, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(case, folder)
    merge(plan, tmp_path / "plain")

    monkeypatch.setattr("blockmerge.engine.chunks.CHUNK", 1)  # more chunks than slots
    merge(plan, tmp_path / "gpu", device=THROUGH, threads=3)

    assert contents(tmp_path / "gpu") == contents(tmp_path / "plain")


@every_case
def test_larger_chunks_move_hardly_a_number_by_more_than_a_step(case: Case, folder: Path, tmp_path: Path) -> None:
    plan = plan_of(case, folder, dtype="bfloat16")
    merge(plan, tmp_path / "plain")

    merge(plan, tmp_path / "gpu", device=make_device(plan, HERE, ""))

    # On the processors a product of two long vectors is added up number by number, which costs it some bits.
    assert far_apart(tmp_path / "gpu", tmp_path / "plain") < 1e-4


@every_case
@pytest.mark.parametrize("grain", [None, COARSE], ids=["fine", "coarse"])
def test_what_is_computed_elsewhere_goes_there_and_comes_back(
    case: Case, grain: object, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "meta", torch.cpu, raising=False)  # the streams and events of the place that is none
    plan = plan_of(case, folder, dtype="float16")
    wanted = by_hand(plan, Device(lambda: Gpu(HERE), grain), tmp_path)  # type: ignore[arg-type]

    with PretendGpu():
        found = by_hand(plan, Device(lambda: Gpu(THERE), grain), tmp_path)  # type: ignore[arg-type]

    assert found == wanted


def test_a_threshold_near_that_of_a_sample_is_found_elsewhere_too(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "meta", torch.cpu, raising=False)
    plan = plan_of(case("ties", 3), folder, dtype="float16")
    wanted = by_hand(plan, Device(lambda: Gpu(HERE), COARSE), tmp_path)  # type: ignore[arg-type]

    sample_small_tensors(monkeypatch)
    with PretendGpu():
        found = by_hand(plan, Device(lambda: Gpu(THERE), COARSE), tmp_path)  # type: ignore[arg-type]

    assert found == wanted


def by_hand(plan: Plan, device: Device, scratch: Path) -> dict[tuple[str, int], tuple[bytes, object]]:
    """What a worker thread does, in this thread: by shard and offset, the bytes and what is odd about them."""
    recipe, kernel = plan.recipe, KERNELS[plan.recipe.method]
    made: dict[tuple[str, int], tuple[bytes, object]] = {}
    with ExitStack() as stack:
        bench = Bench(kernel, open_inputs(plan, plan.shards, scratch, stack), device)
        schedule = Schedule(recipe.method, kernel, recipe.base is not None, recipe.seed, device.grain)
        begun: deque[tuple[tuple[str, int], Begun | memoryview]] = deque()
        for job in schedule.jobs(units_of(plan, dict.fromkeys((shard.name for shard in plan.shards), 0), device.grain)):
            if job.is_idle:
                continue
            if job.task is not None and job.measure is not None:
                job.task.add(bench.measure(job.chunk, job.task.setting, job.measure))
                continue
            begun.append(((job.chunk.file, job.chunk.offset), bench.begin(job.chunk, job.setting)))
            if len(begun) > bench.waiting:
                finish(bench, begun, made)
        while begun:
            finish(bench, begun, made)
    return made


def finish(
    bench: Bench,
    begun: deque[tuple[tuple[str, int], Begun | memoryview]],
    made: dict[tuple[str, int], tuple[bytes, object]],
) -> None:
    place, chunk = begun.popleft()
    result, odd = (chunk, {}) if isinstance(chunk, memoryview) else bench.finish(chunk)
    made[place] = bytes(result), odd


def test_a_merge_in_parts_goes_over_a_gpu_too(folder: Path, tmp_path: Path) -> None:
    plan = plan_of(case("ties", 3), folder, shard_size="1MB")
    merge(plan, tmp_path / "plain")

    merge(plan, tmp_path / "gpu", device=THROUGH, parts=iter(range(len(plan.shards) - 1)))

    assert len(plan.shards) > 2
    assert contents(tmp_path / "gpu") == contents(tmp_path / "plain")


class Closed(Gpu):
    """Nothing may be brought there."""

    def bring(self, tensors: object) -> list[torch.Tensor]:
        raise AssertionError("something was brought to the GPU")


def test_copies_and_conversions_never_go_over_a_gpu(tmp_path: Path) -> None:
    a = write_llama(tmp_path / "a")
    b = write_llama(tmp_path / "b", seed=1)
    put(b, NORM, b"\xc5\xff\x80\x7f")  # NaN with a payload, and Inf
    closed = Device(lambda: Closed(HERE))

    for weight, dtype in ((0.0, "as owner"), (1.0, "as owner"), (0.0, "float32")):
        plan = plan_for(a, b, weight, dtype=dtype)
        merge(plan, tmp_path / f"{weight} {dtype}", device=closed)
        merge(plan, tmp_path / f"{weight} {dtype} plain")
        assert contents(tmp_path / f"{weight} {dtype}") == contents(tmp_path / f"{weight} {dtype} plain")
    with pytest.raises(AssertionError, match="was brought to the GPU"):
        merge(plan_for(a, b, 0.5, nonfinite="warn"), tmp_path / "blended", device=closed)


@pytest.mark.parametrize("dtype", ["as owner", "float16"])
def test_nan_inf_and_what_vanishes_are_said_as_ever(dtype: str, tmp_path: Path) -> None:
    a = write_llama(tmp_path / "a", dtype="float32")
    b = write_llama(tmp_path / "b", dtype="float32", seed=1)
    put(a, NORM, torch.tensor([1e-30, 1.0, 7e4, -0.0]).numpy().tobytes())
    put(b, NORM, torch.tensor([1e-30, torch.inf, 8e4, -0.0]).numpy().tobytes())
    said = []

    for device in (Device(lambda: Gpu(HERE)), None):
        options = {} if device is None else {"device": device}
        with pytest.raises(RunError) as refused:
            merge(plan_for(a, b, 0.5, dtype=dtype), tmp_path / "refused", **options)
        result = merge(plan_for(a, b, 0.5, dtype=dtype, nonfinite="warn"), tmp_path / f"out-{len(said)}", **options)
        said.append((str(refused.value), result.warnings, result.digest))

    assert said[0] == said[1]
    assert f"{NORM} of b holds 1 NaN or Inf value." in said[0][0]


def test_a_gpu_without_memory_ends_the_merge_with_a_sentence_and_keeps_what_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_for(write_llama(tmp_path / "a", hidden=96), write_llama(tmp_path / "b", hidden=96, seed=1), 0.5)
    monkeypatch.setattr("blockmerge.engine.units.UNIT", 10_000)
    monkeypatch.setattr("blockmerge.engine.chunks.CHUNK", 10_000)
    brought = []

    class Full(Gpu):
        def bring(self, tensors: object) -> list[torch.Tensor]:
            brought.append(tensors)
            if len(brought) > 5:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
            return super().bring(tensors)  # type: ignore[arg-type, return-value]

    with pytest.raises(GpuError) as refused:
        merge(plan, tmp_path / "out", threads=1, device=Device(lambda: Full(HERE)))

    assert str(refused.value) == (
        "The GPU has too little memory left for this merge. "
        "End what else uses it, or merge on the processors (device cpu)."
    )
    assert (tmp_path / "out.partial").is_dir()
    merge(plan, tmp_path / "out", device=THROUGH)
    merge(plan, tmp_path / "plain")
    assert contents(tmp_path / "out") == contents(tmp_path / "plain")


def test_a_gpu_that_fails_is_told_in_one_line() -> None:
    with pytest.raises(GpuError) as refused, Gpu(HERE).at_work():
        raise torch.AcceleratorError("CUDA error: an illegal memory access\nFor debugging consider")

    assert str(refused.value) == (
        "The GPU failed: CUDA error: an illegal memory access. Merge again, or on the processors (device cpu)."
    )


def test_what_another_kind_of_processor_has_computed_is_not_gone_on_with(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(case("slerp", 2), folder)
    monkeypatch.setattr("blockmerge.engine.units.UNIT", 100_000)
    monkeypatch.setattr("blockmerge.engine.chunks.CHUNK", 100_000)
    on_one, on_other = (Device(lambda: Gpu(HERE), name=name) for name in ("GPU One", "GPU Other"))
    with pytest.raises(MergePausedError):
        merge(plan, tmp_path / "out", device=on_one, is_paused=lambda: True)
    assert (tmp_path / "out.partial").is_dir()

    for other in (on_other, None):
        with pytest.raises(OutputExistsError) as refused:
            merge(plan, tmp_path / "out", **({} if other is None else {"device": other}))
        assert "out.partial is left from a merge that did not finish and was computed by " in str(refused.value)
        assert "GPU One; here it would be " in str(refused.value)
        assert str(refused.value).endswith(
            "which may round the last bit otherwise. Add --discard to delete it and start anew."
        )
    with pytest.raises(OutputExistsError, match="the same kind of processor and GPU"):
        carry_out_parts(plan, Target(tmp_path / "out"), [0], report=ignore, device=on_other)
    merge(plan, tmp_path / "out", device=on_one)
    assert read_manifest(tmp_path / "out").processor.endswith(", GPU One")


def test_a_gpu_that_is_too_small_is_told_before_anything_is_merged(folder: Path) -> None:
    plan = plan_of(case("ties", 2), folder)
    need = gpu_memory(plan)

    check_free(plan, Found(gpu="NVIDIA T4"), need)

    with pytest.raises(GpuError) as refused:
        check_free(plan, Found(gpu="NVIDIA T4"), 300 * 10**6)
    assert str(refused.value) == (
        f"NVIDIA T4 has 300 MB of memory free, and this merge needs {size_text(need)} of it. "
        "End what else uses it, or merge on the processors (device cpu)."
    )


def test_the_estimate_says_what_a_gpu_needs_where_it_is_used(folder: Path, tmp_path: Path) -> None:
    ties, linear = plan_of(case("ties", 2), folder), plan_of(case("linear", 2), folder)
    whole = plan_of(case("nuslerp", 2, True, nuslerp_flatten=False, nuslerp_row_wise=True), folder)

    assert estimate(ties, tmp_path).gpu == 0
    assert estimate(linear, tmp_path, "cuda") == estimate(linear, tmp_path)
    assert 1e9 < estimate(ties, tmp_path, "cuda").gpu < 2.5e9
    assert estimate(ties, tmp_path, "cuda").memory > estimate(ties, tmp_path).memory
    largest = max(step.elements for step in whole.steps)
    assert estimate(whole, tmp_path, "cuda").gpu == 600 * 10**6 + 2 * largest * (4 + 4 + 2 + 4 + 80)
