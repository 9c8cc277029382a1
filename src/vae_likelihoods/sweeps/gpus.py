"""Which GPUs a cell gets: cells are spread over the visible ones, several to a GPU if asked.

A place on a GPU is a file lock in a folder of this machine, so drivers that run side by side share the GPUs
too, and a process that dies gives its places back.
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
    """Hold places on `count` different GPUs, the first one torch's current one; wait until they are free.

    Yields:
        The indices of the GPUs; none if `device` is no GPU of NVIDIA's or AMD's.

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
    """Hold one of `each` places on `count` of the GPUs `names`, the emptiest first; wait until they are free.

    All or none: two cells that want several GPUs never hold a part each and wait for the other's.

    Yields:
        Indices into `names`.

    Raises:
        ValueError: if there are fewer than `count` GPUs.
    """
    if count > len(names):
        raise ValueError(f"{count} GPUs are wanted, {len(names)} are visible")
    folder.mkdir(parents=True, exist_ok=True)
    while True:
        with ExitStack() as held:
            found: list[int] = []
            for place in range(each):
                for index, name in enumerate(names):
                    if len(found) < count and index not in found and _take(held, folder / f"{name}.{place}"):
                        found.append(index)
            if len(found) == count:
                yield found
                return
        time.sleep(WAIT_SECONDS)


def _take(held: ExitStack, path: Path) -> bool:
    try:
        held.enter_context(FileLock(path, timeout=0))
    except Timeout:
        return False
    return True


def name_of(index: int) -> str:
    """Return a name of a visible GPU that is the same whatever CUDA_VISIBLE_DEVICES hides."""
    return str(torch.cuda.get_device_properties(index).uuid)
