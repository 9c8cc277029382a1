"""Numbers of float64: which devices have them, how a tensor becomes one, and how a model is built of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

WITHOUT_FLOAT64 = {"mps"}
"""The types of device that have no float64."""


def home_of_float64(device: torch.device) -> torch.device:
    """Return where the numbers of float64 lie that belong to tensors on `device`: there, or on the CPU."""
    return torch.device("cpu") if device.type in WITHOUT_FLOAT64 else device


def precise(x: Tensor) -> Tensor:
    """Return x in float64, on the CPU if the device of x has no float64."""
    # Two steps: a device without float64 cannot convert while it copies.
    return x.to(home_of_float64(x.device)).double()


def dtype_of(precision: str) -> torch.dtype:
    """Return the type of the weights of a model that is trained in `precision`."""
    return torch.float64 if precision == "float64" else torch.float32


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Give new tensors of floats this type inside the block, so that a model is made of them."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
