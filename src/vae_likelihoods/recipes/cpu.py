"""What a process that computes on the CPU is told before it begins."""

from __future__ import annotations

import ctypes
import platform

import torch

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # parameters of mallopt(3)
_KEPT, _LARGEST = 1 << 30, 32 << 20  # bytes; glibc refuses a larger threshold than 32 MiB


def prepare_cpu(threads: int) -> None:
    """Use so many threads, keep freed memory, and take numbers below 1e-38 for 0.

    Such denormal numbers cost a processor a hundredfold. Adam makes them by the million: its averages of a
    gradient that has become 0 shrink by a tenth a step, for ever.
    """
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    keep_freed_memory()


def keep_freed_memory() -> bool:
    """Let glibc keep freed memory for the next tensors, up to 1 GiB; return whether it could be told so.

    A step allocates and frees the same tensors over and over. Left alone, glibc hands those of more than
    128 kB back to the system, whose fresh pages can cost more than the arithmetic on them.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_MMAP_THRESHOLD, _LARGEST)) and bool(mallopt(_TRIM_THRESHOLD, _KEPT))
