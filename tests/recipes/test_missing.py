"""An evaluation of data that some numbers need more of: they are null with a reason, and the rest stands."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from vae_likelihoods.cells.cell import Cell
from vae_likelihoods.datasets.arrays import LabelledArrays
from vae_likelihoods.datasets.base import Source
from vae_likelihoods.datasets.preparing import prepare
from vae_likelihoods.report import summary
from vae_likelihoods.sweeps.stages import STAGES


class Noise(Source):
    """Noise without labels under the name of the digits, with one test image."""

    def download(self, folder: Path) -> list[str]:
        return []

    def read(self, folder: Path) -> dict[str, LabelledArrays]:
        images = np.random.default_rng(0).integers(0, 17, (60, 1, 8, 8), dtype=np.uint8)
        return {"train": LabelledArrays(images, None)}


def test_one_test_image_without_a_label(small_cell: Callable[..., Cell], tmp_path: Path) -> None:
    prepare(Noise("digits", 17, 10, 1, 0), tmp_path, tmp_path / "data" / "prepared" / "digits")
    cell = small_cell(
        "metric=[bound,latents,probe,reconstruction,samples]", "metric.bound.samples=4", root=tmp_path
    )
    for stage in ("train", "evaluate"):
        STAGES[stage].perform(cell, lambda record: None)
    metrics = json.loads((cell.evaluation_folder / "metrics.json").read_text())
    none, error = "the data set has no labels", "a standard error needs two images"
    assert metrics["missing"]["knn_accuracy"] == metrics["missing"]["frechet_draws"] == none
    assert metrics["missing"]["bits_per_dim_se"] == error
    assert all(metrics[name] is None and name in metrics["declarations"] for name in metrics["missing"])
    for name in ("bits_per_dim", "elbo_nats", "collapsed_share", "squared_error"):
        assert name not in metrics["missing"]
        assert metrics[name] >= 0 or name == "elbo_nats"
    cells = summary.collect(tmp_path / "evaluations", {cell.study: []})
    line = summary.missing(cells)
    assert "bits_per_dim_se is missing in 1 of 1 cells (a standard error needs two images)" in line
    assert "(the data set has no labels)" in line
