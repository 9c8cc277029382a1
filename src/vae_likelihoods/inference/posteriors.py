"""Better posteriors for a decoder that stays as it is: what would inference gain if it were done well?

The ELBO falls short of log p(x) by KL(q(z | x) to p(z | x)), the inference gap. Cremer et al. 2018
(arXiv:1801.03558) split it at the best Gaussian of each image (`optimised`): what that one still lacks is the
approximation gap, what the encoder lacks beside it the amortisation gap. A part of the latter can be had by
training the encoder again (`refitted`); the rest is what one network for all images cannot do.
"""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor
from torch.distributions import Normal

from vae_likelihoods.inference.freezing import frozen
from vae_likelihoods.likelihoods.base import Likelihood
from vae_likelihoods.models.vae import VAE, reparameterised
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
        model: its decoder stays as it is.
        levels: images [B, C, H, W].
        posterior: where to start.
        steps: of Adam, its learning rate falling to 0 along a half cosine.
        learning_rate: the first, in units of z and of the logarithm of the scale.
        draws: z in each step, for each image.
        noise: where they come from.
    """
    mean, log_scale = posterior.mean.clone(), posterior.stddev.log()
    wanted = [mean.requires_grad_(), log_scale.requires_grad_()]
    # A short memory of squares: far from the best q gradients are a thousandfold, and must be forgotten.
    adam = torch.optim.Adam(wanted, lr=learning_rate, betas=(0.9, 0.99))
    with torch.enable_grad(), frozen(model):
        for step in range(steps):
            adam.param_groups[0]["lr"] = learning_rate * 0.5 * (1 + math.cos(math.pi * step / steps))
            q = Normal(mean, log_scale.exp(), validate_args=False)
            outputs = model.decode(reparameterised(q, noise, draws))
            gain = model.likelihood.log_mass(outputs, levels).mean(0) - model.rate_per_latent(q).sum(-1)
            adam.zero_grad()
            (-gain.sum()).backward()
            adam.step()
    return Normal(mean.detach(), log_scale.detach().exp(), validate_args=False)


def refitted(
    model: VAE, train: Tensor, validation: Tensor, settings: TrainingSettings, learning_rate: float, seed: int
) -> VAE:
    """Return the model with its encoder trained further, on the mass; decoder and likelihood as they are.

    Args:
        model: stays as it is.
        train: levels [N, C, H, W] to train on.
        validation: levels on which the best epoch is chosen.
        settings: how long and how.
        learning_rate: of Adam.
        seed: of order and noise.
    """
    again = VAE(
        Networks(copy.deepcopy(model.encoder), model.decoder), on_mass(model.likelihood), model.latent_dim
    )
    adam = torch.optim.Adam(again.encoder.parameters(), lr=learning_rate)
    trainer = Trainer(again, ELBO(1.0, 0), adam, settings, lambda epoch: train, validation, seed)
    with torch.enable_grad(), frozen(again.decoder, again.likelihood):
        for _ in trainer.epochs():
            pass
    again.load_state_dict(trainer.best_weights)
    return again.eval()


def on_mass(likelihood: Likelihood) -> Likelihood:
    """Return a copy that is trained on what it is scored on, the mass over K levels."""
    found = copy.deepcopy(likelihood)
    found.trained_on = "mass"
    return found
