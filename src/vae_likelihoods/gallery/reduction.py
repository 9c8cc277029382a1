"""A reconstruction term that is averaged over pixels, with a KL that is summed."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F
from typing_extensions import override

from vae_likelihoods.gallery.images import Images
from vae_likelihoods.gallery.record import GalleryRow, difference, factor
from vae_likelihoods.gallery.training import scored, trained
from vae_likelihoods.likelihoods.bernoulli import Bernoulli
from vae_likelihoods.models.vae import VAE, Noise, reparameterised
from vae_likelihoods.objectives.base import Objective, Terms
from vae_likelihoods.objectives.elbo import ELBO

_EPOCHS = 20


class MeanReduced(Objective):
    """Cross-entropy with its default reduction, the mean, plus the KL; for binary levels."""

    # Seen in many training loops: `binary_cross_entropy` and `mse_loss` average by default.
    @override
    def __call__(self, model: VAE, levels: Tensor, noise: Noise, epoch: int) -> Terms:
        posterior = model.posterior(levels)
        logits = model.decode(reparameterised(posterior, noise))
        rate = model.rate_per_latent(posterior).sum(-1)  # [B]
        loss = F.binary_cross_entropy_with_logits(logits, levels.float()) + rate.mean()
        return Terms(loss, -model.likelihood.log_prob(logits, levels), rate)


def mean_reduction(images: Images, seed: int) -> GalleryRow:
    """Train a small VAE on binary images with each of the two losses."""
    binary = images.at(2)
    right, wrong = (
        scored(trained(binary, _bernoulli(binary), objective, _EPOCHS, seed), binary.test, seed)
        for objective in (ELBO(beta=1.0, warmup_epochs=0), MeanReduced())
    )
    return GalleryRow(
        written="`mean(BCE) + sum(KL)`",
        right="`sum(BCE) + sum(KL)`",
        findings=(
            factor("weight of the KL against the summed BCE", 1, binary.dimensions),
            difference("test ELBO, bits/dim", right.bits_per_dim, wrong.bits_per_dim, "bits/dim"),
            difference("rate, nats", right.rate_nats, wrong.rate_nats, "nats an image"),
            difference("active latents", right.active_units, wrong.active_units, "latents"),
        ),
    )


def _bernoulli(images: Images) -> Bernoulli:
    return Bernoulli(levels=images.levels, channels=images.shape[0])
