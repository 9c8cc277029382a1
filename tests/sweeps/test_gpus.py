"""Places on GPUs: spread, shared between processes, given back by the dead."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from vae_likelihoods.sweeps import gpus
from vae_likelihoods.sweeps.gpus import own_gpus, places

NAMES = ["GPU-a", "GPU-b"]
HOLD = """
import sys, time
from pathlib import Path
from vae_likelihoods.sweeps.gpus import places
with places(Path(sys.argv[1]), ["GPU-a", "GPU-b"], 1, 2) as indices:
    print(indices[0], flush=True)
    time.sleep(600)
"""


def test_processes_are_spread_then_share_and_the_dead_give_back(tmp_path: Path) -> None:
    holders = []
    try:
        indices = []
        for _ in range(4):
            command = [sys.executable, "-c", HOLD, str(tmp_path)]
            holders.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
            assert holders[-1].stdout is not None
            indices.append(int(holders[-1].stdout.readline()))
        assert indices == [0, 1, 0, 1]
        holders[1].kill()
        holders[1].wait()
        with places(tmp_path, NAMES, 1, 2) as indices:
            assert indices == [1]
    finally:
        for holder in holders:
            holder.kill()
            holder.communicate()


def test_a_full_machine_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "WAIT_SECONDS", 0.01)
    got: list[list[int]] = []

    def wait() -> None:
        with places(tmp_path, NAMES, 2, 1) as indices:
            got.append(indices)

    with places(tmp_path, NAMES, 1, 1) as first:
        assert first == [0]
        waiting = threading.Thread(target=wait)
        waiting.start()
        time.sleep(0.2)
        assert not got
        with places(tmp_path, NAMES, 1, 1) as second:  # what waits for two holds none meanwhile
            assert second == [1]
    waiting.join(30)
    assert got == [[0, 1]]


def test_more_gpus_than_there_are_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="3 GPUs are wanted, 2 are visible"), places(tmp_path, NAMES, 3, 1):
        pass


def test_a_cpu_needs_no_place() -> None:
    with own_gpus(torch.device("cpu"), 2, 1) as indices:
        assert indices == []


def test_the_first_place_is_torchs_current_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[int] = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(gpus, "name_of", NAMES.__getitem__)
    monkeypatch.setattr(gpus.tempfile, "gettempdir", lambda: str(tmp_path))
    cuda = torch.device("cuda")
    with own_gpus(cuda, 1, 1) as first, own_gpus(cuda, 1, 1) as second:
        assert (first, second, chosen) == ([0], [1], [0, 1])
