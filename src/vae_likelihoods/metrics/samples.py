"""Whether images from the prior look like the data, and whether they are copies of them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from typing_extensions import override

from vae_likelihoods.errors import require, require_count
from vae_likelihoods.metrics.base import Metric, Missing, Value, Values, in_batches
from vae_likelihoods.metrics.data import Data
from vae_likelihoods.metrics.labels import classes
from vae_likelihoods.metrics.measures.features import Classifier, at_once, classifier_of
from vae_likelihoods.metrics.measures.frechet import frechet_distance
from vae_likelihoods.metrics.measures.neighbours import likeness, nearest
from vae_likelihoods.models.base import Model
from vae_likelihoods.models.blocks import drawn, means
from vae_likelihoods.models.vae import VAE
from vae_likelihoods.precision import home_of_float64
from vae_likelihoods.units.declaration import Better, Declaration
from vae_likelihoods.units.quantity import Quantity

_IN_TRAIN = Missing("half of the test images are in train, at a distance of 0")
_NO_MEANS = Missing("the model has no latents at which its pixels have a mean")
SHARE = Quantity("share of images")
DISTANCE = Quantity("squared distance over variance of features")
NEIGHBOURHOODS = Quantity("neighbourhoods of test images, over k")
RATIO = Quantity("distance over that of a test image")
GENERATED = {"means": ("means of samples", ", means"), "draws": ("samples", "")}
KINDS = {**GENERATED, "train": ("training images", ", train")}
"""The end of a number's name -> the images in words, and the end of its header."""


class Real(NamedTuple):
    """The images of a data set at its levels, as points in the features of its classifier."""

    classifier: Classifier
    train: Tensor  # [N, F]
    test: Tensor  # [M, F]
    gaps: Tensor  # [M], from a test point to the nearest one of train


_REAL: dict[Hashable, Real] = {}
"""Of the data set that was asked for last: a worker measures many cells, and these are the same for all."""


def _real(model: Model, data: Data) -> Real | None:
    """Return the images of a data set as points; None if all images of train have the same features."""
    classifier = classifier_of(data.prepared, data.keep).to(home_of_float64(data.device))
    if not classifier.spread > 0:
        return None
    weights = [weight.cpu().numpy().tobytes() for weight in classifier.state_dict().values()]
    key = (data.train.sha256, data.test.sha256, data.levels, model.dtype, str(data.device), *weights)
    if key not in _REAL:
        train, test = (
            torch.cat(
                [classifier.features(model.points(part)) for part in in_batches(images, at_once(images))]
            )
            for images in (data.train.images, data.test.images)
        )
        _REAL.clear()
        _REAL[key] = Real(classifier, train, test, nearest(test, train))
    return _REAL[key]


@dataclass(frozen=True)
class Samples(Metric):
    """Images from z ~ p(z) compared with test images, in the features of a classifier of the data.

    Both the means E[x | z] and draws from p(x | z) at the same z are compared, and training images too, as a
    yardstick. There are equally many of each, so the bias that few images bring is that of the yardstick.

    Args:
        images: how many of each kind, or as many as the smaller of test and train has.
        neighbours: k of precision, recall, density and coverage.
        quantile: a sample counts as memorised if it is closer to its nearest training image than this share
            of the test images are to theirs. Of new images, this share would count as memorised.
        batch_size: images decoded at once.
    """

    of: ClassVar[type] = Model
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
    def declarations(self, levels: int) -> list[Declaration]:
        accuracy = "accuracy on test of the classifier in whose features images are compared"
        return [
            Declaration("compared_images", "images of each kind", Quantity("images"), "compared images", "d"),
            Declaration("features_accuracy", accuracy, SHARE, "accuracy of features", ".3f"),
            *(each for kind in KINDS for each in compared(kind)),
            *(each for kind in GENERATED for each in copied(kind, self.quantile)),
        ]

    @override
    def __call__(self, model: Model, data: Data, noise: torch.Generator) -> Values:
        labelled = classes(data)
        if isinstance(labelled, Missing):
            return self.without(data, labelled)
        count = min(self.images, len(data.train.images), len(data.test.images))
        if count < 2:
            return self.without(data, Missing("two images of train and of test are needed"))
        real = _real(model, data)
        if real is None:
            return self.without(data, Missing("all images of train have the same features"))
        classifier, train, test, _ = real
        kinds = self._generate(model, count, noise)
        generated = {kind: classifier.features(points) for kind, points in kinds.items()}
        lacking = {each.name: _NO_MEANS for kind in GENERATED.keys() - kinds for each in self._of(kind)}
        values: dict[str, Value] = {
            **lacking,
            "compared_images": count,
            "features_accuracy": classifier.accuracy(test, labelled[1]),
        }
        for kind, points in {**generated, "train": train[:count]}.items():
            values |= self.compare(kind, points, test[:count])
        return values | self.copies(generated, real)

    def _of(self, kind: str) -> list[Declaration]:
        return [*compared(kind), *copied(kind, self.quantile)]

    def _generate(self, model: Model, count: int, noise: torch.Generator) -> dict[str, Tensor]:
        """Return `count` draws, of a VAE also the means at the same latents: points [N, C, H, W]."""
        if not isinstance(model, VAE):
            return {"draws": model.points(model.draw(count, noise))}
        of_means, of_draws = [], []
        for z in in_batches(model.latents(count, noise), self.batch_size):
            of_means.append(means(model, z))
            of_draws.append(model.points(drawn(model, z, noise)))
        return {"means": torch.cat(of_means), "draws": torch.cat(of_draws)}

    def compare(self, kind: str, points: Tensor, real: Tensor) -> dict[str, float]:
        """Return how similar generated points [N, F] are to real ones [M, F]."""
        measures = {
            "frechet": frechet_distance(points, real),
            **likeness(real, points, self.neighbours)._asdict(),
        }
        return {f"{measure}_{kind}": value for measure, value in measures.items()}

    def copies(self, generated: Mapping[str, Tensor], real: Real) -> dict[str, Value]:
        """Return how close generated points [N, F] are to training points, as against test points."""
        typical, limit = real.gaps.median(), real.gaps.quantile(self.quantile)
        values: dict[str, Value] = {}
        for kind, points in generated.items():
            gaps = nearest(points, real.train)
            values[f"memorised_share_{kind}"] = float((gaps <= limit).double().mean())
            ratio = float(gaps.median() / typical) if typical > 0 else _IN_TRAIN
            values[f"nearest_train_ratio_{kind}"] = ratio
        return values


def compared(kind: str) -> list[Declaration]:
    """Return the declarations of the numbers that compare one kind of images with test images."""
    images, ending = KINDS[kind]
    lower: Better | None = None if kind == "train" else "lower"
    higher: Better | None = None if kind == "train" else "higher"
    quality, diversity = ("samples", "diverse samples") if kind == "draws" else ("", "")
    like = partial(Declaration, quantity=SHARE, format=".4g", better=higher)
    frechet = f"squared Fréchet distance between features of {images} and of test images"
    density = f"how many test images one of the {images} lies within reach of, over k"
    return [
        Declaration(
            f"frechet_{kind}", frechet, DISTANCE, f"Fréchet distance{ending}", ".4g", lower, purpose=quality
        ),
        like(f"precision_{kind}", f"{images} within reach of a test image", header=f"precision{ending}"),
        like(f"recall_{kind}", f"test images within reach of one of the {images}", header=f"recall{ending}"),
        like(f"density_{kind}", density, quantity=NEIGHBOURHOODS, header=f"density{ending}"),
        like(
            f"coverage_{kind}",
            f"test images that have one of the {images} within reach",
            header=f"coverage{ending}",
            purpose=diversity,
        ),
    ]


def copied(kind: str, quantile: float) -> list[Declaration]:
    """Return the declarations of the numbers that say whether one kind of images is copied from train."""
    images, ending = KINDS[kind]
    nearer = f"{images} that are closer to a training image than {quantile:.0%} of the test images are"
    ratio = f"median distance of {images} to the nearest training image, over that of test images"
    return [
        Declaration(f"memorised_share_{kind}", nearer, SHARE, f"memorised{ending}", ".3f", "lower"),
        Declaration(f"nearest_train_ratio_{kind}", ratio, RATIO, f"nearest train image{ending}", ".3f"),
    ]
