"""The GPUs of a cell: cells are spread over the visible GPUs, several cells to a GPU if the settings say so.

A place on a GPU is a file lock in a folder of this machine. So sweeps that run at the same time share the
GPUs, and a process that dies frees its places.
"""

from __future__ import annotations

import getpass
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from filelock import FileLock, Timeout

WAIT_SECONDS = 1.0


@contextmanager
def own_gpus(device: torch.device, count: int, cells_per_gpu: int) -> Iterator[list[int]]:
    """Hold places on `count` different GPUs; wait until they are free. The first becomes torch's current GPU.

    Yields:
        The indices of the GPUs; none if `device` is not CUDA.

    Raises:
        ValueError: if fewer GPUs are visible.
    """
    if device.type != "cuda":
        yield []
        return
    names = [name_of(index) for index in range(torch.cuda.device_count())]
    folder = Path(tempfile.gettempdir()) / f"vae-likelihoods-gpus-{getpass.getuser()}"
    with places(folder, names, count, cells_per_gpu) as indices:
        torch.cuda.set_device(indices[0])
        yield indices


@contextmanager
def places(folder: Path, names: Sequence[str], count: int, each: int) -> Iterator[list[int]]:
    """Hold a place on `count` of the GPUs `names`, the emptiest first; wait until they are free.

    A cell holds all of its places or none, so two cells that want several GPUs never block each other.

    Args:
        folder: where the locks are.
        names: one name for each GPU.
        count: how many GPUs the cell needs.
        each: how many places a GPU has.

    Yields:
        Indices into `names`.

    Raises:
        ValueError: if there are fewer than `count` GPUs.
    """
    if count > len(names):
        raise ValueError(f"{count} GPUs are wanted, {len(names)} are visible")
    folder.mkdir(parents=True, exist_ok=True)
    while True:
        with ExitStack() as locks:
            indices: list[int] = []
            for place in range(each):
                for index, name in enumerate(names):
                    missing = len(indices) < count and index not in indices
                    if missing and _locked(locks, folder / f"{name}.{place}"):
                        indices.append(index)
            if len(indices) == count:
                yield indices
                return
        time.sleep(WAIT_SECONDS)


def _locked(locks: ExitStack, path: Path) -> bool:
    """Lock a file if it is free; return whether it was."""
    try:
        locks.enter_context(FileLock(path, timeout=0))
    except Timeout:
        return False
    return True


def name_of(index: int) -> str:
    """Return a name of a visible GPU that does not depend on CUDA_VISIBLE_DEVICES."""
    return str(torch.cuda.get_device_properties(index).uuid)
