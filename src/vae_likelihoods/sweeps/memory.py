"""What to lower when a cell needs more memory than there is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

LOWER = {
    "train": "training.batch_size or training.evaluation_batch_size",
    "evaluate": "decoded_at_once or batch_size of the metrics",
}
"""The settings that decide the memory of a stage."""


class OutOfMemoryError(RuntimeError):
    """The memory is too small for a cell; the message says which settings to lower."""


@contextmanager
def naming_what_to_lower(stage: str, device: torch.device) -> Iterator[None]:
    """Turn a lack of memory inside the block into an error that says what to lower.

    Raises:
        OutOfMemoryError: instead of what Python, or torch on any device, raises.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_lack(error):
            raise
        together = "runtime.cells_per_gpu" if device.type == "cuda" else "runtime.cells_at_once"
        reason = f"out of memory on {device.type}: lower {LOWER[stage]}, or {together}"
        raise OutOfMemoryError(reason) from error


def is_lack(error: Exception) -> bool:
    """Return whether an error says that memory could not be had; on a CPU torch's has no class of its own."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(
        words in str(error) for words in ("can't allocate memory", "out of memory")
    )
