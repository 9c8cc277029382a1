"""A small VAE that trains in seconds, for the rows that train, and its score on the mass."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from omegaconf import OmegaConf
from torch import Tensor

from vae_likelihoods.files import PROJECT
from vae_likelihoods.gallery.images import Images
from vae_likelihoods.likelihoods.base import Likelihood
from vae_likelihoods.models.base import Model
from vae_likelihoods.models.vae import VAE, reparameterised
from vae_likelihoods.networks.mlp import mlp
from vae_likelihoods.objectives.base import Objective
from vae_likelihoods.seeding import generator, seeded
from vae_likelihoods.training.schedule import TrainingSettings
from vae_likelihoods.training.trainer import Trainer
from vae_likelihoods.units.quantity import bits_per_dim

LATENTS = 8
_HIDDEN = (128,)
_LEARNING_RATE = 3e-3
_ACTIVE = 0.01  # variance over images of a posterior's mean, Burda et al. 2016, section 5.2


@dataclass(frozen=True)
class Score:
    """The score of a VAE on the mass over K levels; nats per image."""

    distortion_nats: float
    rate_nats: float
    active_units: int
    dimensions: int

    @property
    def bits_per_dim(self) -> float:
        """Minus the ELBO, in bits per dimension."""
        return bits_per_dim(self.distortion_nats + self.rate_nats, self.dimensions)


def make_trainer(
    images: Images, likelihood: Likelihood, objective: Objective, epochs: int, seed: int
) -> Trainer:
    """Build a small VAE and its trainer. The same seed gives the same initial weights, order and noise."""
    with seeded(seed, "gallery", "weights"):
        outputs = likelihood.outputs_per_channel * likelihood.channels
        model = VAE(mlp(images.shape, LATENTS, outputs, _HIDDEN), likelihood, LATENTS)
    return Trainer(
        model,
        objective,
        torch.optim.Adam(model.parameters(), lr=_LEARNING_RATE),
        _settings(epochs),
        lambda epoch: images.train,
        images.validation,
        seed,
    )


def trained(images: Images, likelihood: Likelihood, objective: Objective, epochs: int, seed: int) -> VAE:
    """Return a small VAE after `epochs` of `objective`."""
    trainer = make_trainer(images, likelihood, objective, epochs, seed)
    for _ in trainer.epochs():
        pass
    assert isinstance(trainer.model, VAE)
    return trainer.model


@torch.no_grad()
def scored(model: Model, levels: Tensor, seed: int) -> Score:
    """Score a VAE on levels [N, C, H, W] with one draw of z an image, the same noise in every call."""
    assert isinstance(model, VAE)
    posterior = model.posterior(levels)
    z = reparameterised(posterior, generator(seed, "gallery", "score"))
    distortion = -model.likelihood.log_mass(model.decode(z), levels)
    return Score(
        distortion_nats=distortion.double().mean().item(),
        rate_nats=model.rate_per_latent(posterior).sum(-1).double().mean().item(),
        active_units=int((posterior.mean.var(0) > _ACTIVE).sum()),
        dimensions=levels[0].numel(),
    )


def _settings(epochs: int) -> TrainingSettings:
    """Return the project's default training settings, except for these three."""
    default = OmegaConf.to_container(OmegaConf.load(PROJECT / "conf" / "training" / "default.yaml"))
    assert isinstance(default, dict)
    changes = {"epochs": epochs, "batch_size": 64, "matmul": "highest"}
    return TrainingSettings.model_validate({**default, **changes})
