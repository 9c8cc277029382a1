"""A likelihood in somebody's own package, outside the repository: an edit of it computes its cells again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from processes import folder_with_data, run

LIKELIHOOD = """
import torch
from torch import Tensor

from mypackage.factors import FACTOR
from vae_likelihoods.likelihoods.base import Likelihood


class Peaked(Likelihood):
    def _log_mass(self, outputs: Tensor, k: Tensor) -> Tensor:
        (eta,) = outputs.unbind(-4)
        middle = torch.sigmoid(eta) * (self.levels - 1)
        levels = torch.arange(self.levels).view(-1, *[1] * eta.ndim)
        return -FACTOR * (k - middle).abs() - torch.logsumexp(-FACTOR * (levels - middle).abs(), 0)
"""
METRIC = """
from dataclasses import dataclass

import mypackage.factors as factors
from vae_likelihoods.metrics.latents import Latents


@dataclass(frozen=True)
class MyLatents(Latents):
    def collapsed_share(self, rates):
        return super().collapsed_share(rates) * factors.SHARE
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package and a folder of configuration outside the project."""
    package, conf = tmp_path / "own" / "mypackage", tmp_path / "own" / "conf"
    for folder in (package, conf / "likelihood", conf / "metric"):
        folder.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "factors.py").write_text("FACTOR = 1.0\nSHARE = 0.5\nUNUSED = 1\n")
    (package / "like.py").write_text(LIKELIHOOD)
    (package / "measure.py").write_text(METRIC)
    (conf / "likelihood" / "peaked.yaml").write_text("_target_: mypackage.like.Peaked\n")
    metric = "my_latents:\n  _target_: mypackage.measure.MyLatents\n  threshold: 0.01\n  batch_size: 99\n"
    (conf / "metric" / "my_latents.yaml").write_text(metric)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "own"))
    return tmp_path / "own"


@pytest.mark.slow
def test_an_edit_of_somebodys_own_likelihood_computes_its_cells_again(
    own: Path, prepared_root: Path, tmp_path: Path
) -> None:
    root = folder_with_data(prepared_root, tmp_path)
    grid = [
        "-m",
        "likelihood=peaked,binomial",
        "latent_dim=2",
        "tracking=none",
        "runtime.cells_at_once=1",
        f"hydra.searchpath=[file://{own / 'conf'}]",
    ]
    metrics = ["metric=[bound,my_latents]", "metric.my_latents.threshold=0.02"]

    def go(stage: str) -> str:
        return run(stage, root, *grid, *metrics).stdout.splitlines()[0]

    def numbers(cell: str) -> dict[str, float]:
        read: dict[str, float] = json.loads(
            (root / "evaluations" / "scratch" / cell / "metrics.json").read_text()
        )
        return read

    assert go("train") == "train scratch: 2 done"
    assert go("evaluate") == "evaluate scratch: 2 done"
    before = numbers("peaked-2-0")

    factors = own / "mypackage" / "factors.py"
    factors.write_text("FACTOR = 0.1\nSHARE = 0.5\nUNUSED = 2\n")
    assert go("train") == "train scratch: 1 done, 1 taken from the store"
    assert go("evaluate") == "evaluate scratch: 1 done, 1 taken from the store"
    after = numbers("peaked-2-0")
    assert after["bits_per_dim"] != before["bits_per_dim"]

    factors.write_text("FACTOR = 0.1\nSHARE = 0.25\nUNUSED = 3\n")
    assert go("evaluate") == "evaluate scratch: 2 done"
    assert numbers("peaked-2-0")["collapsed_share"] == after["collapsed_share"] / 2
    assert numbers("peaked-2-0")["bits_per_dim"] == after["bits_per_dim"]
