"""Random generators that are derived from a seed and a purpose.

The purpose of a draw says what it is for: order, noise, which epoch, which split. A draw does not depend
on earlier draws, so resuming, skipping and running in parallel change no number.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def derive(seed: int, *purpose: str | int) -> int:
    """Return a 63-bit seed for `purpose`, statistically independent between purposes."""
    text = "/".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *purpose: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a new generator on `device` for `purpose`.

    Example:
        >>> a = torch.rand(2, generator=generator(0, "noise", 3))
        >>> b = torch.rand(2, generator=generator(0, "noise", 3))
        >>> bool((a == b).all())
        True
    """
    return torch.Generator(device=device).manual_seed(derive(seed, *purpose))


@contextmanager
def seeded(seed: int, *purpose: str | int) -> Iterator[None]:
    """Seed torch's global CPU generator inside the block, for initialisers that take no generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, *purpose))
        yield
