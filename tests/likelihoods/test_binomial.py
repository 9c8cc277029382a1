"""Binomial is cross-entropy on grey pixels with its weight K - 1 and its constant."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import special, stats
from torch.nn import functional as F

from vae_likelihoods.likelihoods.bernoulli import Bernoulli
from vae_likelihoods.likelihoods.binomial import Binomial
from vae_likelihoods.seeding import generator


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_it_is_cross_entropy_times_n_less_the_log_of_the_choices(levels: int):
    n = levels - 1
    eta = (2 * torch.randn(50, 1, 4, 4, generator=generator(0))).requires_grad_()
    k = torch.randint(0, levels, (50, 1, 4, 4), generator=generator(1), dtype=torch.uint8)
    ours = Binomial(levels=levels, channels=1).log_prob(eta, k)
    bce = F.binary_cross_entropy_with_logits(eta.double(), k.double() / n, reduction="none").sum((1, 2, 3))
    choices = np.log(special.binom(n, k.numpy().astype(float))).sum((1, 2, 3))
    torch.testing.assert_close(ours.double(), -n * bce + torch.tensor(choices), rtol=1e-6, atol=1e-5)
    gradients = [torch.autograd.grad(value.sum(), eta)[0] for value in (ours, -n * bce)]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("eta", [-20.0, -6.0, -1.3, 0.0, 0.02, 4.0, 15.0])
@pytest.mark.parametrize("levels", [2, 17, 256])
def test_it_is_scipys_binomial(eta: float, levels: int):
    k = np.arange(levels)
    ours = Binomial(levels=levels, channels=1).log_mass(
        torch.full((levels, 1, 1, 1), eta), torch.tensor(k).view(-1, 1, 1, 1)
    )
    p = special.expit(np.float64(np.float32(eta)))
    np.testing.assert_allclose(ours.numpy(), stats.binom.logpmf(k, levels - 1, p), rtol=3e-6, atol=5e-6)


def test_far_outputs_have_their_limit():
    """log P(n) = -n softplus(-eta), also where the probability itself underflows."""
    ours = Binomial(levels=256, channels=1).log_mass(
        torch.tensor([-1e4, 1e4]).view(2, 1, 1, 1), torch.full((2, 1, 1, 1), 255)
    )
    torch.testing.assert_close(ours, torch.tensor([-2.55e6, 0.0]), rtol=1e-6, atol=1e-6)


def test_two_levels_are_the_bernoulli():
    eta = 5 * torch.randn(100, 1, 1, 1, generator=generator(0))
    k = torch.randint(0, 2, (100, 1, 1, 1), generator=generator(1), dtype=torch.uint8)
    bernoulli = Bernoulli(levels=2, channels=1).log_mass(eta, k)
    torch.testing.assert_close(
        Binomial(levels=2, channels=1).log_mass(eta, k), bernoulli, rtol=1e-5, atol=1e-6
    )
