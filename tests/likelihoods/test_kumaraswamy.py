"""Kumaraswamy: the form that keeps its digits in float32 against the difference of cdfs in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from vae_likelihoods.likelihoods.kumaraswamy import Kumaraswamy, plain_log_mass

OUTPUTS = (-9.0, -4.0, -1.5, -0.3, 0.0, 0.2, 1.0, 2.5, 5.0, 8.0)  # log a and log b, bounded by log 1e4


def cases(levels: int) -> tuple[Tensor, Tensor]:
    """Every pair of outputs with every level, [N, 2, 1, 1, 1] and [N, 1, 1, 1]."""
    numbers = torch.tensor(OUTPUTS)
    rows = torch.cartesian_prod(numbers, numbers, torch.arange(levels, dtype=torch.float32))
    return rows[:, :2].reshape(-1, 2, 1, 1, 1), rows[:, 2].long().view(-1, 1, 1, 1)


def sound(levels: int, log_a: Tensor, log_b: Tensor, k: Tensor, log_mass: Tensor) -> Tensor:
    """Where the difference of the cdfs has digits left in float64: it is no tiny part of either."""
    log_before = log_b.exp() * torch.log1p(-((k / levels) ** log_a.exp()))
    one_less_power = 1 - ((k + 1).clamp_max(levels - 1) / levels) ** log_a.exp()
    return (log_mass - log_before > -18) & (log_mass > -600) & (one_less_power > 1e-8)


@pytest.mark.parametrize("levels", [2, 3, 17, 256])
def test_value_and_gradient_are_those_of_the_difference_of_cdfs(levels: int):
    likelihood = Kumaraswamy(levels, 1)
    outputs, k = cases(levels)
    outputs.requires_grad_()
    # Rounded to float32, as the likelihood has them.
    log_a, log_b = (part.double() for part in likelihood._log_shape(outputs))
    log_mass, expected = likelihood._log_mass(outputs, k), plain_log_mass(levels, log_a, log_b, k)
    digits = sound(levels, log_a, log_b, k, expected).detach()
    assert digits.float().mean() > 0.4
    torch.testing.assert_close(log_mass[digits].double(), expected[digits], rtol=3e-6, atol=5e-6)
    gradients = [
        torch.autograd.grad(value[digits].sum(), outputs, retain_graph=True)[0][digits.flatten()]
        for value in (log_mass, expected)
    ]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)


def test_outputs_of_zero_are_the_uniform_pmf():
    k = torch.arange(256).view(-1, 1, 1, 1)
    log_mass = Kumaraswamy(256, 1).log_mass(torch.zeros(256, 2, 1, 1), k)
    torch.testing.assert_close(log_mass, torch.full((256,), -math.log(256)), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(
        plain_log_mass(256, torch.zeros(1).double(), torch.zeros(1).double(), k.flatten()),
        torch.full((256,), -math.log(256)).double(),
        rtol=1e-6,
        atol=1e-6,
    )
