"""A metric in a package outside of the project: all that shows a number derives from its declaration."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

from vae_likelihoods import palette
from vae_likelihoods.cells.cell import Cell
from vae_likelihoods.report import page, ranking, recommend, summary
from vae_likelihoods.report.records import merged
from vae_likelihoods.sweeps.stages import STAGES
from vae_likelihoods.tracking.contents import scores
from vae_likelihoods.verify.reproduction import differences, evaluated

METRIC = '''
from dataclasses import dataclass

from vae_likelihoods.metrics.base import Metric
from vae_likelihoods.units.declaration import Declaration
from vae_likelihoods.units.quantity import Quantity


@dataclass(frozen=True)
class Darkness(Metric):
    """How many pixels are black."""

    below: float

    def declarations(self, levels):
        share = Quantity("share of pixels")
        fields = {"short": "dark", "purpose": "printing", "whole": "itself"}
        meaning = "pixels that are black"
        return [Declaration("black_pixels", meaning, share, "black", ".1%", "lower", **fields)]

    def __call__(self, model, data, noise):
        points = model.points(data.test.images)
        return {"black_pixels": (points < self.below).double().flatten(1).mean(1).numpy()}
'''


@pytest.fixture
def own_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package on the path with one module, which has one metric."""
    (tmp_path / "somebodys_metrics").mkdir()
    (tmp_path / "somebodys_metrics" / "__init__.py").touch()
    (tmp_path / "somebodys_metrics" / "darkness.py").write_text(METRIC)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in [name for name in sys.modules if name.startswith("somebodys_metrics")]:
        del sys.modules[name]


@pytest.mark.usefixtures("own_package")
def test_its_numbers_are_stored_reported_tracked_and_verified(
    small_cell: Callable[..., Cell], tmp_path: Path
) -> None:
    target = "+metric.darkness={_target_: somebodys_metrics.darkness.Darkness, below: 0.5}"
    without, cell = (
        small_cell("study=own", f"seed={seed}", *more) for seed, more in enumerate([(), (target,)])
    )
    for each in (without, cell):
        for stage in STAGES.values():
            stage.perform(each, lambda record: None)

    metrics = json.loads((cell.evaluation_folder / "metrics.json").read_text())
    assert 0 < metrics["black_pixels"] < 1
    per_image = pd.read_csv(cell.evaluation_folder / "per_image.csv")
    assert per_image["black_pixels"].mean() == pytest.approx(metrics["black_pixels"])
    assert ("test/dark", metrics["black_pixels"], 0) in scores(metrics)

    evaluations = cell.root / "evaluations"
    cells = summary.collect(evaluations, {"own": []})
    assert summary.missing(cells) == "black_pixels is missing in 1 of 2 cells"
    advice = recommend.recommend(ranking.answer(cells, evaluations))
    html = page.render(cells, [advice], evaluations, palette.marks(["beta_binomial"]))
    assert "pixels that are black; share of pixels; lower is better" in html
    assert f">{metrics['black_pixels']:.1%}</td>" in html
    assert ">–</td>" in html

    summary.write_summary(cells, tmp_path / "summary.csv")
    written = pd.read_csv(tmp_path / "summary.csv")
    declarations = merged(record["declarations"] for record in evaluated(evaluations, written))
    moved = written.assign(black_pixels=written["black_pixels"] * 1.01)
    assert differences(written, written, declarations)
    assert max(each.size for each in differences(written, written, declarations)) == 0
    (fault,) = (each for each in differences(written, moved, declarations) if each.size > 0)
    assert fault.size == pytest.approx(0.01)
    assert str(fault).startswith(f"black_pixels of own/{cell.name} is ")


@pytest.mark.usefixtures("own_package")
def test_its_purpose_is_in_the_recommendation(small_cell: Callable[..., Cell]) -> None:
    target = "+metric.darkness={_target_: somebodys_metrics.darkness.Darkness, below: 0.5}"
    cell = small_cell("study=purpose", target)
    for stage in STAGES.values():
        stage.perform(cell, lambda record: None)
    evaluations = cell.root / "evaluations"
    advice = recommend.recommend(ranking.answer(summary.collect(evaluations, {"purpose": []}), evaluations))
    assert "For printing it is the best too (black " in advice.paragraph
    assert advice.table.header[-1] == "black"
