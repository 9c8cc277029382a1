"""Which latents carry information about the image, and whether the posterior has collapsed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from typing_extensions import override

from vae_likelihoods.errors import require, require_count
from vae_likelihoods.metrics.base import Floats, Metric, Missing, Value, Values, in_batches, numpy
from vae_likelihoods.metrics.data import Data
from vae_likelihoods.models.blocks import encoded
from vae_likelihoods.models.vae import VAE
from vae_likelihoods.units.declaration import Declaration
from vae_likelihoods.units.quantity import Quantity


@dataclass(frozen=True)
class Latents(Metric):
    """KL of every latent, active units (Burda et al. 2016, section 5.2), collapsed latents and an alarm.

    A latent is (epsilon, delta)-collapsed when KL(q(z_l | x) to p(z_l)) is below epsilon for a share of at
    least 1 - delta of the images (Lucas et al. 2019, arXiv:1911.02469). The posterior counts as collapsed
    when at least a share `alarm` of the latents is. If all are, the decoder learns nothing about the image.

    Args:
        threshold: a unit is active when the variance over images of its posterior mean is above this.
        batch_size: images encoded at once.
        more_thresholds: further thresholds, which show whether the count depends on the threshold.
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
    def declarations(self, levels: int) -> list[Declaration]:
        share, alarm = Quantity("share of latents"), Quantity("1 if collapsed, else 0")
        silent = (
            f"latents whose KL is below {self.epsilon_nats:g} nats for all but {self.delta:.0%} of the images"
        )
        return [
            *(self._active(name, threshold) for name, threshold in self._thresholds.items()),
            Declaration(
                "kl_per_latent_nats",
                "KL of each latent, mean over images",
                Quantity("nats per latent and image"),
            ),
            Declaration("collapsed_share", silent, share, "collapsed", ".3f"),
            Declaration(
                "posterior_collapse",
                f"alarm: at least {self.alarm:.0%} of the latents are collapsed",
                *(alarm, "collapse", "d", "lower"),
            ),
        ]

    def _active(self, name: str, threshold: float) -> Declaration:
        meaning = f"latents whose posterior mean has a variance above {threshold:g} over images"
        active = partial(Declaration, name, meaning, Quantity("latents"), format="d")
        if name == "active_units":
            return active(header="active", whole="latent_dim", short="active")
        return active(header=f"active at {threshold:g}")

    @property
    def _thresholds(self) -> dict[str, float]:
        more = {f"active_units_{power(threshold)}": threshold for threshold in self.more_thresholds}
        return {"active_units": self.threshold, **more}

    @override
    def __call__(self, model: VAE, data: Data, noise: torch.Generator) -> Values:
        means, rates = [], []
        for batch in in_batches(data.test.images, self.batch_size):
            posterior = encoded(model, batch)
            means.append(posterior.mean)
            rates.append(model.rate_per_latent(posterior))
        return self.summarise(numpy(means), numpy(rates))

    def summarise(self, means: Floats, rates: Floats) -> Values:
        """Return the numbers from posterior means [N, L] and rates [N, L] in nats."""
        variances, collapsed = means.var(0), self.collapsed_share(rates)
        active: dict[str, Value] = {
            name: int((variances > least).sum()) for name, least in self._thresholds.items()
        }
        if len(means) < 2:
            active = dict.fromkeys(active, Missing("a variance over images needs two images"))
        return {
            **active,
            "kl_per_latent_nats": rates.mean(0).tolist(),
            "collapsed_share": collapsed,
            "posterior_collapse": int(collapsed >= self.alarm),
        }

    def collapsed_share(self, rates: Floats) -> float:
        """Return the share of latents that are collapsed, from their rates [N, L] in nats."""
        silent = (rates < self.epsilon_nats).mean(0)  # [L]  share of images about which z_l tells nothing
        return float((silent >= 1 - self.delta).mean())


def power(threshold: float) -> str:
    """Return a threshold as part of a name, without a point, which some tools read as a path.

    Example:
        >>> power(0.001), power(0.25)
        ('1e-3', '2_5e-1')
    """
    mantissa, exponent = f"{threshold:e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}".replace(".", "_")
