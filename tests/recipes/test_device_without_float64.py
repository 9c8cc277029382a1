"""Training, every likelihood and every metric on a device that has no float64, such as Apple's MPS."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import compositions
from metrics.test_metrics import CHEAPER, METRICS
from played_device import DEVICE, played
from vae_likelihoods.cells.cell import Cell
from vae_likelihoods.cells.settings import Runtime
from vae_likelihoods.files import read_csv
from vae_likelihoods.likelihoods.base import UnsupportedLevels
from vae_likelihoods.metrics.measures.features import trained_weights
from vae_likelihoods.recipes.evaluation import evaluate
from vae_likelihoods.recipes.training import train
from vae_likelihoods.seeding import generator

MakeCell = Callable[..., Cell]
CHEAP = [
    f"metric.{name}.{key}={json.dumps(value)}"
    for name, settings in CHEAPER.items()
    for key, value in settings.items()
]
# Few large batches: what takes long here is to watch each operation.
LARGE = [
    *("training.batch_size=1000", "training.grid_epochs=2", "metric.bound.decoded_at_once=8000"),
    *(f"metric.{name}.batch_size=1000" for name in ("reconstruction", "refit", "samples")),
    *(f"metric.{name}.decoded_at_once=50000" for name in ("generalisation", "iwae_curve", "refit")),
]
FEW = [f"metric.{name}.images=20" for name in ("ais", "generalisation", "inference_gap", "samples")]


def test_the_device_is_as_strict_as_a_real_one() -> None:
    with played() as device:
        numbers = torch.ones(3, device=device)
        with pytest.raises(TypeError, match="no float64"):
            torch.zeros(2, dtype=torch.float64, device=device)
        for convert in (
            Tensor.double,
            lambda x: x.to("cpu", torch.float64),
            lambda x: torch.ones(3).double().to(x.device),
        ):
            with pytest.raises(TypeError, match="float64"):
                convert(numbers)
        with pytest.raises(RuntimeError, match="two devices"):
            numbers + torch.ones(3)
        assert (numbers.cpu().double() + 1).tolist() == [2, 2, 2]


@pytest.mark.parametrize("name", compositions.NODES)
def test_a_likelihood_computes_what_it_computes_on_the_cpu(name: str) -> None:
    try:
        likelihood = compositions.build(name, levels=5, channels=3)
    except UnsupportedLevels:
        likelihood = compositions.build(name, levels=2, channels=3)
    shape = (2, likelihood.output_channels, 3, 2)
    outputs = torch.randn(shape, generator=generator(0, "outputs"))
    k = torch.randint(likelihood.levels, (2, 3, 3, 2), generator=generator(0, "k"), dtype=torch.uint8)

    def computed(device: torch.device) -> list[Tensor]:
        there, given = likelihood.to(device), outputs.detach().to(device).requires_grad_()
        score = there.log_prob(given, k.to(device))
        score.sum().backward()
        assert given.grad is not None
        results = [score, given.grad, there.log_mass(given, k.to(device)), there.mean(given)]
        drawn = there.sample(given, torch.Generator(device=device).manual_seed(1))
        return [each.detach().cpu() for each in (*results, drawn.float())]

    expected = computed(torch.device("cpu"))
    with played() as device:
        for result, same in zip(computed(device), expected, strict=True):
            torch.testing.assert_close(result, same, rtol=1e-4, atol=1e-5)


def test_a_cell_is_trained_and_scored_by_every_metric(
    small_cell: MakeCell, tmp_path: Path, prepared_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics = f"metric=[{','.join(METRICS)}]"
    features = trained_weights(small_cell().data)

    def computed(place: str) -> dict[str, Any]:
        root = tmp_path / place
        (root / "evaluated").mkdir(parents=True)
        (root / "data").symlink_to(prepared_root / "data")
        cell = small_cell("optimizer.fused=false", metrics, *CHEAP, *FEW, *LARGE, root=root)
        cell.run_folder.mkdir(parents=True)
        with monkeypatch.context() as patch:
            if place == "device":
                patch.setattr(Runtime, "torch_device", property(lambda runtime: DEVICE))
            train(cell, cell.run_folder, lambda record: None)
            evaluate(cell, root / "evaluated", keep=lambda name, compute: features)
        numbers: dict[str, Any] = json.loads((root / "evaluated" / "metrics.json").read_text())
        return {**numbers, "val_elbo": float(read_csv(cell.run_folder / "history.csv")[-1]["val_elbo"])}

    expected = computed("cpu")
    with played():
        numbers = computed("device")
    assert numbers.keys() == expected.keys()
    for name in ("val_elbo", "bits_per_dim", "rate_nats", "nll_ais_nats", "refit_nll_nats", "ssim"):
        assert numbers[name] == pytest.approx(expected[name], rel=1e-3)
