"""Importance weights with the wrong sign, on a model whose log p(x) is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vae_likelihoods.gallery.importance import (
    bound_from_losses,
    linear_gaussian,
    weights_from_log_weights,
    weights_from_losses,
)
from vae_likelihoods.gallery.record import GalleryRow


def test_the_evidence_of_the_toy_is_what_its_weights_average_to() -> None:
    log_weights, log_p = linear_gaussian(0)
    # E_q[w] = p(x); the mean of w / p(x) over 1000 x and 100 draws each has a standard error near 0.001.
    assert (log_weights - log_p).exp().mean().item() == pytest.approx(1, abs=0.01)


def test_the_wrong_bound_is_a_harmonic_mean_by_hand() -> None:
    log_weights = torch.tensor([[0.0], [np.log(4.0)]], dtype=torch.float64)
    assert bound_from_losses(-log_weights).item() == pytest.approx(np.log(2 / (1 / 1 + 1 / 4)))
    assert weights_from_losses(-log_weights).squeeze().tolist() == pytest.approx([0.8, 0.2])
    assert weights_from_log_weights(log_weights).squeeze().tolist() == pytest.approx([0.2, 0.8])


def test_the_right_bound_rises_to_log_p_and_the_wrong_one_falls(rows: dict[str, GalleryRow]) -> None:
    single, ten, hundred, _ = rows["weights_from_loss"].findings
    assert single.right == single.wrong < 0
    assert single.right < ten.right < hundred.right < 0.01
    assert single.wrong > ten.wrong > hundred.wrong


def test_the_worst_draw_weighs_least_or_most(rows: dict[str, GalleryRow]) -> None:
    *_, worst = rows["weights_from_loss"].findings
    assert worst.right < 1 / 100 < worst.wrong
