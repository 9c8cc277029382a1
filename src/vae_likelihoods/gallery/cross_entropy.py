"""Binary cross-entropy on grey pixels: quoted as a log-likelihood, and trained on."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import override

from vae_likelihoods.gallery.images import Images
from vae_likelihoods.gallery.record import Cost, GalleryRow, difference, factor
from vae_likelihoods.gallery.training import Score, scored, trained
from vae_likelihoods.likelihoods.base import Likelihood
from vae_likelihoods.likelihoods.binomial import Binomial
from vae_likelihoods.likelihoods.continuous_bernoulli import ContinuousBernoulli
from vae_likelihoods.models.vae import VAE, Noise, reparameterised
from vae_likelihoods.objectives.base import Objective, Terms
from vae_likelihoods.objectives.elbo import ELBO

_EPOCHS = 20


# Seen in most tutorials: MNIST as floats in [0, 1], fed to `binary_cross_entropy`.
def minus_cross_entropy(logits: Tensor, points: Tensor) -> Tensor:
    """Return minus BCE summed over pixels, [B]; for points between 0 and 1 it is not a log-density."""
    return -F.binary_cross_entropy_with_logits(logits, points, reduction="none").sum((-3, -2, -1))


class CrossEntropyOnGrey(Objective):
    """Cross-entropy summed over grey pixels, plus the KL, as tutorials train a VAE."""

    @override
    def __call__(self, model: VAE, levels: Tensor, noise: Noise, epoch: int) -> Terms:
        posterior = model.posterior(levels)
        logits = model.decode(reparameterised(posterior, noise))
        rate = model.rate_per_latent(posterior).sum(-1)  # [B]
        loss = (rate - minus_cross_entropy(logits, model.points(levels))).mean()
        return Terms(loss, -model.likelihood.log_prob(logits, levels), rate)


def cross_entropy_on_grey(images: Images, seed: int) -> GalleryRow:
    """Return what cross-entropy lacks: at lambda = 1/2, where that is least, and at the train means."""
    logits = images.pixel_logits()
    return GalleryRow(
        written="`-BCE(lambda, x)` as log p(x), x in [0, 1]",
        right="`-BCE(lambda, x) + log C(lambda)`, the continuous Bernoulli",
        findings=(
            _missing("lambda = 1/2", images, torch.zeros_like(logits)),
            _missing("lambda = the pixel's mean over the train split", images, logits),
        ),
    )


def training_on_cross_entropy(images: Images, seed: int) -> GalleryRow:
    """Train small VAEs on cross-entropy, and on the two likelihoods that it may be meant to be."""
    shape = {"levels": images.levels, "channels": images.shape[0]}
    likelihoods: tuple[Likelihood, ...] = (
        Binomial(**shape),
        ContinuousBernoulli(**shape, trained_on="density"),
    )
    model = trained(images, Binomial(**shape), CrossEntropyOnGrey(), _EPOCHS, seed)
    findings: list[Cost] = [factor("weight of the KL against the binomial", 1, images.levels - 1)]
    for likelihood in likelihoods:
        right = trained(images, likelihood, ELBO(beta=1.0, warmup_epochs=0), _EPOCHS, seed)
        model.likelihood = likelihood
        name = type(likelihood).__name__
        findings += _compared(name, scored(right, images.test, seed), scored(model, images.test, seed))
    return GalleryRow(
        written="minimise `sum(BCE) + sum(KL)`, x in [0, 1]",
        right="minimise minus the ELBO of a likelihood that exists",
        findings=tuple(findings),
    )


def _missing(where: str, images: Images, logits: Tensor) -> Cost:
    density = ContinuousBernoulli(levels=images.levels, channels=images.shape[0], trained_on="density")
    outputs = logits[None]
    right = density.log_prob(outputs, images.test).double().mean().item()
    wrong = minus_cross_entropy(outputs.expand(images.test.shape), images.points(images.test)).mean().item()
    return difference(f"log p(x) at {where}, nats", right, wrong, "nats an image")


def _compared(name: str, right: Score, wrong: Score) -> tuple[Cost, ...]:
    return (
        difference(f"as {name}: test ELBO, bits/dim", right.bits_per_dim, wrong.bits_per_dim, "bits/dim"),
        difference(f"as {name}: rate, nats", right.rate_nats, wrong.rate_nats, "nats an image"),
    )
