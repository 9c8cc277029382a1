"""Chow-Liu trees: brute force over all trees and all images, and trees that are known."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import mutual_info_score
from torch import Tensor

from peak_memory import PeakMemory
from vae_likelihoods.errors import SettingError
from vae_likelihoods.models import chow_liu
from vae_likelihoods.models.chow_liu import ChowLiu, mutual_information, shrunk, spanning_tree
from vae_likelihoods.models.independent import Independent
from vae_likelihoods.precision import default_dtype
from vae_likelihoods.seeding import generator

Shape = tuple[int, int, int]
TINY: list[tuple[Shape, int, int]] = [
    ((1, 2, 2), 2, 8),
    ((1, 2, 2), 3, 2),
    ((1, 2, 2), 5, 3),
    ((3, 1, 2), 2, 2),
    ((2, 3, 1), 3, 2),
    ((1, 4, 2), 2, 2),
]


def every_image(shape: Shape, levels: int) -> Tensor:
    images = itertools.product(range(levels), repeat=math.prod(shape))
    return torch.tensor(list(images), dtype=torch.uint8).view(-1, *shape)


def empty(shape: Shape, levels: int, coarse_levels: int = 8) -> ChowLiu:
    with default_dtype(torch.float64):
        return ChowLiu(shape, levels, coarse_levels, 0.5)


def planted(shape: Shape, levels: int, coarse_levels: int, seed: int = 0, contrast: float = 1.5) -> ChowLiu:
    """A random tree, whose edges lead up and down, with random tables."""
    model, noise = empty(shape, levels, coarse_levels), generator(seed, "planted")
    order = torch.randperm(len(model.parent), generator=noise)
    for place in range(1, len(order)):
        model.parent[order[place]] = order[torch.randint(place, (1,), generator=noise)].item()
    logits = torch.randn(model.log_table.shape, generator=noise, dtype=torch.float64)
    model.log_table.copy_((contrast * logits).log_softmax(-1))
    return model


def edges(parent: Tensor) -> set[frozenset[int]]:
    return {frozenset((child, above)) for child, above in enumerate(parent.tolist()) if above >= 0}


def dependent(count: int, shape: Shape, levels: int, seed: int = 0) -> Tensor:
    """Images that no tree describes: thresholded sums of common noise."""
    size = math.prod(shape)
    mixed = torch.randn((count, size), generator=generator(seed, "dependent")) @ torch.randn(
        (size, size), generator=generator(0, "mixing")
    )
    return ((mixed / size**0.5).sigmoid() * levels).byte().clamp_max(levels - 1).view(count, *shape)


def test_pairs_have_the_mutual_information_of_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when the pairs are counted in eight blocks, of four parts of the images."""
    monkeypatch.setattr(chow_liu, "COLUMNS", 64)
    monkeypatch.setattr(chow_liu, "ONES", 80 * 60 * 8)
    images = dependent(300, (2, 5, 6), 17)
    bins = torch.arange(17) * 8 // 17
    found = mutual_information(images, bins, 8)
    columns = bins[images.flatten(1).long()].T.numpy()
    expected = [[mutual_info_score(one, other) for one in columns[::7]] for other in columns]
    np.testing.assert_allclose(found[:, ::7].numpy(), expected, atol=1e-12)


def test_the_tree_is_the_best_of_all() -> None:
    """Of the 6^4 trees over six pixels, each one the sequence of Prüfer (1918)."""
    model, images = empty((1, 2, 3), 6, coarse_levels=4), dependent(200, (1, 2, 3), 6)
    model.fit(images, images[:50])
    bins = (images.flatten(1).int() * 4 // 6).T.numpy()
    information = np.array([[mutual_info_score(one, other) for one in bins] for other in bins])
    totals = [sum(information[tuple(edge)] for edge in tree) for tree in every_tree(6)]
    assert len(totals) == 6**4
    found = edges(model.parent)
    assert sum(information[tuple(edge)] for edge in found) == pytest.approx(max(totals), abs=1e-12)
    assert max(totals) > np.sort(totals)[-2] + 1e-3
    assert found in every_tree(6)


def every_tree(nodes: int) -> list[set[frozenset[int]]]:
    trees = []
    for code in itertools.product(range(nodes), repeat=nodes - 2):
        degree, tree = [1 + code.count(node) for node in range(nodes)], set()
        for node in code:
            leaf = degree.index(1)
            tree.add(frozenset((leaf, node)))
            degree[leaf] -= 1
            degree[node] -= 1
        tree.add(frozenset(node for node in range(nodes) if degree[node] == 1))
        trees.append(tree)
    return trees


def test_pixels_that_tell_nothing_are_in_the_tree_too() -> None:
    parent = spanning_tree(torch.zeros(5, 5, dtype=torch.float64))
    assert parent.tolist() == [-1, 0, 0, 0, 0]


@pytest.mark.parametrize(("shape", "levels", "coarse_levels"), TINY)
@pytest.mark.parametrize("how", ["fitted", "planted"])
def test_it_sums_to_1_over_all_images(shape: Shape, levels: int, coarse_levels: int, how: str) -> None:
    model = planted(shape, levels, coarse_levels)
    if how == "fitted":
        model.fit(dependent(200, shape, levels), dependent(100, shape, levels, 1))
    masses = model.scores(every_image(shape, levels)).exp()
    assert masses.sum().item() == pytest.approx(1, rel=1e-12)
    assert masses.max() > 2 * masses.min()


@pytest.mark.parametrize(("shape", "levels", "coarse_levels"), TINY)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_given_rows_the_others_have_their_conditional(
    shape: Shape, levels: int, coarse_levels: int, seed: int
) -> None:
    """log p(lower | upper) = log p(x) - log of the sum of p over all lower rows."""
    model, images = planted(shape, levels, coarse_levels, seed), every_image(shape, levels)
    whole = model.log_mass(images)
    assert torch.equal(whole, model.log_mass(images, 0))
    for rows in range(1, shape[1] + 1):
        _, group = images[..., :rows, :].flatten(1).unique(dim=0, return_inverse=True)
        sums = torch.zeros(int(group.max()) + 1, dtype=torch.float64).index_add_(0, group, whole.exp())
        expected = whole - sums.log()[group]
        torch.testing.assert_close(model.log_mass(images, rows), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("rows", [0, 1, 2, 3])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_completions_keep_the_given_rows_and_follow_the_pmf(rows: int, seed: int) -> None:
    model = planted((1, 3, 2), 3, 2, seed, contrast=0.8)
    given = torch.tensor([2, 1, 0, 2, 1, 1], dtype=torch.uint8).view(1, 1, 3, 2)
    every = every_image((1, 3, 2), 3)
    possible = every[(every[..., :rows, :] == given[..., :rows, :]).flatten(1).all(1)]
    images = given.repeat(20_000, 1, 1, 1)
    images[..., rows:, :] = 255  # is not read
    images = model.complete(images, rows, generator(seed, "complete"))
    assert images.dtype == torch.uint8
    places = 3 ** torch.arange(5, -1, -1)
    counts = torch.bincount(images.flatten(1).long() @ places, minlength=3**6)
    counts = counts[possible.flatten(1).long() @ places]
    assert counts.sum() == 20_000
    if rows < 3:
        expected = 20_000 * model.log_mass(possible, rows).exp()
        assert stats.chisquare(counts.numpy(), expected.numpy()).pvalue > 1e-4


def test_a_planted_tree_is_found_and_its_law_too() -> None:
    """The KL from the truth falls with the number of images to what so many free numbers cost."""
    truth = planted((2, 2, 3), 3, 3)
    drawn = truth.draw(60_000, generator(0, "draw"))
    fresh = drawn[40_000:]
    entropy = -truth.scores(fresh).mean().item()
    losses = []
    for count in (200, 2_000, 30_000):
        model = empty((2, 2, 3), 3)
        model.fit(drawn[:count], drawn[30_000:40_000])
        losses.append(-model.scores(fresh).mean().item() - entropy)
    assert edges(model.parent) == edges(truth.parent)
    assert losses[0] > 3 * losses[1] > 9 * losses[2]
    assert losses[2] < 2 * model.parameter_count / (2 * 30_000)
    alone = Independent((2, 2, 3), 3, 0.5)
    alone.fit(drawn[:30_000], drawn)
    assert -alone.scores(fresh).mean().item() - entropy > 100 * losses[2]


def test_where_pixels_are_independent_it_costs_no_more_than_independent_pixels() -> None:
    chance = torch.rand((16, 20), generator=generator(0, "chance")) ** 3
    images = torch.multinomial(chance, 7_000, replacement=True, generator=generator(1)).T
    train, validation, fresh = images.to(torch.uint8).view(-1, 1, 4, 4).split([1_000, 1_000, 5_000])
    tree, alone = empty((1, 4, 4), 20), Independent((1, 4, 4), 20, 0.5).double()
    for model in (tree, alone):
        model.fit(train, validation)
    assert tree.scores(fresh).mean() > alone.scores(fresh).mean() - 0.005
    assert tree.scores(validation).mean() >= alone.scores(validation).mean() - 1e-9


def test_the_root_and_what_validation_makes_alone_have_their_smoothed_histograms() -> None:
    """Uniform validation images speak against every dependence of train."""
    train = dependent(300, (1, 3, 3), 6)
    validation = torch.randint(6, (2_000, 1, 3, 3), generator=generator(0), dtype=torch.uint8)
    tree, alone = empty((1, 3, 3), 6, 4), Independent((1, 3, 3), 6, 0.5).double()
    alone.fit(train, train)
    tree.fit(train, train)
    expected = alone.log_shares.view(9, 1, 6)
    torch.testing.assert_close(tree.log_table[0, 0], expected[0, 0], rtol=1e-12, atol=0)
    assert (tree.log_table - expected)[1:].abs().max() > 0.5
    tree.fit(train, validation)
    torch.testing.assert_close(tree.log_table, expected.expand(9, 4, 6), rtol=1e-12, atol=0)


@pytest.mark.parametrize("levels", [4, 64])
def test_where_pixels_depend_it_costs_less(levels: int) -> None:
    images = dependent(3_000, (1, 5, 5), levels)
    train, validation, fresh = images.split([400, 400, 2_200])
    tree, alone = empty((1, 5, 5), levels), Independent((1, 5, 5), levels, 0.5).double()
    for model in (tree, alone):
        model.fit(train, validation)
    assert tree.scores(fresh).mean() > alone.scores(fresh).mean() + 0.5


def test_shares_are_shrunk_as_validation_says() -> None:
    """Hardly where validation is like train, all the way where it is like the prior, and in between."""
    train = torch.tensor([[[9.0, 1.0], [0.0, 0.0]]], dtype=torch.float64)
    towards = torch.tensor([[[0.5, 0.5]]], dtype=torch.float64)
    assert shrunk(train, towards, train)[0, 0, 0].item() == pytest.approx(0.9, abs=0.01)
    assert shrunk(train, towards, towards * torch.ones_like(train))[0, 0].tolist() == [0.5, 0.5]
    between = shrunk(train, towards, torch.tensor([[[0.7, 0.3], [0.0, 0.0]]], dtype=torch.float64))
    assert between[0, 0, 0].item() == pytest.approx(0.5 + 0.4 * 10 / (10 + 16))
    assert between[0, 1].tolist() == [0.5, 0.5]


def test_uniform_before_it_is_fitted() -> None:
    model, images = empty((1, 3, 3), 5), dependent(20, (1, 3, 3), 5)
    for rows in range(4):
        expected = torch.full((20,), (rows - 3) * 3 * math.log(5), dtype=torch.float64)
        torch.testing.assert_close(model.log_mass(images, rows), expected)


def test_float32_differs_by_its_rounding() -> None:
    images = dependent(200, (1, 28, 28), 256)
    model = planted((1, 28, 28), 256, 8)
    single = ChowLiu((1, 28, 28), 256, 8, 0.5)
    single.load_state_dict(model.state_dict())
    for rows in (0, 14, 27, 28):
        ours, theirs = single.scores(images, rows), model.scores(images, rows)
        assert ours.dtype == torch.float32
        assert max(ours.max(), theirs.max()) <= 0
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-6, atol=1e-4)


def test_images_of_256_levels_are_completed_and_scored_in_bounded_memory() -> None:
    """Before it is fitted all pixels are one layer, which takes the most at once."""
    model = ChowLiu((1, 28, 28), 256, 8, 0.5)
    images = torch.zeros((model.images_at_once(), 1, 28, 28), dtype=torch.uint8)
    assert len(images) > 500
    with PeakMemory() as memory:
        model.log_mass(images, 14)
    assert 10e6 < memory.peak < 0.6e9
    with PeakMemory() as memory:
        model.complete(images[:256], 14, generator(0))
    assert 10e6 < memory.peak < 0.3e9


def test_counting_more_images_takes_no_more_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chow_liu, "ONES", 1 << 20)
    peaks = []
    for count in (1_500, 3_000):
        images = torch.zeros(1, dtype=torch.uint8).expand(count, 1, 16, 16)
        with PeakMemory() as memory:
            mutual_information(images, torch.arange(8), 8)
        peaks.append(memory.peak)
    assert peaks[1] < peaks[0] + 2 * 256 * 1_500  # the images, if copied


def test_the_state_is_all_that_was_learned() -> None:
    images = dependent(100, (3, 2, 2), 9)
    model, other = empty((3, 2, 2), 9, 4), empty((3, 2, 2), 9, 4)
    model.fit(images, images[:40])
    other.load_state_dict(model.state_dict())
    for rows in range(3):
        assert torch.equal(other.log_mass(images, rows), model.log_mass(images, rows))
    assert torch.equal(*(each.complete(images, 1, generator(0)) for each in (model, other)))
    assert model.parameter_count == 8 + 11 * 4 * 8
    assert empty((1, 1, 3), 2).parameter_count == 1 + 2 * 2


@pytest.mark.parametrize("smoothing", [0, -1, math.inf, None])
def test_impossible_smoothing_is_refused(smoothing: object) -> None:
    with pytest.raises(SettingError, match=rf"^smoothing={smoothing}: must be a number above 0"):
        ChowLiu((1, 2, 2), 3, 8, smoothing)


@pytest.mark.parametrize("coarse_levels", [1, 0, 2.5, None])
def test_impossible_bins_are_refused(coarse_levels: object) -> None:
    with pytest.raises(SettingError, match=rf"^coarse_levels={coarse_levels}: must be a whole number"):
        ChowLiu((1, 2, 2), 3, coarse_levels, 0.5)
