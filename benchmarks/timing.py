"""Measure work in processes of its own, and describe the machine."""

from __future__ import annotations

import multiprocessing
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch

from vae_likelihoods.cells.settings import cores

Result = dict[str, float]


def in_own_process(side: Callable[..., Result], *values: Any, threads: int = 1, copies: int = 1) -> Result:
    """Run `side` in new processes, so that none inherits the memory, threads or caches of another.

    Args:
        side: the function to measure.
        values: its arguments.
        threads: torch's threads in each process.
        copies: how many processes run `side` at once; their speeds are added, their costs averaged.
    """
    # Libraries read these variables when they are loaded.
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(threads)
    with ProcessPoolExecutor(copies, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = [pool.submit(_alone, side, values, threads) for _ in range(copies)]
        results = [future.result() for future in futures]
    mean = {key: statistics.mean(result[key] for result in results) for key in results[0]}
    return {**mean, "images_per_second": sum(result["images_per_second"] for result in results)}


def _alone(side: Callable[..., Result], values: Sequence[Any], threads: int) -> Result:
    # A spawned process would also spawn its DataLoader's workers, which a script does not do.
    multiprocessing.set_start_method(None, force=True)
    torch.set_num_threads(threads)
    warm_up()
    return side(*values)


def warm_up() -> None:
    """Take a training step, because torch imports parts of itself in the first one."""
    layer = torch.nn.Linear(8, 8)
    optimizer = torch.optim.Adam(layer.parameters())
    layer(torch.ones(8, 8)).sum().backward()
    optimizer.step()


def timed(images: int, work: Callable[[], object]) -> Result:
    """Run `work`, which trains on `images` images in all epochs together; return speed and cost."""
    cpu, began = cpu_seconds(), time.perf_counter()
    work()
    seconds, cpu = time.perf_counter() - began, cpu_seconds() - cpu
    return {"images_per_second": images / seconds, "cpu_microseconds_per_image": 1e6 * cpu / images}


def cpu_seconds() -> float:
    """Return the processor time of this process and of its children that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def machine() -> dict[str, Any]:
    """Return the processor, the cores, the versions and the load of this machine."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": cores(),
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 1),
    }


def spread(values: Sequence[float], form: str = ".2f") -> str:
    """Return the median and the range as text."""
    return f"{statistics.median(values):{form}} ({min(values):{form}} .. {max(values):{form}})"
