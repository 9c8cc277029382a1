"""Faults that are planted into models of the digits are named by the diagnostics, from measured numbers."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from families import gaussian
from metrics.given import Given, measure
from training_settings import training
from vae_likelihoods.datasets.quantise import Levels
from vae_likelihoods.likelihoods.base import Likelihood
from vae_likelihoods.likelihoods.binomial import Binomial
from vae_likelihoods.metrics.ais import AIS
from vae_likelihoods.metrics.bound import Bound
from vae_likelihoods.metrics.data import Data
from vae_likelihoods.metrics.generalisation import Generalisation
from vae_likelihoods.metrics.inference_gap import InferenceGap
from vae_likelihoods.metrics.latents import Latents
from vae_likelihoods.metrics.refit import Refit
from vae_likelihoods.models.vae import VAE
from vae_likelihoods.networks.mlp import mlp
from vae_likelihoods.objectives.elbo import ELBO
from vae_likelihoods.precision import default_dtype
from vae_likelihoods.report.diagnostics import Finding, diagnose
from vae_likelihoods.seeding import seeded
from vae_likelihoods.training.trainer import Trainer

K = 17
SETTINGS = training(epochs=25, batch_size=50, warmup_steps=20)
METRICS = {
    "bound": Bound(128, 4096),
    "latents": Latents(0.01, 500),
    "generalisation": Generalisation(200, 128, 4096),
    "refit": Refit(10, 50, 3e-3, 64, 4096),
    "inference_gap": InferenceGap(16, 8, 60, "sigmoid", 3, 0.65, 2048, 256, 150, 0.05, 16),
}
AIS_SETTINGS: dict[str, Any] = {
    "chains": 16,
    "schedule": "sigmoid",
    "leapfrog_steps": 5,
    "acceptance": 0.65,
    "decoded_at_once": 2048,
    "samples": 128,
}


@pytest.fixture(scope="module")
def digits() -> Tensor:
    return torch.from_numpy(load_digits().data.astype("uint8")).reshape(-1, 1, 8, 8)


def data_of(train: Tensor, digits: Tensor) -> Data:
    splits = {"train": train, "validation": digits[1100:1300], "test": digits[1300:1700]}
    levels = {name: Levels(images, torch.zeros(len(images)), K, K) for name, images in splits.items()}
    return Given(levels, K)


def trained(likelihood: Likelihood, data: Data, epochs: int, seed: int = 0) -> VAE:
    """Train to the last epoch, past the best one too; in float64: the same on any processor."""
    with seeded(seed, "weights"), default_dtype(torch.float64):
        model = VAE(mlp((1, 8, 8), 4, likelihood.output_channels, hidden=[64]), likelihood, 4).double()
    adam = torch.optim.Adam(model.parameters(), lr=5e-3)
    settings, train = SETTINGS.model_copy(update={"epochs": epochs}), data.train.images
    trainer = Trainer(model, ELBO(1.0, 0), adam, settings, lambda _: train, data.validation.images, seed)
    for _ in trainer.epochs():
        pass
    return model.eval()


def findings(model: VAE, data: Data, *names: str) -> dict[str, Finding]:
    """Measure with these metrics of METRICS, and name what is wrong."""
    measured: dict[str, Any] = {}
    for name in names:
        measured |= measure(METRICS[name], model, data, name).values
    return {finding.name: finding for finding in diagnose(measured)}


@pytest.fixture(scope="module")
def data(digits: Tensor) -> Data:
    return data_of(digits[:1100], digits)


@pytest.fixture(scope="module")
def healthy(data: Data) -> VAE:
    return trained(Binomial(K, 1), data, epochs=25)


def test_a_model_that_was_trained_well_is_not_accused(healthy: VAE, data: Data) -> None:
    named = findings(healthy, data, "bound", "latents", "generalisation", "refit")
    assert not {"posterior collapse", "dead latents", "overfit", "wrong encoder"} & set(named)


def test_a_likelihood_that_is_too_wide_collapses(data: Data) -> None:
    model = trained(gaussian(K, 1, scale=1.0), data, epochs=10)
    named = findings(model, data, "bound", "latents", "generalisation")
    assert list(named) == ["posterior collapse"]
    assert named["posterior collapse"].numbers["collapsed_share"] == 1.0


def test_a_model_of_few_images_that_trained_for_long_is_overfit(digits: Tensor) -> None:
    data = data_of(digits[:60], digits)
    model = trained(Binomial(K, 1), data, epochs=400)
    named = findings(model, data, "bound", "latents", "generalisation")
    assert "overfit" in named
    assert named["overfit"].numbers["generalisation_gap_nats"] > 20


def test_the_encoder_of_another_model_is_the_wrong_one(healthy: VAE, data: Data) -> None:
    model = copy.deepcopy(healthy)
    model.encoder = trained(Binomial(K, 1), data, epochs=10, seed=1).encoder
    named = findings(model, data, "bound", "latents", "refit", "inference_gap")
    assert "wrong encoder" in named
    assert "amortisation gap" not in named  # that is not what ails it
    numbers = named["wrong encoder"].numbers
    assert numbers["refit_elbo_gain_nats"] > 10
    assert numbers["amortisation_gap_nats"] > 0.8 * numbers["inference_gap_nats"]


def test_the_gaps_add_up_and_none_is_negative(healthy: VAE, data: Data) -> None:
    values: dict[str, Any] = measure(METRICS["inference_gap"], healthy, data, "gap").values
    whole, family, encoder = (
        values[f"{name}_gap_nats"] for name in ("inference", "approximation", "amortisation")
    )
    assert whole == pytest.approx(family + encoder)
    assert family > -3 * values["approximation_gap_nats_se"]
    assert encoder > 0


@pytest.mark.slow
def test_the_sandwich_closes_on_the_digits(healthy: VAE, data: Data) -> None:
    """Below a tenth of a nat of about 100, from the prior: whatever the encoder is."""
    ais = AIS(images=24, temperatures=600, start="prior", **AIS_SETTINGS)
    values: dict[str, Any] = measure(ais, healthy, data, "ais").values
    assert -2 * values["simulated_gap_nats_se"] < values["simulated_gap_nats"] < 0.1
    assert values["iwae_gap_nats"] > -0.1  # annealing is not below the bound of 128 draws
    assert values["ais_acceptance"] == pytest.approx(0.65, abs=0.1)


def test_chains_that_are_too_short_are_named(healthy: VAE, data: Data) -> None:
    ais = AIS(images=24, temperatures=5, start="prior", **AIS_SETTINGS)
    values = measure(ais, healthy, data, "ais").values
    assert "chains too short" in {finding.name for finding in diagnose(values)}
