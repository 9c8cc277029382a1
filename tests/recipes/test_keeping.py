"""What a metric makes of a data set is computed once, whoever asks, and comes back whole."""

from __future__ import annotations

import sys
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch
from torch import Tensor

from metrics.given import GivenPrepared
from vae_likelihoods.datasets.prepared import PreparedDataset
from vae_likelihoods.datasets.quantise import Levels
from vae_likelihoods.files import sha256
from vae_likelihoods.recipes.keeping import KEPT, keep_in

asked: list[str] = []


def data(seed: int = 0) -> GivenPrepared:
    images = torch.full((3, 1, 2, 2), seed, dtype=torch.uint8)
    split = Levels(images, torch.arange(3), 8, 8)
    return GivenPrepared({"train": split})


def brightness(prepared: PreparedDataset) -> dict[str, Tensor]:
    asked.append(prepared.sha256)
    return {"mean": prepared.split("train").images.double().mean()}


def twice_as_bright(prepared: PreparedDataset) -> dict[str, Tensor]:
    asked.append(prepared.sha256)
    return {"mean": 2 * prepared.split("train").images.double().mean()}


@pytest.fixture(autouse=True)
def _nothing_asked() -> None:
    asked.clear()


def test_it_is_computed_once_for_each_data_set(tmp_path: Path) -> None:
    means = [
        keep_in(tmp_path, prepared)("brightness", brightness)["mean"].item()
        for prepared in (data(), data(), data(seed=1), data(), data(seed=1))
    ]
    assert means == [0, 0, 1, 0, 1]
    assert asked == [data().sha256, data(seed=1).sha256]


def test_another_name_or_other_code_is_something_else(tmp_path: Path) -> None:
    keep = keep_in(tmp_path, data(seed=3))
    assert keep("brightness", brightness)["mean"] == 3
    assert keep("brightness", twice_as_bright)["mean"] == 6
    assert keep("another", brightness)["mean"] == 3
    assert len(asked) == 3
    assert len(list(tmp_path.glob(f"*/{KEPT}"))) == 3


def test_what_was_damaged_is_computed_again(tmp_path: Path) -> None:
    keep = keep_in(tmp_path, data())
    keep("brightness", brightness)
    (path,) = tmp_path.glob(f"*/{KEPT}")
    whole = sha256(path)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert keep("brightness", brightness)["mean"] == 0
    assert sha256(path) == whole
    assert len(asked) == 2


def counted(prepared: PreparedDataset) -> dict[str, Tensor]:
    with Path(sys.argv[-1], "computed").open("a") as handle:
        handle.write("x")
    return brightness(prepared)


def _keep(store: Path) -> None:
    sys.argv.append(str(store))
    (store / "begun").open("a").write("x")
    keep_in(store / "cells", data())("brightness", counted)


@pytest.mark.slow
def test_processes_that_begin_together_compute_it_once(tmp_path: Path) -> None:
    processes = [get_context("spawn").Process(target=_keep, args=(tmp_path,)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert (tmp_path / "begun").read_text() == "xxx"
    assert (tmp_path / "computed").read_text() == "x"
