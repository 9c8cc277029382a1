"""Two errors in the derivation of the Gaussian log-likelihood."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.optimize import minimize_scalar

from vae_likelihoods.gallery.images import Images
from vae_likelihoods.gallery.record import Cost, GalleryRow, difference, factor

Floats = NDArray[np.float64]
LogForm = Callable[[Floats, float], Floats]

_LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)


def log_density(residual: Floats, sigma: float) -> Floats:
    """Return log N(x; mu, sigma^2) of residuals x - mu."""
    return -(residual**2) / (2 * sigma**2) - math.log(sigma) - _LOG_SQRT_2PI


# Seen in course material: the derivation of squared error from a Gaussian.
def log_density_without_half(residual: Floats, sigma: float) -> Floats:
    """Return the same without the 1/2 in the exponent."""
    return -(residual**2) / sigma**2 - math.log(sigma) - _LOG_SQRT_2PI


def log_constant(dimensions: int) -> float:
    """Return log c^D = D log c of the Gaussian's constant c = 1 / sqrt(2 pi)."""
    return -dimensions * _LOG_SQRT_2PI


# Seen in the same course material, one line later.
def log_constant_with_power_outside(dimensions: int) -> float:
    """Return (log c)^D, the power of the logarithm."""
    return float((-_LOG_SQRT_2PI) ** dimensions)


def integral(log_form: LogForm) -> float:
    """Return the integral of exp(log_form) over the line, for sigma = 1."""
    value: float = quad(lambda x: math.exp(log_form(np.asarray(x), 1.0)), -math.inf, math.inf)[0]
    return value


def fitted_variance(log_form: LogForm, residuals: Floats) -> float:
    """Return the sigma^2 at which the mean of log_form over residuals is largest."""

    def loss(log_sigma: float) -> float:
        return -float(log_form(residuals, math.exp(log_sigma)).mean())

    best = minimize_scalar(loss, bounds=(-10.0, 5.0), method="bounded", options={"xatol": 1e-9})
    return math.exp(2 * float(best.x))


def missing_half(images: Images, seed: int) -> GalleryRow:
    """Return the damage of the Gaussian exponent without its 1/2."""
    residuals = (images.points(images.train) - images.pixel_means()).numpy()
    right, wrong = (integral(form) for form in (log_density, log_density_without_half))
    lost = images.dimensions * math.log(right / wrong)
    right_fit, wrong_fit = (
        fitted_variance(form, residuals) for form in (log_density, log_density_without_half)
    )
    return GalleryRow(
        written="`exp(-(x - mu)² / sigma²) / (sigma sqrt(2 pi))`",
        right="`exp(-(x - mu)² / (2 sigma²)) / (sigma sqrt(2 pi))`",
        findings=(
            Cost("integral over a pixel", right, wrong, lost, "nats an image"),
            factor("sigma² fitted to the train images less their pixel means", right_fit, wrong_fit),
        ),
    )


def power_outside_log(images: Images, seed: int) -> GalleryRow:
    """Return the damage of (log c)^D in place of D log c."""
    return GalleryRow(
        written="`log(c)^D`, c = 1 / sqrt(2 pi)",
        right="`log(c^D) = D log(c)`",
        findings=(
            difference(
                "constant of an image, nats",
                log_constant(images.dimensions),
                log_constant_with_power_outside(images.dimensions),
                "nats an image",
            ),
        ),
    )
