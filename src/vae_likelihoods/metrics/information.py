"""How much z tells about the image, and how far the aggregate posterior is from the prior."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence
from typing_extensions import override

from vae_likelihoods.errors import require_count
from vae_likelihoods.metrics.base import Floats, Metric, Missing, Values, in_batches, numpy
from vae_likelihoods.metrics.data import Data
from vae_likelihoods.metrics.uncertainty import standard_error
from vae_likelihoods.models.blocks import encoded
from vae_likelihoods.models.vae import VAE, standard_normal
from vae_likelihoods.precision import precise
from vae_likelihoods.units.declaration import Declaration
from vae_likelihoods.units.quantity import NATS, Quantity

ENCODED, HELD = 1024, 1 << 22  # images, and log-densities, at once
_INFORMATION = "what z tells about which of the test images it came from; at least this for all images"
_UPPER = "upper bound on what z tells about an image, for all images of this kind"
_MARGINAL = "KL(q(z) to p(z)): how far the aggregate posterior is from the prior"
_GAUSSIAN = "the part of KL(q(z) to p(z)) that mean and covariance of q(z) account for"
_RESIDUAL = "information + marginal KL - rate; 0 within its standard error"


class PerImage(NamedTuple):
    """Means over the draws of each image, in nats, [N] each."""

    information: Tensor  # E_q(z|x)[log q(z | x) - log q(z)]
    left_out: Tensor  # the same, with q(z) of the other images alone
    marginal: Tensor  # E_q(z|x)[log q(z) - log p(z)]
    rate: Tensor  # KL(q(z | x) to p(z)), in closed form


@dataclass(frozen=True)
class Information(Metric):
    """The rate in two parts, I_q(x; z) + KL(q(z) to p(z)), where q(z) is the mean over images of q(z | x).

    These are the parts of Hoffman & Johnson (2016, "ELBO surgery"). For N images, I is at most log N,
    whatever the model. It is exact for these images: how well z tells which of them it came from. For the
    distribution of the images it is a lower bound on I. Two upper bounds are known: the same with the image
    itself left out of q(z) (both: Poole et al. 2019, arXiv:1905.06922), and the rate minus a lower bound on
    KL(q(z) to p(z)), see `gaussian_part`. The smaller one is given. All is computed in float64.

    Args:
        samples: z drawn for each image.
        exact_up_to: up to this number of images, all are in the mixture q(z). With more, each image meets a
            random `batch_size` of the others (minibatch-stratified, Chen et al. 2018, arXiv:1802.04942,
            appendix C). Then q(z) is right on average, but I is too high, since the logarithm is concave.
        batch_size: M of the stratified estimate.
    """

    samples: int
    exact_up_to: int
    batch_size: int

    def __post_init__(self) -> None:
        require_count("samples", self.samples)
        require_count("exact_up_to", self.exact_up_to, least=2)
        require_count("batch_size", self.batch_size, least=2)

    @override
    def declarations(self, levels: int) -> list[Declaration]:
        drawn, exact = Quantity(NATS, importance_samples=self.samples), Quantity(NATS)
        nats = partial(Declaration, format=",.2f")
        information = nats("mutual_information_nats", _INFORMATION, drawn, "information")
        marginal = nats("marginal_kl_nats", _MARGINAL, drawn, "marginal KL", better="lower")
        residual = nats("information_residual_nats", _RESIDUAL, drawn, "residual")
        return [
            information,
            information.standard_error("mutual_information_se_nats"),
            nats("mutual_information_upper_nats", _UPPER, drawn, "information, at most"),
            nats("mutual_information_limit_nats", "log N of the N test images", exact, "log N"),
            marginal,
            marginal.standard_error("marginal_kl_se_nats"),
            nats("marginal_kl_gaussian_nats", _GAUSSIAN, exact, "marginal KL, at least", better="lower"),
            residual,
            residual.standard_error("information_residual_se_nats"),
        ]

    @override
    def __call__(self, model: VAE, data: Data, noise: torch.Generator) -> Values:
        if len(data.test.images) < 2:
            return self.without(data, Missing("one image cannot be told from others"))
        train, test = (posterior_of(model, split.images) for split in (data.train, data.test))
        parts = self.per_image(test, noise, model.dtype)._asdict()
        nats = {name: numpy([part]) for name, part in parts.items()}
        return summarise(nats, gaussian_part(train, test))

    def per_image(
        self, posterior: Normal, noise: torch.Generator, dtype: torch.dtype = torch.float32
    ) -> PerImage:
        """Measure every image of the posteriors [N, L]; the noise is drawn in `dtype`."""
        images, blocks = len(posterior.mean), []
        held = images if images <= self.exact_up_to else self.batch_size
        prior = Normal(torch.zeros_like(posterior.mean[:1]), 1.0)
        for rows in torch.arange(images, device=posterior.mean.device).split(
            max(1, HELD // (self.samples * held))
        ):
            block = Normal(posterior.mean[rows], posterior.stddev[rows])
            draws = precise(standard_normal((self.samples, *block.mean.shape), noise, dtype))
            z = block.mean + block.stddev * draws
            own, of_prior = block.log_prob(z).sum(-1), prior.log_prob(z).sum(-1)  # [S, B]
            members = self.members(images, noise).to(rows.device)
            every, others = log_aggregate(z, own, rows, posterior, members)
            blocks.append(
                PerImage(
                    information=(own - every).mean(0),
                    left_out=(own - others).mean(0),
                    marginal=(every - of_prior).mean(0),
                    rate=kl_divergence(block, prior).sum(-1),
                )
            )
        return PerImage(*(torch.cat(parts) for parts in zip(*blocks, strict=True)))

    def members(self, images: int, noise: torch.Generator) -> Tensor:
        """Return which images are in the mixture, [M]: all, or some drawn without repetition."""
        if images <= self.exact_up_to:
            return torch.arange(images, device=noise.device)
        return torch.randperm(images, generator=noise, device=noise.device)[: self.batch_size]


def posterior_of(model: VAE, levels: Tensor) -> Normal:
    """Return q(z | x) of all levels [N, C, H, W], with mean and scale [N, L] in float64."""
    parts = [encoded(model, batch) for batch in in_batches(levels, ENCODED)]
    mean, scale = torch.cat([part.mean for part in parts]), torch.cat([part.stddev for part in parts])
    return Normal(precise(mean), precise(scale), validate_args=False)


def log_aggregate(
    z: Tensor, own: Tensor, rows: Tensor, posterior: Normal, members: Tensor
) -> tuple[Tensor, Tensor]:
    """Return log q(z), and log q(z) of the other images alone, [S, B] each.

    With M of the N - 1 others, q(z) is 1/N q(z | own x) + (N - 1)/(N M) sum_m q(z | x_m). That is the
    estimate of Chen et al. (2018), averaged over the choice of the member that has another weight there.

    Args:
        z: drawn from the posteriors of the images `rows`, [S, B, L].
        own: log q(z | x) of the image that z was drawn for, [S, B].
        rows: the places of these images, [B].
        posterior: of all N images, [N, L].
        members: the places of the images in the mixture, [M]; those of `rows` may be among them.
    """
    images = len(posterior.mean)
    logs = log_density(z, posterior.mean[members], posterior.stddev[members])  # [S, B, M]
    itself = rows[:, None] == members  # [B, M]
    others = logs.masked_fill(itself, -math.inf).logsumexp(-1) - (~itself).sum(-1).double().log()
    return torch.logaddexp(own, others + math.log(images - 1)) - math.log(images), others


def log_density(z: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """Return log N(z; mean_m, diag(scale_m^2)), [..., M], of z [..., L] for means and scales [M, L].

    By two matrix products, so without the differences z - mean_m of all pairs.
    """
    precision = scale.pow(-2)
    square = z.square() @ precision.T - 2 * z @ (mean * precision).T + (mean.square() * precision).sum(-1)
    return -0.5 * square - scale.log().sum(-1) - mean.shape[-1] / 2 * math.log(2 * math.pi)


def gaussian_part(train: Normal, test: Normal) -> float:
    """Return the part of KL(q(z) to p(z)) that mean and covariance of q(z) account for, in nats; at least 0.

    E_q(z)[log r(z) - log p(z)], where r is the Gaussian with the moments of the train split's q(z), in closed
    form over the test split's q(z). For any r it is a lower bound on KL(q(z) to p(z)): they differ by
    KL(q(z) to r).
    """
    (mean, covariance), (at, spread) = moments(train), moments(test)
    second = spread + torch.outer(at - mean, at - mean)  # E (z - mean)(z - mean)^T
    log_r = -0.5 * (torch.logdet(covariance) + torch.linalg.solve(covariance, second).trace())
    log_p = -0.5 * (spread.trace() + at.square().sum())
    return max(0.0, float(log_r - log_p))


def moments(posterior: Normal) -> tuple[Tensor, Tensor]:
    """Return mean [L] and covariance [L, L] of the mixture of posteriors [N, L]."""
    mean = posterior.mean.mean(0)
    centred = posterior.mean - mean
    return mean, centred.T @ centred / len(centred) + posterior.variance.mean(0).diag()


def summarise(nats: Mapping[str, Floats], gaussian: float) -> Values:
    """Return means over images, with standard errors, of the fields of `PerImage`, by name [N]."""
    rate, information, marginal = nats["rate"], nats["information"], nats["marginal"]
    residual = information + marginal - rate
    upper = min(float(nats["left_out"].mean()), float(rate.mean()) - gaussian)
    return {
        "mutual_information_nats": float(information.mean()),
        "mutual_information_se_nats": standard_error(information),
        "mutual_information_upper_nats": upper,
        "mutual_information_limit_nats": math.log(len(rate)),
        "marginal_kl_nats": float(marginal.mean()),
        "marginal_kl_se_nats": standard_error(marginal),
        "marginal_kl_gaussian_nats": gaussian,
        "information_residual_nats": float(residual.mean()),
        "information_residual_se_nats": standard_error(residual),
    }
