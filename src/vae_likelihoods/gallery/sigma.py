"""A standard deviation that is fitted to the very images that are scored with it."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from scipy.optimize import minimize_scalar
from sklearn.decomposition import PCA
from torch import Tensor

from vae_likelihoods.gallery.images import Images
from vae_likelihoods.gallery.record import Cost, GalleryRow, difference
from vae_likelihoods.gallery.training import LATENTS
from vae_likelihoods.likelihoods.base import TrainedOn
from vae_likelihoods.likelihoods.laws.normal import Normal
from vae_likelihoods.likelihoods.location_scale import LocationScale
from vae_likelihoods.units.quantity import bits_per_dim

_FITTED = 1000  # train images that sigma is fitted to
_TOGETHER = {"an image": 1, "a batch of 100": 100}


def decoded_by_pca(images: Images, levels: Tensor) -> Tensor:
    """Return points decoded from `LATENTS` principal components of the train split, as by a linear VAE."""
    pca = PCA(LATENTS, svd_solver="covariance_eigh").fit(images.points(images.train).flatten(1).numpy())
    codes = pca.transform(images.points(levels).flatten(1).numpy())
    return torch.from_numpy(pca.inverse_transform(codes)).view(levels.shape)


def log_scores(decoded: Tensor, levels: Tensor, k: int, score: TrainedOn, sigma: float) -> Tensor:
    """Return the log-density or log-mass, [N], of levels [N, C, H, W] out of `k` around `decoded`."""
    likelihood = LocationScale(k, levels.shape[1], Normal(), scale=sigma, learned=False, trained_on=score)
    return likelihood.log_prob(decoded, levels).double()


def fitted_sigma(decoded: Tensor, levels: Tensor, k: int, score: TrainedOn) -> float:
    """Return the sigma with the best score on `levels`; on the density: the root mean squared error."""

    def loss(log_sigma: float) -> float:
        return -log_scores(decoded, levels, k, score, math.exp(log_sigma)).mean().item()

    best = minimize_scalar(loss, bounds=(-math.log(k), 0.0), method="bounded", options={"xatol": 1e-3})
    return math.exp(float(best.x))


def right_score(images: Images, train: Tensor, test: Tensor, score: TrainedOn) -> float:
    """Return minus the mean log-score of the test split, sigma fitted to train images; nats an image."""
    sigma = fitted_sigma(train, images.train[: len(train)], images.levels, score)
    return -log_scores(test, images.test, images.levels, score, sigma).mean().item()


# Seen as the "optimal sigma" of Rybkin et al. 2021 (arXiv:2006.13202): a way to train, but no likelihood to
# score with. The model has seen the images that it is scored on, and the bits for sigma are not counted.
def score_with_sigma_of_scored(images: Images, test: Tensor, score: TrainedOn, together: int) -> float:
    """Return the same, but sigma is fitted to each group of `together` test images that it then scores."""
    total = 0.0
    for decoded, levels in zip(test.split(together), images.test.split(together), strict=True):
        sigma = fitted_sigma(decoded, levels, images.levels, score)
        total -= log_scores(decoded, levels, images.levels, score, sigma).sum().item()
    return total / len(test)


def sigma_from_test(images: Images, seed: int) -> GalleryRow:
    """Score test images with sigma from the train split, from each image, and from each batch."""
    train, test = (decoded_by_pca(images, levels) for levels in (images.train[:_FITTED], images.test))
    return GalleryRow(
        written="`sigma` fitted to the images that are scored",
        right="`sigma` fitted to train images",
        findings=(*_on_density(images, train, test), *_on_mass(images, train, test)),
    )


def _on_density(images: Images, train: Tensor, test: Tensor) -> Iterator[Cost]:
    right = right_score(images, train, test, "density")
    for name, together in _TOGETHER.items():
        wrong = score_with_sigma_of_scored(images, test, "density", together)
        yield difference(f"sigma of {name}: minus log-density, nats", right, wrong, "nats an image")


def _on_mass(images: Images, train: Tensor, test: Tensor) -> Iterator[Cost]:
    right = bits_per_dim(right_score(images, train, test, "mass"), images.dimensions)
    for name, together in _TOGETHER.items():
        nats = score_with_sigma_of_scored(images, test, "mass", together)
        wrong = bits_per_dim(nats, images.dimensions)
        yield difference(f"sigma of {name}: mass, bits/dim", right, wrong, "bits/dim")
