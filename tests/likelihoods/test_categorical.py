"""Few levels: a softmax. Many: a mixture of pmfs that all pixels share, of a rank that is stated."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import special
from torch import Tensor

from vae_likelihoods.errors import SettingError
from vae_likelihoods.likelihoods.categorical import Categorical
from vae_likelihoods.seeding import generator


def outputs_of(likelihood: Categorical, *shape: int, scale: float = 2.0) -> Tensor:
    """Random outputs [..., P*C, H, W]."""
    *batch, height, width = shape
    sizes = (*batch, likelihood.output_channels, height, width)
    return torch.randn(sizes, generator=generator(0, "categorical")) * scale


def images(levels: int, *shape: int) -> Tensor:
    return torch.randint(0, levels, shape, generator=generator(1), dtype=torch.uint8)


def shuffled(likelihood: Categorical) -> Categorical:
    """Return it with another table than the smooth one of the start."""
    assert likelihood.table is not None
    with torch.no_grad():
        likelihood.table += torch.randn(likelihood.table.shape, generator=generator(2))
    return likelihood


def pmf(likelihood: Categorical, outputs: Tensor) -> Tensor:
    """P of each level of images of one pixel, [N, K]."""
    levels = torch.arange(likelihood.levels).view(-1, 1, 1, 1, 1)
    log_mass = likelihood.log_mass(outputs.expand(len(levels), *outputs.shape), levels)
    return log_mass.T.detach().double().exp()


@pytest.mark.parametrize(
    ("levels", "rank"), [(2, 32), (17, 32), (32, 32), (3, 2), (5, 4), (256, 32), (256, 255)]
)
def test_number_of_outputs(levels: int, rank: int):
    likelihood = Categorical(levels=levels, channels=3, rank=rank)
    assert likelihood.output_channels == 3 * min(levels, rank)
    assert (likelihood.table is None) == (levels <= rank)


def test_a_decoder_gives_32_outputs_for_256_levels():
    assert Categorical(levels=256, channels=1).output_channels == 32


@pytest.mark.parametrize("levels", [2, 3, 17, 32])
def test_up_to_the_rank_it_is_a_softmax(levels: int):
    likelihood = Categorical(levels=levels, channels=2)
    outputs, k = outputs_of(likelihood, 5, 3, 4).requires_grad_(), images(levels, 5, 2, 3, 4)
    ours = likelihood.log_mass(outputs, k)
    logits = outputs.unflatten(1, (levels, 2))
    theirs = -torch.nn.functional.cross_entropy(logits, k.long(), reduction="none").sum((1, 2, 3))
    torch.testing.assert_close(ours, theirs)
    gradients = [torch.autograd.grad(value.sum(), outputs)[0] for value in (ours, theirs)]
    torch.testing.assert_close(*gradients)
    assert not list(likelihood.parameters())


@pytest.mark.parametrize("scale", [0.1, 2.0, 30.0])
@pytest.mark.parametrize(("levels", "rank"), [(256, 32), (17, 5), (3, 2)])
def test_beyond_the_rank_it_is_weights_times_table(levels: int, rank: int, scale: float):
    likelihood = shuffled(Categorical(levels=levels, channels=1, rank=rank))
    outputs = outputs_of(likelihood, 60, 1, 1, scale=scale)
    weights = special.softmax(outputs.double().numpy().reshape(60, rank), axis=1)
    table = special.softmax(likelihood.table.detach().double().numpy(), axis=1)
    expected = np.log(weights @ table)
    np.testing.assert_allclose(pmf(likelihood, outputs).log().numpy(), expected, rtol=3e-6, atol=3e-6)


def test_the_matrix_of_probabilities_has_the_rank():
    """Pixels by levels: singular values beyond `rank` are float32's noise, and those within are not."""
    likelihood = shuffled(Categorical(levels=256, channels=1, rank=7))
    values = np.linalg.svd(pmf(likelihood, outputs_of(likelihood, 500, 1, 1)).numpy(), compute_uv=False)
    assert values[7] < 1e-5 * values[0] < 1e-2 * values[6]


def plain(likelihood: Categorical, outputs: Tensor, table: Tensor, k: Tensor) -> Tensor:
    """Return the log-mass of each image by the plain formula, for outputs [..., B, P*C, H, W]."""
    rank, channels = table.shape[0], likelihood.channels
    log_weights = outputs.unflatten(-3, (rank, channels)).log_softmax(-4)
    of_rows = table.log_softmax(1)[:, k.long()].movedim(0, 1)  # [B, J, C, H, W]
    return torch.logsumexp(log_weights + of_rows, -4).sum((-3, -2, -1))


@pytest.mark.parametrize("samples", [(), (3,)])
@pytest.mark.parametrize("scale", [0.1, 2.0, 30.0])
def test_gradients_of_outputs_and_table_are_those_of_autograd(samples: tuple[int, ...], scale: float):
    likelihood = shuffled(Categorical(levels=256, channels=2, rank=32).double())
    outputs, k = outputs_of(likelihood, *samples, 4, 5, 3, scale=scale).double(), images(256, 4, 2, 5, 3)
    leaves = [outputs.requires_grad_(), likelihood.table]
    values = likelihood.log_mass(outputs, k), plain(likelihood, outputs, likelihood.table, k)
    torch.testing.assert_close(*values, rtol=1e-12, atol=1e-12)
    weight = torch.randn(values[0].shape, generator=generator(3), dtype=torch.float64)
    gradients = [torch.autograd.grad((value * weight).sum(), leaves) for value in values]
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("learned", ["outputs", "table"])
def test_either_gradient_can_be_computed_alone(learned: str):
    likelihood = shuffled(Categorical(levels=17, channels=1, rank=4))
    outputs, k = outputs_of(likelihood, 6, 2, 2), images(17, 6, 1, 2, 2)
    leaf = outputs.requires_grad_() if learned == "outputs" else likelihood.table
    likelihood.table.requires_grad_(learned == "table")
    gradients = [
        torch.autograd.grad(value.sum(), leaf)[0]
        for value in (likelihood.log_mass(outputs, k), plain(likelihood, outputs, likelihood.table, k))
    ]
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-6)


def test_at_the_start_rows_are_bumps_at_even_places():
    """So even weights are uniform, but for the ends, whose bumps have one side."""
    likelihood = Categorical(levels=256, channels=1, rank=32)
    even = 256 * pmf(likelihood, torch.zeros(1, 32, 1, 1))[0]
    assert even[60:-60].max() / even[60:-60].min() < 1.01
    assert 0.9 < even.min() < even.max() < 2.1
    one_row = torch.full((32, 32), -1e4).fill_diagonal_(0).view(32, 32, 1, 1)
    places = pmf(likelihood, one_row).argmax(1)
    assert (places - torch.arange(32) * 255 / 31).abs().max() <= 0.5


def test_table_is_learned():
    """A pmf that no softmax over places has: two levels far apart, the same in all pixels."""
    likelihood = Categorical(levels=40, channels=1, rank=2)
    k = torch.tensor([3, 30]).repeat(50).view(-1, 1, 1, 1)
    outputs = torch.zeros(100, 2, 1, 1)
    optimizer = torch.optim.Adam(likelihood.parameters(), lr=0.3)
    for _ in range(200):
        optimizer.zero_grad()
        (-likelihood.log_mass(outputs, k).mean()).backward()
        optimizer.step()
    assert likelihood.log_mass(outputs, k).mean().item() == pytest.approx(-np.log(2), abs=0.02)


@pytest.mark.parametrize("rank", [1, 0, -3, 2.0, True, None])
def test_impossible_ranks_are_refused(rank: object):
    with pytest.raises(SettingError, match=rf"^rank={rank}: must be a whole number, at least 2"):
        Categorical(levels=256, channels=1, rank=rank)
