"""A GPU that is none: tensors that say they are elsewhere, whose numbers lie here.

What a real one refuses is refused: an operation on tensors of both places, unless the one that is here is a single
number, and a look at the bytes. So a kernel that makes a tensor in the wrong place fails without any GPU.
"""

import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

THERE = torch.device("meta")  # a place that every build of torch knows, and that has no numbers of its own


class MixedPlacesError(Exception):
    pass


class Distant(Tensor):
    """A tensor that says it is THERE; `own` are its numbers."""

    own: Tensor

    @staticmethod
    def __new__(cls: type["Distant"], own: Tensor) -> "Distant":
        made: Distant = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, own.shape, strides=own.stride(), storage_offset=own.storage_offset(), dtype=own.dtype, device=THERE
        )
        made.own = own
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class PretendGpu(TorchDispatchMode):
    """While it is entered, what is made THERE is a Distant. `most` are the bytes that lay there at once."""

    def __init__(self) -> None:
        super().__init__()
        self.held: dict[int, int] = {}
        self.most = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = _run(func, args, kwargs or {})
        tree_map(self._count, made)
        return made

    def _count(self, made: Any) -> None:
        if not isinstance(made, Distant):
            return
        storage = made.own.untyped_storage()
        place = storage.data_ptr()
        if place and place not in self.held:
            self.held[place] = storage.nbytes()
            weakref.finalize(storage, self.held.pop, place, None)
            self.most = max(self.most, sum(self.held.values()))


def _run(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    found: list[Tensor] = []
    tree_map(lambda value: found.append(value) if isinstance(value, Tensor) else None, (args, kwargs))
    is_there = any(isinstance(tensor, Distant) for tensor in found)
    if is_there and func not in _MOVES and not all(isinstance(held, Distant) or held.dim() == 0 for held in found):
        raise MixedPlacesError(f"{func} got tensors of both places")
    device = kwargs.get("device")
    given = {**kwargs, "device": torch.device("cpu")} if device is not None else kwargs
    result = func(*tree_map(_own, args), **tree_map(_own, given))
    if func._schema.is_mutable:  # in place; of several tensors nothing is returned
        return args[0] if func._schema.returns else None
    goes_there = is_there if device is None else torch.device(device) == THERE
    return tree_map(_there, result) if goes_there else result


_MOVES = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)


def _own(value: Any) -> Any:
    return value.own if isinstance(value, Distant) else value


def _there(value: Any) -> Any:
    return Distant(value) if isinstance(value, Tensor) else value


def send(tensors: Sequence[Tensor]) -> list[Tensor]:
    return [tensor.to(THERE) for tensor in tensors]


def numbers(tensor: Tensor) -> Tensor:
    """What a Distant holds; a test may look where a program may not."""
    assert isinstance(tensor, Distant)
    return tensor.own
