"""A device that no machine needs to have: tensors on it have values, and meet no others.

Their device is called ``meta``. Each holds a tensor of the processor, and while `elsewhere` is
entered an operation on tensors of both raises, as it does on a GPU.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("meta")
CPU = torch.device("cpu")
# What takes tensors of two devices on a GPU too: copies, and indices that lie on the processor.
MIXING = ("aten::copy_", "aten::_to_copy", "aten::index", "aten::index_put", "aten::index_put_")


class There(Tensor):
    """A tensor that says that it is on the other device."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> "There":
        made: There = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, held.shape, strides=held.stride(), storage_offset=held.storage_offset(),
            dtype=held.dtype, device=DEVICE, requires_grad=held.requires_grad,
        )  # fmt: skip
        made.held = held
        return made

    def __init__(self, held: Tensor) -> None:
        super().__init__()

    def tolist(self) -> Any:
        """Its values, which a GPU hands over too."""
        return self.held.tolist()

    def __format__(self, spec: str) -> str:
        return format(self.held, spec)

    def __repr__(self, **_: Any) -> str:
        return f"There({self.held!r})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {})


class Given(TorchFunctionMode):
    """Takes over numbers of Python, which are never dispatched."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in (torch.tensor, torch.as_tensor) and kwargs.get("device") == DEVICE:
            return func(*args, **{**kwargs, "device": CPU}).to(DEVICE)
        return func(*args, **kwargs)


class Elsewhere(TorchDispatchMode):
    """Makes what is asked for on the other device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {})


def run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """An operation on the values; raises RuntimeError if its tensors are on two devices."""
    tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
    there = any(isinstance(x, There) for x in tensors)
    here = [x for x in tensors if not isinstance(x, There) and x.dim()]
    name = func._schema.name
    if there and here and not _may_mix(name, args):
        raise RuntimeError(f"{name} got tensors on two devices: {[list(x.shape) for x in here]}")
    goes = kwargs.get("device")
    if goes == DEVICE:
        made_by = kwargs.get("generator")
        if made_by is not None:
            raise RuntimeError(f"{name} got a generator of the processor, and draws elsewhere")
        kwargs = {**kwargs, "device": CPU}
    there = goes == DEVICE or (there and goes is None)
    if name in ("aten::copy_", "aten::index_put_"):
        there = isinstance(args[0], There)
    done = func(*tree_map(_held, args), **tree_map(_held, kwargs))
    if func._schema.is_mutable:  # what it is given is what it returns
        return kwargs["out"] if "out" in kwargs else args[0]
    return tree_map(lambda x: _put(x, there), done)


def _may_mix(name: str, args: Any) -> bool:
    if name in ("aten::index", "aten::index_put", "aten::index_put_"):
        values = [x for x in args[2:3] if isinstance(x, Tensor) and x.dim()]
        return all(isinstance(x, There) for x in [args[0], *values])
    return name in MIXING


def _held(x: Any) -> Any:
    return x.held if isinstance(x, There) else x


def _put(x: Any, there: bool) -> Any:
    return There(x) if there and isinstance(x, Tensor) else x


@contextmanager
def elsewhere() -> Iterator[torch.device]:
    """While entered, the other device is there."""
    with Given(), Elsewhere():
        yield DEVICE
