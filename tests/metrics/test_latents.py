"""Active and collapsed latents of planted posteriors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vae_likelihoods.errors import SettingError
from vae_likelihoods.metrics.base import Measured
from vae_likelihoods.metrics.latents import Latents, power

GOOD = {"threshold": 0.01, "batch_size": 8}


def test_active_units_of_planted_means() -> None:
    """Variances 0, 0.0099, 0.0101 and 1 over images: the unit is active above 0.01."""
    wave = np.array([-1.0, 1.0, -1.0, 1.0])[:, None]
    means = 5 + wave * np.sqrt([0.0, 0.0099, 0.0101, 1.0])
    rates = np.array([[0.0, 1.0, 2.0, 3.0], [0.0, 3.0, 2.0, 5.0]])
    metric = Latents(**GOOD, more_thresholds=[0.001, 0.5, 2.0])
    assert Measured.of(metric.summarise(means, rates)).values == {
        "active_units": 2,
        "active_units_1e-3": 3,
        "active_units_5e-1": 1,
        "active_units_2e0": 0,
        "kl_per_latent_nats": [0.0, 2.0, 2.0, 4.0],
        "collapsed_share": 0.25,
        "posterior_collapse": 0,
    }


@pytest.mark.parametrize(("loud", "share"), [(0, 1.0), (1, 1.0), (2, 0.5)])
def test_a_latent_is_collapsed_where_it_is_silent_for_all_but_a_share_of_the_images(
    loud: int, share: float
) -> None:
    """Of 100 images the second latent speaks for `loud`: up to delta = 0.01 of them it is collapsed still."""
    rates = np.full((100, 2), 0.0099)
    rates[:loud, 1] = 5.0
    assert Latents(**GOOD, epsilon_nats=0.01, delta=0.01).collapsed_share(rates) == share


@pytest.mark.parametrize(("alarm", "sounds"), [(0.5, 1), (0.51, 0), (1.0, 0)])
def test_the_alarm_sounds_from_its_share_of_latents_on(alarm: float, sounds: int) -> None:
    rates = np.array([[0.0, 0.0, 1.0, 2.0]])
    result = Measured.of(Latents(**GOOD, alarm=alarm).summarise(np.zeros((1, 4)), rates)).values
    assert (result["collapsed_share"], result["posterior_collapse"]) == (0.5, sounds)


@pytest.mark.parametrize(("threshold", "name"), [(0.001, "1e-3"), (0.1, "1e-1"), (25.0, "2_5e1"), (1, "1e0")])
def test_a_threshold_as_part_of_a_name(threshold: float, name: str) -> None:
    assert power(threshold) == name


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("threshold", -1.0),
        ("batch_size", 0),
        ("more_thresholds", [0.1, 0.0]),
        ("epsilon_nats", 0.0),
        ("delta", 1.0),
        ("delta", -0.1),
        ("alarm", 0.0),
        ("alarm", 1.1),
    ],
)
def test_settings_that_cannot_be(key: str, value: Any) -> None:
    with pytest.raises(SettingError) as caught:
        Latents(**{**GOOD, key: value})
    assert caught.value.key == f"{key}"
