"""Better posteriors for a fixed decoder: how much of the inference gap can be closed?

The ELBO is below log p(x) by KL(q(z | x) to p(z | x)), the inference gap. Cremer et al. 2018
(arXiv:1801.03558) split it at the best Gaussian of each image (`optimised`): the gap that remains with it is
the approximation gap, the rest is the amortisation gap of the encoder. Training the encoder further
(`refitted`) closes a part of the latter; the remainder is the cost of one network for all images.
"""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor
from torch.distributions import Normal

from vae_likelihoods.inference.freezing import frozen
from vae_likelihoods.likelihoods.base import Likelihood
from vae_likelihoods.models.blocks import log_mass
from vae_likelihoods.models.vae import LOG_SCALES, VAE, kept_within, reparameterised
from vae_likelihoods.networks.base import Networks
from vae_likelihoods.objectives.elbo import ELBO
from vae_likelihoods.training.schedule import TrainingSettings
from vae_likelihoods.training.trainer import Trainer


def optimised(
    model: VAE,
    levels: Tensor,
    posterior: Normal,
    steps: int,
    learning_rate: float,
    draws: int,
    noise: torch.Generator,
) -> Normal:
    """Return the Gaussian [B, L] with the best ELBO for each image that Adam finds from `posterior`.

    Args:
        model: its decoder is not changed.
        levels: images [B, C, H, W].
        posterior: the start.
        steps: of Adam; the learning rate falls to 0 along a half cosine.
        learning_rate: of the first step, in units of z and of the logarithm of the scale.
        draws: how many z are drawn for each image in each step.
        noise: the source of the draws.

    Raises:
        SettingError: the images are no levels of the model.
    """
    model.require_levels(levels)
    mean, log_scale = posterior.mean.clone(), posterior.stddev.log()
    parameters = [mean.requires_grad_(), log_scale.requires_grad_()]
    # Far from the best q gradients are a thousand times as large; a small second beta forgets them soon.
    adam = torch.optim.Adam(parameters, lr=learning_rate, betas=(0.9, 0.99))
    with torch.enable_grad(), frozen(model):
        for step in range(steps):
            adam.param_groups[0]["lr"] = learning_rate * 0.5 * (1 + math.cos(math.pi * step / steps))
            q = Normal(mean, kept_within(log_scale, *LOG_SCALES).exp(), validate_args=False)
            z = reparameterised(q, noise, draws)
            gain = log_mass(model, z, levels).mean(0) - model.rate_per_latent(q).sum(-1)
            adam.zero_grad()
            (-gain.sum()).backward()
            adam.step()
    scale = log_scale.detach().clamp(*LOG_SCALES).exp()
    return Normal(mean.detach(), scale, validate_args=False)


def refitted(
    model: VAE, train: Tensor, validation: Tensor, settings: TrainingSettings, learning_rate: float, seed: int
) -> VAE:
    """Return the model with its encoder trained further, on the mass; decoder and likelihood stay the same.

    Args:
        model: is not changed.
        train: levels [N, C, H, W] to train on.
        validation: levels on which the best epoch is chosen.
        settings: how long and how.
        learning_rate: of Adam.
        seed: of order and noise.
    """
    networks = Networks(copy.deepcopy(model.encoder), model.decoder)
    refitted_model = VAE(networks, on_mass(model.likelihood), model.latent_dim)
    adam = torch.optim.Adam(refitted_model.encoder.parameters(), lr=learning_rate)
    trainer = Trainer(refitted_model, ELBO(1.0, 0), adam, settings, lambda epoch: train, validation, seed)
    with torch.enable_grad(), frozen(refitted_model.decoder, refitted_model.likelihood):
        for _ in trainer.epochs():
            pass
    refitted_model.load_state_dict(trainer.kept_weights)
    return refitted_model.eval()


def on_mass(likelihood: Likelihood) -> Likelihood:
    """Return a copy that is trained on what it is scored on, the mass over K levels."""
    trained_on_mass = copy.deepcopy(likelihood)
    trained_on_mass.trained_on = "mass"
    return trained_on_mass
