"""Whether images from the prior look like the data, and whether they are copies of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from vae_likelihoods.errors import require, require_count
from vae_likelihoods.metrics.base import Better, Measured, Metric, Number, in_batches
from vae_likelihoods.metrics.data import Data
from vae_likelihoods.metrics.measures.features import classifier_of
from vae_likelihoods.metrics.measures.frechet import frechet_distance
from vae_likelihoods.metrics.measures.neighbours import likeness, nearest
from vae_likelihoods.models.vae import VAE, standard_normal
from vae_likelihoods.units import Quantity

SHARE = Quantity("share of images")
BALLS = Quantity("real balls around an image, over k")


@dataclass(frozen=True)
class Samples(Metric):
    """Images of z ~ p(z) beside test images, in the features of a classifier of the data (`features`).

    Both the means E[x | z] and draws from p(x | z) at the same z, and as a yardstick real images, as many. So
    the numbers of images are equal on both sides of every comparison, and the bias that few images bring is
    that of the yardstick.

    Args:
        images: so many of each, or as many as the smaller of test and train has.
        neighbours: k of precision, recall, density and coverage.
        quantile: a sample counts as memorised when it is closer to its nearest training image than this
            share of the test images is to theirs; which share of fresh images would be is this share.
        batch_size: images decoded at once.
    """

    images: int
    neighbours: int
    quantile: float
    batch_size: int

    def __post_init__(self) -> None:
        require_count("images", self.images, least=2)
        require_count("neighbours", self.neighbours)
        require(0 < self.quantile < 1, "quantile", self.quantile, "must lie between 0 and 1")
        require_count("batch_size", self.batch_size)

    @override
    def __call__(self, model: VAE, data: Data, noise: torch.Generator) -> Measured:
        classifier = classifier_of(data.prepared, data.keep).to(data.device)
        train, test = (classifier.features(model.points(split.images)) for split in (data.train, data.test))
        count = min(self.images, len(train), len(test))
        means, draws = self._generate(model, count, noise)
        generated = {"means": classifier.features(means), "draws": classifier.features(draws)}
        numbers = {
            "compared_images": Number(count, Quantity("images")),
            "features_accuracy": Number(classifier.accuracy(test, data.test.labels), SHARE),
        }
        for name, points in {**generated, "train": train[:count]}.items():
            numbers |= self.compare(name, points, test[:count])
        return Measured(numbers | self.copied(generated, train, test))

    def _generate(self, model: VAE, count: int, noise: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return means and draws at `count` latents of the prior, as points [N, C, H, W] in [0, 1]."""
        means, draws = [], []
        for z in in_batches(standard_normal((count, model.latent_dim), noise), self.batch_size):
            outputs = model.decode(z)
            means.append(model.likelihood.mean(outputs))
            draws.append(model.points(model.likelihood.sample(outputs, noise)))
        return torch.cat(means), torch.cat(draws)

    def compare(self, name: str, points: Tensor, real: Tensor) -> dict[str, Number]:
        """Return how much generated points [N, F] are like real ones [M, F]."""
        lower: Better | None = None if name == "train" else "lower"
        higher: Better | None = None if name == "train" else "higher"
        squared = Quantity("squared distance over variance of features")
        found = {"frechet": Number(frechet_distance(points, real), squared, better=lower)}
        for measure, value in likeness(real, points, self.neighbours)._asdict().items():
            found[measure] = Number(value, BALLS if measure == "density" else SHARE, better=higher)
        return {f"{measure}_{name}": number for measure, number in found.items()}

    def copied(self, generated: Mapping[str, Tensor], train: Tensor, test: Tensor) -> dict[str, Number]:
        """Return how close to training points [N, F] generated ones are, as against test points [M, F]."""
        fresh = nearest(test, train)
        typical, limit = fresh.median(), fresh.quantile(self.quantile)
        numbers = {}
        for name, points in generated.items():
            found = nearest(points, train)
            share = float((found <= limit).double().mean())
            numbers[f"memorised_share_{name}"] = Number(share, SHARE, better="lower")
            if typical > 0:  # else a half of the test images are in train
                ratio = Quantity("distance over that of a test image")
                numbers[f"nearest_train_ratio_{name}"] = Number(float(found.median() / typical), ratio)
        return numbers
