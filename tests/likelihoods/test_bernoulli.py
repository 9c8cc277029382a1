"""Bernoulli is binary cross-entropy, summed, on binary pixels and on nothing else."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from vae_likelihoods.errors import SettingError
from vae_likelihoods.likelihoods.base import UnsupportedLevels
from vae_likelihoods.likelihoods.bernoulli import Bernoulli
from vae_likelihoods.seeding import generator


def test_it_is_minus_cross_entropy_summed_in_value_and_gradient():
    eta = (4 * torch.randn(3, 1, 8, 8, generator=generator(0))).requires_grad_()
    k = torch.randint(0, 2, (3, 1, 8, 8), generator=generator(1), dtype=torch.uint8)
    ours = Bernoulli(levels=2, channels=1).log_prob(eta, k)
    theirs = -F.binary_cross_entropy_with_logits(eta, k.float(), reduction="none").sum((1, 2, 3))
    torch.testing.assert_close(ours, theirs)
    gradients = [torch.autograd.grad(value.sum(), eta)[0] for value in (ours, theirs)]
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("levels", [3, 17, 256])
def test_grey_levels_are_refused_naming_what_would_do(levels: int):
    with pytest.raises(UnsupportedLevels, match=f"levels={levels}.*binomial.*Choices: 2") as caught:
        Bernoulli(levels=levels, channels=1)
    assert isinstance(caught.value, SettingError)
    assert (caught.value.key, caught.value.value) == ("levels", levels)
