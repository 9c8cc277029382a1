"""The two slips in the Gaussian, against scipy and what is known of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from vae_likelihoods.gallery.gaussian import fitted_variance, log_density, log_density_without_half
from vae_likelihoods.gallery.images import Images
from vae_likelihoods.gallery.record import GalleryRow

RESIDUALS = np.linspace(-2, 3, 11)


def test_the_right_form_is_scipys_normal() -> None:
    expected = stats.norm.logpdf(RESIDUALS, scale=0.7)
    assert log_density(RESIDUALS, 0.7) == pytest.approx(expected, rel=1e-12)


def test_the_wrong_form_is_a_narrower_normal_times_a_root_of_one_half() -> None:
    # exp(-r^2 / sigma^2) is a normal's with variance sigma^2 / 2, whose constant is sqrt(2) times larger.
    expected = stats.norm.logpdf(RESIDUALS, scale=0.7 / math.sqrt(2)) - math.log(2) / 2
    assert log_density_without_half(RESIDUALS, 0.7) == pytest.approx(expected, rel=1e-12)


def test_an_image_of_784_pixels_loses_271_nats(rows: dict[str, GalleryRow]) -> None:
    integral, _ = rows["missing_half"].findings
    assert integral.right == pytest.approx(1, abs=1e-9)
    assert integral.wrong == pytest.approx(math.sqrt(0.5), abs=1e-9)
    assert integral.damage == pytest.approx(271.71, abs=0.005)


def test_the_fitted_variance_of_real_residuals_is_twice_their_mean_square(
    images: Images, rows: dict[str, GalleryRow]
) -> None:
    pixels = images.train.numpy().reshape(len(images.train), -1) / 255
    _, fitted = rows["missing_half"].findings
    assert fitted.right == pytest.approx(pixels.var(0).mean(), rel=1e-5)
    assert fitted.damage == pytest.approx(2, rel=1e-5)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0])
def test_the_fit_finds_any_scale(scale: float) -> None:
    assert fitted_variance(log_density, scale * RESIDUALS) == pytest.approx(
        np.square(scale * RESIDUALS).mean(), rel=1e-5
    )


def test_the_power_outside_the_logarithm_makes_720_nats_vanish(rows: dict[str, GalleryRow]) -> None:
    (constant,) = rows["power_outside_log"].findings
    assert constant.right == pytest.approx(-720.45, abs=0.005)
    assert constant.right == pytest.approx(784 * stats.norm.logpdf(0), rel=1e-12)
    assert constant.wrong == pytest.approx(1.65e-29, rel=5e-3)
    assert constant.wrong == pytest.approx(stats.norm.logpdf(0) ** 784, rel=1e-9)
