"""Sigma fitted to what it scores: on the density, where its optimum is the root mean squared error."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from vae_likelihoods.gallery.images import Images
from vae_likelihoods.gallery.record import GalleryRow
from vae_likelihoods.gallery.sigma import decoded_by_pca, fitted_sigma, log_scores


def squared_errors(images: Images) -> tuple[np.ndarray, np.ndarray]:
    """Per image of the first 1000 of train, and of test: 8 principal components, by an SVD."""
    train, test = (split.numpy().reshape(len(split), -1) / 255 for split in (images.train, images.test))
    mean = train.mean(0)
    _, vectors = np.linalg.eigh(np.cov(train.T))
    basis = vectors[:, -8:]
    centred = (train[:1000] - mean, test - mean)
    return tuple(np.square(split - split @ basis @ basis.T).mean(1) for split in centred)


def test_the_scores_on_the_density_have_a_closed_form(images: Images, rows: dict[str, GalleryRow]) -> None:
    train, test = squared_errors(images)
    sigma2 = train.mean()
    right = 392 * (math.log(2 * math.pi * sigma2) + test.mean() / sigma2)
    image, batch, *_ = rows["sigma_from_test"].findings
    assert image.right == batch.right == pytest.approx(right, abs=0.01)
    assert image.wrong == pytest.approx(392 * np.log(2 * math.pi * math.e * test).mean(), abs=0.01)
    batches = test.reshape(5, 100).mean(1)
    assert batch.wrong == pytest.approx(392 * np.log(2 * math.pi * math.e * batches).mean(), abs=0.01)


def test_fitting_to_what_is_scored_is_optimistic(rows: dict[str, GalleryRow]) -> None:
    image, batch, image_mass, batch_mass = rows["sigma_from_test"].findings
    assert image.wrong < batch.wrong < image.right
    assert image_mass.wrong < batch_mass.wrong <= image_mass.right


@pytest.mark.parametrize("score", ["density", "mass"])
def test_the_fitted_sigma_is_better_than_its_neighbours(images: Images, score: str) -> None:
    levels = images.test[:20]
    decoded = decoded_by_pca(images, levels)
    sigma = fitted_sigma(decoded, levels, 256, score)
    best, *others = (
        log_scores(decoded, levels, 256, score, factor * sigma).sum() for factor in (1, 0.97, 1.03)
    )
    assert torch.stack(others).max() < best
