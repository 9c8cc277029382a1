"""Gradients by something else than a model's parameters."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def frozen(*modules: nn.Module) -> Iterator[None]:
    """Inside the block no parameter of `modules` asks for a gradient; after it each does as before."""
    asking = [one for module in modules for one in module.parameters() if one.requires_grad]
    for parameter in asking:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in asking:
            parameter.requires_grad_(True)
