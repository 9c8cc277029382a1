"""The settings of a process on the CPU, seen in processes of their own."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

COUNT = """
import resource, sys, torch
from vae_likelihoods.recipes.cpu import keep_freed_memory
torch.set_num_threads(1)
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def step():
    parts = [torch.zeros(300_000) for _ in range(20)]  # 1.2 MB each
    return sum(part.sum() for part in parts)
step(), step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_a_step_needs_no_new_pages() -> None:
    default, kept = (
        int(subprocess.run([sys.executable, "-c", COUNT, how], capture_output=True, check=True).stdout)
        for how in ("leave", "keep")
    )
    assert kept < 1000 < default  # 5 steps of 24 MB are 29,000 pages of 4 kB


ADAM = """
import sys, time, torch
from vae_likelihoods.recipes.cpu import prepare_cpu
prepare_cpu(threads=1)
weight = torch.nn.Parameter(torch.ones(1000))
optimizer = torch.optim.Adam([weight], fused=True)
weight.grad = torch.full_like(weight, 1e-3)
optimizer.step()
weight.grad.zero_()
for _ in range(900):  # 0.9^900 1e-4 = 7e-46
    optimizer.step()
average = optimizer.state[weight]["exp_avg"]
# Not always 0: kernels that subtract a tenth stop where the tenth is flushed, at 1e-37, which is no denormal.
normal = (average == 0) | (average.abs() >= torch.finfo(average.dtype).tiny)
print(torch.get_num_threads(), int(normal.all()))
"""


GROW = """
import psutil, torch
from vae_likelihoods.recipes.cpu import prepare_cpu
from vae_likelihoods.sweeps.job import return_memory
prepare_cpu(threads=1)
size = lambda: psutil.Process().memory_info().rss
before = size()
parts = [torch.ones(2_000_000) for _ in range(60)]  # 8 MB each
last = torch.ones(10)
del parts
kept = size() - before
return_memory()
print(kept, size() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_after_a_cell_the_memory_is_released() -> None:
    """Else joblib would end the worker: it ends those that have grown by 300 MB."""
    output = subprocess.run([sys.executable, "-c", GROW], capture_output=True, check=True).stdout
    kept, final = map(int, output.split())
    assert kept > 300e6 > 100e6 > final


def test_the_averages_of_a_gradient_that_became_0_are_not_denormal() -> None:
    output = subprocess.run([sys.executable, "-c", ADAM], capture_output=True, check=True).stdout
    assert output.split() == [b"1", b"1"]


def test_another_c_library_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    from vae_likelihoods.recipes import cpu

    monkeypatch.setattr(cpu.platform, "libc_ver", lambda: ("musl", "1.2"))
    assert cpu.keep_freed_memory() is False
