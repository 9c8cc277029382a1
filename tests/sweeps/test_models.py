"""Studies over models: axes that a model does not read give one cell, in a sweep as in its plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from processes import folder_with_data, run
from sweeps.test_studies import names


def test_axes_that_a_model_does_not_read_give_one_cell(tmp_path: Path) -> None:
    axes: dict[str, Any] = {"model": "vae,independent,mixture,ppca", "likelihood": "binomial,gaussian"}
    found = names(tmp_path, **axes, latent_dim="2,3", seed="0,1")
    seeds = (0, 1)
    assert sorted(found) == sorted(
        [
            *(f"{p}-{size}-{seed}" for p in ("binomial", "gaussian") for size in (2, 3) for seed in seeds),
            *(f"independent-{seed}" for seed in seeds),
            *(f"mixture-{p}-{seed}" for p in ("binomial", "gaussian") for seed in seeds),
            *(f"ppca-{size}-{seed}" for size in (2, 3) for seed in seeds),
        ]
    )


def test_further_axes_are_named_where_they_are_read(tmp_path: Path) -> None:
    options = "network.hidden=[8],[9] optimizer.lr=1e-2,1e-3"
    found = names(tmp_path, model="vae,independent", options=options)
    assert sorted(found) == [
        *(f"binomial-2-0-hidden={width}-lr={rate}" for width in (8, 9) for rate in ("0.001", "0.01")),
        "independent-0",
    ]


def test_two_models_with_the_same_likelihood_are_told_apart(tmp_path: Path) -> None:
    found = names(tmp_path, levels=2, likelihood="bernoulli", model="vae,from_means,independent")
    assert found == ["bernoulli-2-0-model=vae", "bernoulli-2-0-model=from_means", "independent-0"]


@pytest.mark.slow
def test_a_sweep_trains_and_evaluates_each_cell_once(prepared_root: Path, tmp_path: Path) -> None:
    root = folder_with_data(prepared_root, tmp_path)
    words = [
        *("-m", "levels=17", "model=vae,independent", "likelihood=binomial,gaussian", "latent_dim=2"),
        *("study=mixed", "metric=[bound]", "metric.bound.samples=2", "training.epochs=1", "tracking=none"),
    ]
    for stage in ("train", "evaluate"):
        said = run(stage, root, *words).stdout
        assert "3 done" in said
    expected = {"binomial-2-0", "gaussian-2-0", "independent-0"}
    for folder in ("runs", "evaluations"):
        assert {path.name for path in (root / folder / "mixed").iterdir()} == expected
