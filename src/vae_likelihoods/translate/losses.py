"""Which likelihood is this loss? The sigma, the beta and the ELBO behind a squared error or a cross-entropy.

Let S be summed over pixels and KL over latents, and both averaged over images. Then the loss is a S + b KL. A
likelihood with log p(x | z) = -c S + missing has -ELBO_beta = c S - missing + beta KL, so

    a S + b KL = b / beta (-ELBO_beta + missing),  beta = c b / a.

Squared error is a Gaussian, c = 1 / (2 sigma^2): the sigma with beta = 1 is the one that the loss assumes.
Cross-entropy is a Bernoulli, c = 1, and on grey pixels k / n a binomial, c = n = K - 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from vae_likelihoods.errors import require, require_count
from vae_likelihoods.units.quantity import bits_per_dim

Reduction = Literal["sum", "mean"]

_EXTREME = 1e100  # products and ratios of smaller numbers are still floating-point numbers


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One likelihood that the loss can be read as: loss = loss_per_nat * (-ELBO_beta + missing_nats).

    `elbo_nats` is the ELBO at beta = 1 on the probabilities of the K levels, so it can be compared with other
    likelihoods. A density gives these probabilities approximately: log P(k) ~= log p(x) + log(bin width).
    """

    likelihood: str  # its YAML in conf/likelihood
    beta: float
    sigma: float | None = None  # in units of the pixel range, as likelihood.scale
    sigma_pixels: float | None = None  # in the units of the pixels
    sigma_levels: float | None = None  # in steps from one level to the next, 1 / (K - 1) of the range
    missing_nats: float = 0.0  # the part of log p(x | z) that the loss leaves out, per image
    missing_is_least: bool = False  # that part depends on the image or on z, and is at least missing_nats
    same_optimum: bool = True  # false: that part depends on z, so training with it ends elsewhere
    bin_nats: float | None = None  # -D log(bin width); None: the likelihood is not a density
    loss_per_nat: float
    equation: str  # of the ELBO, on the density if it is one
    overrides: str  # the settings that train this likelihood here
    elbo_nats: float | None = None  # of the logged values; at least this if missing_is_least
    bits_per_dim: float | None = None


@dataclass(frozen=True)
class Translation:
    """The readings of a loss: two for cross-entropy on grey pixels, otherwise one; and warnings."""

    readings: tuple[Reading, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class _Sums:
    """The loss as a S + b KL, and the images that it is for."""

    dimensions: int
    levels: int
    pixel_range: tuple[float, float]
    ratio: float  # b / a
    kl_weight: float  # b

    def overrides(self, likelihood: str, beta: float) -> str:
        return f"levels={self.levels} likelihood={likelihood} objective.beta={beta:.10g}"

    def scored(self, reading: Reading, summed: float, rate: float) -> Reading:
        """Return `reading` with the ELBO of this S and this KL."""
        distortion = reading.beta / self.ratio * summed - reading.missing_nats + (reading.bin_nats or 0.0)
        nats = distortion + rate
        return replace(reading, elbo_nats=-nats, bits_per_dim=bits_per_dim(nats, self.dimensions))


def translate(
    *,
    loss: Literal["mse", "bce"],
    reduction: Reduction,
    dimensions: int,
    kl_weight: float = 1.0,
    reconstruction_weight: float = 1.0,
    kl_reduction: Reduction = "sum",
    latent_dim: int | None = None,
    pixel_range: Sequence[float] = (0.0, 1.0),
    levels: int = 256,
    reconstruction: float | None = None,
    kl: float | None = None,
) -> Translation:
    """Return the likelihoods that reconstruction_weight * R + kl_weight * KL can be read as.

    Args:
        loss: what R is, squared error or binary cross-entropy; R and KL are averages over images.
        reduction: of R, over the D = `dimensions` pixels times channels.
        kl_reduction: of the KL, over `latent_dim` latents, which only the mean needs.
        pixel_range: the values of the darkest and of the brightest of K = `levels` levels.
        reconstruction: R as logged, not yet weighted; with `kl`, the same of the KL.

    Raises:
        SettingError: a value is impossible, or the loss belongs to no likelihood.
    """
    require(loss in _READERS, "loss", loss, "is not a loss that can be translated", _READERS)
    require_count("dimensions", dimensions)
    require(type(levels) is int and 2 <= levels <= 256, "levels", levels, "need 2 .. 256 levels")
    low, high = pixel_range
    usable = -_EXTREME < low < high < _EXTREME
    require(usable, "pixel_range", (low, high), "need two finite numbers, the lower one first")
    pixels = _averaged("reduction", reduction, "dimensions", dimensions)
    latents = _averaged("kl_reduction", kl_reduction, "latent_dim", latent_dim)
    ratio = _ratio(kl_weight, reconstruction_weight) * pixels / latents
    sums = _Sums(dimensions, levels, (low, high), ratio, kl_weight / latents)
    readings = tuple(_READERS[loss](sums))
    warnings = tuple(_warnings(sums, pixels / latents, readings))
    if reconstruction is not None or kl is not None:
        summed, rate = _logged("reconstruction", reconstruction), _logged("kl", kl)
        readings = tuple(sums.scored(reading, summed * pixels, rate * latents) for reading in readings)
    return Translation(readings, warnings)


def _averaged(key: str, reduction: Any, count_key: str, count: Any) -> int:
    """Return the number of terms that `reduction` averages; 1 for a sum."""
    require(reduction in get_args(Reduction), key, reduction, "no such reduction", get_args(Reduction))
    if reduction == "mean":
        require_count(count_key, count)
    return int(count) if reduction == "mean" else 1


def _ratio(kl_weight: float, reconstruction_weight: float) -> float:
    reason = "without the KL this is a plain autoencoder, sigma -> 0, and has no ELBO; need a weight above 0"
    require(kl_weight != 0, "kl_weight", kl_weight, reason)
    for key, weight in (("kl_weight", kl_weight), ("reconstruction_weight", reconstruction_weight)):
        require(1 / _EXTREME < weight < _EXTREME, key, weight, "need a finite weight above 0")
    return kl_weight / reconstruction_weight


def _logged(key: str, value: float | None) -> float:
    reason = "the ELBO of a log needs reconstruction and kl, both finite and at least 0"
    require(value is not None and 0 <= value < _EXTREME, key, value, reason)
    return float(value or 0)


def _squared_error(sums: _Sums) -> Iterator[Reading]:
    """Yield the Gaussian whose negative ELBO is the loss up to a constant."""
    d, width = sums.dimensions, sums.pixel_range[1] - sums.pixel_range[0]
    pixels = math.sqrt(sums.ratio / 2)
    sigma = pixels / width
    yield Reading(
        likelihood="gaussian",
        beta=1.0,
        sigma=sigma,
        sigma_pixels=pixels,
        sigma_levels=sigma * (sums.levels - 1),
        missing_nats=-d * (math.log(pixels) + math.log(2 * math.pi) / 2),
        bin_nats=d * math.log(sums.levels / width),
        loss_per_nat=sums.kl_weight,
        equation=f"-SSE / (2 * {pixels:.5g}^2) - {d} * (log {pixels:.5g} + log(2 pi) / 2) - KL",
        overrides=sums.overrides(f"gaussian likelihood.scale={sigma:.5g} likelihood.trained_on=density", 1),
    )


def _cross_entropy(sums: _Sums) -> Iterator[Reading]:
    """Yield the binomial (the Bernoulli for K = 2), and on grey pixels also the continuous Bernoulli."""
    reason = "cross-entropy is a likelihood for pixels from 0 to 1 only; rescale them, or take loss=mse"
    require(sums.pixel_range == (0, 1), "pixel_range", sums.pixel_range, reason)
    n, grey = sums.levels - 1, sums.levels > 2
    name, beta = "binomial" if grey else "bernoulli", n * sums.ratio
    yield Reading(
        likelihood=name,
        beta=beta,
        missing_is_least=grey,
        loss_per_nat=sums.kl_weight / beta,
        equation=f"-{n} BCE + sum_d log C({n}, k_d) - KL; k_d: the levels" if grey else "-BCE - KL",
        overrides=sums.overrides(name, beta),
    )
    if grey:
        yield _continuous_bernoulli(sums)


def _continuous_bernoulli(sums: _Sums) -> Reading:
    """Return the density without its normaliser (Loaiza-Ganem and Cunningham 2019, arXiv:1907.06845)."""
    return Reading(
        likelihood="continuous_bernoulli",
        beta=sums.ratio,
        missing_nats=sums.dimensions * math.log(2),  # where every lambda is 1/2
        missing_is_least=True,
        same_optimum=False,
        bin_nats=sums.dimensions * math.log(sums.levels),
        loss_per_nat=sums.kl_weight / sums.ratio,
        equation="-BCE + sum_d log(2 artanh(1 - 2 lambda_d) / (1 - 2 lambda_d)) - KL; lambda is not the mean",
        overrides=sums.overrides("continuous_bernoulli likelihood.trained_on=density", sums.ratio),
    )


_READERS: dict[str, Callable[[_Sums], Iterator[Reading]]] = {"mse": _squared_error, "bce": _cross_entropy}


def _warnings(sums: _Sums, averages: float, readings: Sequence[Reading]) -> Iterator[str]:
    sigma = readings[0].sigma
    if averages != 1:
        yield f"averaging makes beta {averages:.10g} times as large as it is for sums with these weights"
    if len(readings) > 1:
        yield "cross-entropy on grey pixels is not a log-likelihood; above are the two ways to repair it"
    if sigma is not None and sigma > 0.5:  # the mean image, which needs no KL, bounds the optimum
        nats = sums.dimensions / (8 * sigma**2)
        yield f"sigma is larger than any pixel varies: the optimum uses few latents, KL <= {nats:.5g} nats"
    if sigma is not None and sigma < 2 / sums.levels:
        yield "sigma is below two bins: density times bin width is not the probability of a level"
