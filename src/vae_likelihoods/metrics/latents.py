"""Which latents carry information about the image, and whether the posterior collapsed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from typing_extensions import override

from vae_likelihoods.errors import require, require_count
from vae_likelihoods.metrics.base import Floats, Measured, Metric, Number, in_batches, numpy
from vae_likelihoods.metrics.data import Data
from vae_likelihoods.models.vae import VAE
from vae_likelihoods.units import Quantity


@dataclass(frozen=True)
class Latents(Metric):
    """KL of every latent, active units (Burda et al. 2016, section 5.2), collapsed latents and an alarm.

    A latent is (epsilon, delta)-collapsed when KL(q(z_l | x) to p(z_l)) is below epsilon for a share of at
    least 1 - delta of the images (Lucas et al. 2019, arXiv:1911.02469). The posterior counts as collapsed
    when at least a share `alarm` of the latents is; at 1 the decoder knows nothing of the image.

    Args:
        threshold: a unit is active when the variance over images of its posterior mean is above this.
        batch_size: images encoded at once.
        more_thresholds: further ones, which show whether the count hangs on the threshold.
        epsilon_nats: epsilon.
        delta: at least 0, below 1.
        alarm: above 0, at most 1.
    """

    threshold: float
    batch_size: int
    more_thresholds: Sequence[float] = ()
    epsilon_nats: float = 0.05
    delta: float = 0.01
    alarm: float = 1.0

    def __post_init__(self) -> None:
        require(self.threshold >= 0, "threshold", self.threshold, "must be at least 0")
        for threshold in self.more_thresholds:
            require(threshold > 0, "more_thresholds", threshold, "each must be above 0")
        require(self.epsilon_nats > 0, "epsilon_nats", self.epsilon_nats, "must be above 0")
        require(0 <= self.delta < 1, "delta", self.delta, "must be at least 0 and below 1")
        require(0 < self.alarm <= 1, "alarm", self.alarm, "must be above 0 and at most 1")
        require_count("batch_size", self.batch_size)

    @override
    def __call__(self, model: VAE, data: Data, noise: torch.Generator) -> Measured:
        means, rates = [], []
        for batch in in_batches(data.test.images, self.batch_size):
            posterior = model.posterior(batch)
            means.append(posterior.mean)
            rates.append(model.rate_per_latent(posterior))
        return Measured(self.summarise(numpy(means), numpy(rates)))

    def summarise(self, means: Floats, rates: Floats) -> dict[str, Number]:
        """Return the numbers from posterior means [N, L] and rates [N, L] in nats."""
        names = {"active_units": self.threshold}
        names |= {f"active_units_{power(threshold)}": threshold for threshold in self.more_thresholds}
        variances, unit = means.var(0), Quantity("latents")
        active = {name: Number(int((variances > least).sum()), unit) for name, least in names.items()}
        collapsed = self.collapsed_share(rates)
        return {
            **active,
            "kl_per_latent_nats": Number(rates.mean(0).tolist(), Quantity("nats per latent and image")),
            "collapsed_share": Number(collapsed, Quantity("share of latents")),
            "posterior_collapse": Number(
                int(collapsed >= self.alarm), Quantity("1 if collapsed, else 0"), better="lower"
            ),
        }

    def collapsed_share(self, rates: Floats) -> float:
        """Return which share of latents is collapsed, from their rates [N, L] in nats."""
        silent = (rates < self.epsilon_nats).mean(0)  # [L]  share of images of which z_l says nothing
        return float((silent >= 1 - self.delta).mean())


def power(threshold: float) -> str:
    """Return a threshold as part of a name, without the point that some tools take for a path.

    Example:
        >>> power(0.001), power(0.25)
        ('1e-3', '2_5e-1')
    """
    mantissa, exponent = f"{threshold:e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}".replace(".", "_")
