"""Every kernel on tensors that are not on the processors: nothing of it is made in the wrong place, or looked at."""

import pytest
import torch

from blockmerge.engine.estimate import work_bytes
from tests.kernels.cases import CASES, Case, draw, run
from tests.kernels.pretend_gpu import THERE, MixedPlacesError, PretendGpu, numbers, send

every_case = pytest.mark.parametrize("case", CASES, ids=str)


@every_case
def test_a_kernel_makes_every_tensor_where_its_operands_are(case: Case) -> None:
    tensors = draw(case, (40, 30))
    for tensor in tensors:
        tensor[3, 4] = -0.0
    wanted = run(case, [tensor.clone() for tensor in tensors])

    with PretendGpu():
        result = run(case, send(tensors), strength=0.75)
        whole = run(case, send(tensors))

    assert torch.equal(numbers(whole).view(torch.int32), wanted.view(torch.int32))
    assert result.device == THERE


@every_case
def test_a_kernel_holds_no_more_than_the_estimate_says(case: Case) -> None:
    tensors = draw(case, (500, 1000))
    histograms = 1 << 22  # bytes, whatever the size of the tensors

    with PretendGpu() as gpu:
        run(case, send(tensors))

    assert gpu.most <= tensors[0].numel() * work_bytes(len(tensors)) + histograms * len(tensors)


def test_a_tensor_in_the_wrong_place_is_refused_as_a_gpu_refuses_it() -> None:
    with PretendGpu():
        [there] = send([torch.ones(3)])

        with pytest.raises(MixedPlacesError, match=r"^aten.mul.Tensor got tensors of both places$"):
            there * torch.ones(3)
        assert numbers(there * torch.ones(())).tolist() == [1, 1, 1]
        with pytest.raises(RuntimeError):
            there.numpy()
