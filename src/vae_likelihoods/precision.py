"""Numbers of float64: which devices have them, and how a tensor becomes one."""

from __future__ import annotations

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
