"""Modules whose parameters get no gradient for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def frozen(*modules: nn.Module) -> Iterator[None]:
    """Inside the block no parameter of `modules` requires a gradient; after it each does as before."""
    trainable = [
        parameter for module in modules for parameter in module.parameters() if parameter.requires_grad
    ]
    for parameter in trainable:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)
