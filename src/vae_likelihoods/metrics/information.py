"""How much z says about the image, and how far the aggregate posterior is from the prior."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence
from typing_extensions import override

from vae_likelihoods.errors import require_count
from vae_likelihoods.metrics.base import Better, Floats, Measured, Metric, Number, in_batches, numpy
from vae_likelihoods.metrics.data import Data
from vae_likelihoods.models.vae import VAE, standard_normal
from vae_likelihoods.units import NATS, Quantity

ENCODED, HELD = 1024, 1 << 22  # images, and log-densities, at once


class PerImage(NamedTuple):
    """What the draws of each image say on average, in nats, [N] each."""

    information: Tensor  # E_q(z|x)[log q(z | x) - log q(z)]
    left_out: Tensor  # the same, q(z) made of the other images alone
    marginal: Tensor  # E_q(z|x)[log q(z) - log p(z)]
    rate: Tensor  # KL(q(z | x) to p(z)), in closed form


@dataclass(frozen=True)
class Information(Metric):
    """The rate in two parts, I_q(x; z) + KL(q(z) to p(z)), where q(z) is the mean over images of q(z | x).

    These are the parts of Hoffman & Johnson (2016, "ELBO surgery"). Of N images I is at most log N, whatever
    the model. So it says two things: exactly, how much z tells which of these images it came from; and of
    the distribution that they are from, a lower bound on I. Upper bounds are the same with the image itself
    left out of q(z) (Poole et al. 2019, arXiv:1905.06922, both), and the rate less a lower bound on
    KL(q(z) to p(z)), see `gaussian_part`; the smaller one is given. All is computed in float64.

    Args:
        samples: z drawn for each image.
        exact_up_to: so many images are all in the mixture q(z). Of more, each meets a random `batch_size` of
            the others (minibatch-stratified, Chen et al. 2018, arXiv:1802.04942, appendix C). Then q(z) is
            right on average, but I, since the logarithm is concave, too high.
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
    def __call__(self, model: VAE, data: Data, noise: torch.Generator) -> Measured:
        train, test = (posterior_of(model, split.images) for split in (data.train, data.test))
        nats = {name: numpy([part]) for name, part in self.per_image(test, noise)._asdict().items()}
        return Measured(summarise(nats, gaussian_part(train, test), self.samples))

    def per_image(self, posterior: Normal, noise: torch.Generator) -> PerImage:
        """Measure every image of the posteriors [N, L]."""
        images, found = len(posterior.mean), []
        held = images if images <= self.exact_up_to else self.batch_size
        prior = Normal(torch.zeros_like(posterior.mean[:1]), 1.0)
        for rows in torch.arange(images, device=noise.device).split(max(1, HELD // (self.samples * held))):
            block = Normal(posterior.mean[rows], posterior.stddev[rows])
            z = block.mean + block.stddev * standard_normal((self.samples, *block.mean.shape), noise)
            own, of_prior = block.log_prob(z).sum(-1), prior.log_prob(z).sum(-1)  # [S, B]
            every, others = log_aggregate(z, own, rows, posterior, self.members(images, noise))
            found.append(
                PerImage(
                    information=(own - every).mean(0),
                    left_out=(own - others).mean(0),
                    marginal=(every - of_prior).mean(0),
                    rate=kl_divergence(block, prior).sum(-1),
                )
            )
        return PerImage(*(torch.cat(parts) for parts in zip(*found, strict=True)))

    def members(self, images: int, noise: torch.Generator) -> Tensor:
        """Return which images are in the mixture, [M]: all, or a random draw without repetition."""
        if images <= self.exact_up_to:
            return torch.arange(images, device=noise.device)
        return torch.randperm(images, generator=noise, device=noise.device)[: self.batch_size]


def posterior_of(model: VAE, levels: Tensor) -> Normal:
    """Return q(z | x) of all levels [N, C, H, W], with mean and scale [N, L] in float64."""
    parts = [model.posterior(batch) for batch in in_batches(levels, ENCODED)]
    mean, scale = torch.cat([part.mean for part in parts]), torch.cat([part.stddev for part in parts])
    return Normal(mean.double(), scale.double(), validate_args=False)


def log_aggregate(
    z: Tensor, own: Tensor, rows: Tensor, posterior: Normal, members: Tensor
) -> tuple[Tensor, Tensor]:
    """Return log q(z), and log q(z) made of the other images alone, [S, B] each.

    With M of the N - 1 others, q(z) is 1/N q(z | own x) + (N - 1)/(N M) sum_m q(z | x_m). That is the
    estimate of Chen et al. (2018), averaged over which of the members has the odd weight there.

    Args:
        z: drawn from the posteriors of the images `rows`, [S, B, L].
        own: log q(z | x) of the image that z was drawn for, [S, B].
        rows: which images these are, [B].
        posterior: of all N images, [N, L].
        members: which images are in the mixture, [M]; those of `rows` may be among them.
    """
    images = len(posterior.mean)
    logs = log_density(z, posterior.mean[members], posterior.stddev[members])  # [S, B, M]
    itself = rows[:, None] == members  # [B, M]
    others = logs.masked_fill(itself, -math.inf).logsumexp(-1) - (~itself).sum(-1).double().log()
    return torch.logaddexp(own, others + math.log(images - 1)) - math.log(images), others


def log_density(z: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """Return log N(z; mean_m, diag(scale_m^2)), [..., M], of z [..., L] for means and scales [M, L].

    By two matrix products, without the differences z - mean_m of all pairs.
    """
    precision = scale.pow(-2)
    square = z.square() @ precision.T - 2 * z @ (mean * precision).T + (mean.square() * precision).sum(-1)
    return -0.5 * square - scale.log().sum(-1) - mean.shape[-1] / 2 * math.log(2 * math.pi)


def gaussian_part(train: Normal, test: Normal) -> float:
    """Return what mean and covariance of q(z) alone make of KL(q(z) to p(z)), in nats; at least 0.

    E_q(z)[log r(z) - log p(z)] with r the Gaussian of the moments of the train split's q(z), in closed form
    over the test split's: for any r a lower bound on KL(q(z) to p(z)), as their difference is KL(q(z) to r).
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


def summarise(nats: dict[str, Floats], gaussian: float, samples: int) -> dict[str, Number]:
    """Return means over images, with standard errors, of the fields of `PerImage`, by name [N]."""
    drawn, images = Quantity(NATS, importance_samples=samples), len(nats["rate"])
    residual = nats["information"] + nats["marginal"] - nats["rate"]
    found: dict[str, tuple[Floats, Better | None]] = {
        "mutual_information": (nats["information"], None),
        "marginal_kl": (nats["marginal"], "lower"),
        "information_residual": (residual, None),
    }
    numbers = {}
    for name, (array, better) in found.items():
        numbers[f"{name}_nats"] = Number(float(array.mean()), drawn, better=better)
        numbers[f"{name}_se_nats"] = Number(float(array.std(ddof=1) / math.sqrt(images)), drawn)
    upper = min(float(nats["left_out"].mean()), float(nats["rate"].mean()) - gaussian)
    return numbers | {
        "mutual_information_upper_nats": Number(upper, drawn),
        "mutual_information_limit_nats": Number(math.log(images), Quantity(NATS)),
        "marginal_kl_gaussian_nats": Number(gaussian, Quantity(NATS), better="lower"),
    }
