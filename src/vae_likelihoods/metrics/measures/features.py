"""Features of images: what a small classifier sees, trained once for each data set and then frozen.

Distances between sets of images mean little in pixels. The usual features are of a network for photographs
of 299 x 299 pixels; on small grey images they are neither apt nor cheap. So each data set gets a network of
its own, from its train split at native levels.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from vae_likelihoods.datasets.prepared import PreparedDataset
from vae_likelihoods.errors import SettingError
from vae_likelihoods.metrics.data import Keep
from vae_likelihoods.precision import precise
from vae_likelihoods.seeding import generator, seeded

SIZE = 64  # features of an image
MAPS = (16, 32)  # of the two convolutions
BATCH, STEPS = 64, 1000
LEARNING_RATE = 3e-3
AT_ONCE, BYTES = 1000, 1 << 30  # images, and what they and their feature maps may take, at most


class Classifier(nn.Module):
    """Two strided convolutions and a layer of `SIZE` features, on which the classes are linear.

    All in float64: from the rounding of float32, each kind of processor trains to other features.

    Args:
        shape: C, H, W of an image.
        classes: the labels that train has, [S], each once, in order.

    Attributes:
        spread: root of the total variance of the features of the train split, once it was trained.
    """

    spread: Tensor
    classes: Tensor

    def __init__(self, shape: tuple[int, int, int], classes: Tensor) -> None:
        super().__init__()
        channels, height, width = shape
        first, second = MAPS
        inner = second * math.ceil(height / 4) * math.ceil(width / 4)
        self.body = nn.Sequential(
            *(nn.Conv2d(channels, first, 5, stride=2, padding=2), nn.ReLU()),
            *(nn.Conv2d(first, second, 5, stride=2, padding=2), nn.ReLU()),
            *(nn.Flatten(), nn.Linear(inner, SIZE), nn.ReLU()),
        )
        self.head = nn.Linear(SIZE, len(classes))
        self.register_buffer("classes", classes, persistent=False)  # not weights; known from the data
        self.register_buffer("spread", torch.ones(()))
        self.double()

    @override
    def forward(self, points: Tensor) -> Tensor:
        """Return the logits [B, classes] of points [B, C, H, W] in [0, 1], all float64."""
        logits: Tensor = self.head(self.body(points))
        return logits

    @torch.no_grad()
    def features(self, points: Tensor) -> Tensor:
        """Return the features [N, SIZE] of points [N, C, H, W] in [0, 1], as float64.

        In units of `spread`: a squared distance of 1 is the total variance of the train split's features.
        """
        # An image's place in a batch moves the last digits; without them, equal images have equal features.
        rounded = [self.body(precise(part)).float() for part in points.split(at_once(points))]
        return torch.cat(rounded).double() / self.spread

    @torch.no_grad()
    def accuracy(self, features: Tensor, labels: Tensor) -> float:
        """Return which share of images with these features [N, SIZE] is given its label [N]."""
        logits = self.head(features * self.spread)
        named = self.classes.cpu()[logits.argmax(1).cpu()]
        return float((named == labels.cpu()).double().mean())


def classifier_of(prepared: PreparedDataset, keep: Keep) -> Classifier:
    """Return the frozen classifier of a data set, on the CPU; trained now if it was not before.

    Args:
        prepared: the data set.
        keep: see `Data`.

    Raises:
        SettingError: its labels are not one class an image.
    """
    model = _untrained(prepared)
    model.load_state_dict(keep("features", trained_weights))
    return model.requires_grad_(False).eval()


def trained_weights(prepared: PreparedDataset) -> dict[str, Tensor]:
    """Return the weights of the trained classifier."""
    return trained(prepared).state_dict()


def trained(prepared: PreparedDataset) -> Classifier:
    """Train on the train split at native levels; a pure function of the data set.

    Adam with a learning rate that falls to 0 (cosine), `STEPS` steps however many images there are.
    """
    images, _ = prepared.split("train")
    model = _untrained(prepared)
    targets = torch.searchsorted(model.classes, _classes_of(prepared))

    def points(levels: Tensor) -> Tensor:
        return levels.double() / (prepared.native_levels - 1)

    with torch.enable_grad():
        optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, fused=True)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
        for rows in itertools.islice(_batches(len(images)), STEPS):
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(model(points(images[rows])), targets[rows]).backward()
            optimizer.step()
            schedule.step()
    features = torch.cat([model.features(points(part)) for part in images.split(at_once(images))])
    model.spread.copy_(features.var(0).sum().sqrt())
    return model


def at_once(images: Tensor) -> int:
    """Return how many of the images [N, C, H, W] are looked at together."""
    *_, channels, height, width = images.shape
    numbers = (2 * channels + 2 * MAPS[0]) * height * width  # more than two layers and their inputs
    return max(1, min(AT_ONCE, BYTES // (8 * numbers)))


def _batches(count: int) -> Iterator[Tensor]:
    """Yield the rows of step after step, without end."""
    for epoch in itertools.count():
        order = torch.randperm(count, generator=generator(0, "features", epoch))
        yield from order.split(BATCH)


def _untrained(prepared: PreparedDataset) -> Classifier:
    """Return the network as it is before training, always the same."""
    with seeded(0, "features"):
        return Classifier(prepared.shape, _classes_of(prepared).unique())


def _classes_of(prepared: PreparedDataset) -> Tensor:
    """Return the class of each image of train, [N]."""
    labels = prepared.split("train").labels
    if labels is None or labels.ndim > 1:
        raise SettingError("dataset", prepared.name, "features need one class an image as its label")
    return labels
