"""A device without float64, played on the CPU: it computes right, and refuses what such a device refuses.

A tensor of the played device wraps one of the CPU, and torch takes it for a tensor of the type `meta`, which
has autograd but no numbers of its own. Every operation is watched: a result of float64 on the device and an
operation on tensors of two devices are errors, as they are on Apple's MPS.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from vae_likelihoods import precision

DEVICE = torch.device("meta")
CONVERT, COPY = torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default


class OnDevice(Tensor):
    """A tensor of the played device."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> OnDevice:
        if inner.dtype == torch.float64:
            raise TypeError("the device has no float64")
        wrapper: OnDevice = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, inner.shape, strides=inner.stride(), dtype=inner.dtype, device=DEVICE
        )
        wrapper.inner = inner
        return wrapper

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, arguments: Any = (), named: Any = None) -> Any:
        return _perform(function, arguments, named or {})


class PlayedGenerator:
    """A generator of the played device: it draws the numbers that the CPU draws."""

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.device, self.inner = torch.device(device), _GENERATOR()

    def manual_seed(self, seed: int) -> PlayedGenerator:
        self.inner.manual_seed(seed)
        return self


_GENERATOR = torch.Generator


def _drawing(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return a function of torch that also takes a generator of the played device."""

    def draw(*arguments: Any, **named: Any) -> Tensor:
        if isinstance(given := named.get("generator"), PlayedGenerator):
            assert torch.device(named.get("device", "cpu")).type == given.device.type
            named["generator"] = given.inner
        return function(*arguments, **named)

    return draw


class _Operations(TorchDispatchMode):
    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), named: Any = None) -> Any:
        return _perform(function, arguments, named or {})


def _perform(function: Any, arguments: Any, named: dict[str, Any]) -> Any:
    """Compute on the CPU what an operation is on the device, after refusing what the device would refuse."""
    tensors = [leaf for leaf in tree_leaves((arguments, named)) if isinstance(leaf, Tensor)]
    known = {id(each.inner): each for each in tensors if isinstance(each, OnDevice)}
    goal = named.get("device") or (DEVICE if known else None)
    if not known and goal != DEVICE:
        return function(*arguments, **named)
    if function == COPY:
        goal = arguments[0].device
    elif function == CONVERT:
        if known and torch.float64 in (arguments[0].dtype, named.get("dtype")):
            raise TypeError("the device cannot convert to float64, not even while it copies")
    elif known and any(not isinstance(each, OnDevice) and each.ndim > 0 for each in tensors):
        raise RuntimeError(f"{function}: tensors of two devices")
    if "device" in named:
        named = {**named, "device": torch.device("cpu")}
    bare = tree_map(lambda leaf: leaf.inner if isinstance(leaf, OnDevice) else leaf, (arguments, named))
    result = function(*bare[0], **bare[1])
    if goal != DEVICE:
        return result

    def wrapped(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        return known[id(leaf)] if id(leaf) in known else OnDevice(leaf)

    return tree_map(wrapped, result)


def _making(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return a function of torch that makes a tensor of Python's numbers, also on the played device."""

    def make(*arguments: Any, **named: Any) -> Tensor:
        device = named.pop("device", None)
        made = function(*arguments, **named)
        return made if device is None else made.to(device)

    return make


@contextmanager
def played() -> Iterator[torch.device]:
    """Play the device inside the block; yield it."""
    with pytest.MonkeyPatch.context() as patch, _Operations():
        for name in ("rand", "randint", "randn", "randperm"):
            patch.setattr(torch, name, _drawing(getattr(torch, name)))
        for name in ("as_tensor", "tensor"):
            patch.setattr(torch, name, _making(getattr(torch, name)))
        patch.setattr(torch, "Generator", PlayedGenerator)
        patch.setattr(precision, "WITHOUT_FLOAT64", {DEVICE.type})
        yield DEVICE
