"""Settings of a process that computes on the CPU."""

from __future__ import annotations

import ctypes
import platform

import torch

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # parameters of mallopt(3)
_KEPT, _LARGEST = 1 << 30, 32 << 20  # bytes; glibc refuses a larger threshold than 32 MiB


def prepare_cpu(threads: int) -> None:
    """Use this many threads, keep freed memory, and treat numbers below 1e-38 as 0.

    Arithmetic on such denormal numbers is a hundred times slower. Adam creates many of them: its averages of
    a gradient that has become 0 shrink by a tenth in every step.
    """
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    keep_freed_memory()


def keep_freed_memory() -> bool:
    """Let glibc keep up to 1 GiB of freed memory for the next tensors; return whether it accepted.

    A step allocates and frees the same tensors again and again. By default glibc returns those of more than
    128 kB to the system, and getting new pages can take longer than the arithmetic on them.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_MMAP_THRESHOLD, _LARGEST)) and bool(mallopt(_TRIM_THRESHOLD, _KEPT))
