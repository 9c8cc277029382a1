"""The contract of every model of images: p(x) over levels, by a bound or exactly.

A `Model` is trained, scored and drawn from. A `DirectModel` gives the probability of an image itself; the
VAE gives a bound on it. A `Head` is a direct model whose pixels have a likelihood of this project, given
what its network says of the pixels before.

A new model is one file with one class, and one YAML that names the class. The arguments of the class say
what it reads of a configuration (see `cells.unread`): ``networks``, ``likelihood`` and ``latent_dim``, and
``shape`` (C, H, W) and ``levels`` (K) of the images; all other arguments are its own settings.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from vae_likelihoods.datasets.levels import require_levels
from vae_likelihoods.datasets.quantise import Levels
from vae_likelihoods.likelihoods.base import Likelihood, TrainedOn

Autocast = Callable[[], AbstractContextManager[Any]]
"""Returns the context in which networks compute; scores are computed outside of it."""


class Model(nn.Module, ABC):
    """p(x) over images of K levels.

    Args:
        levels: K.
        channels: C.

    Attributes:
        exact: whether its score is log p(x) itself; if not, a lower bound.
        fits_itself: whether `fit` finds the weights, and no optimiser is needed.
    """

    exact: bool = False
    fits_itself: bool = False

    def __init__(self, levels: int, channels: int) -> None:
        super().__init__()
        self.levels, self.channels = levels, channels

    @abstractmethod
    def parts(self, levels: Tensor, noise: torch.Generator, autocast: Autocast) -> tuple[Tensor, Tensor]:
        """Return two numbers of each image whose negative sum is its score: distortion and rate, [B] in nats.

        Args:
            levels: images [B, C, H, W].
            noise: the source of random numbers.
            autocast: where networks compute.
        """

    @abstractmethod
    def draw(self, count: int, noise: torch.Generator) -> Tensor:
        """Return images drawn from p(x): uint8 levels [count, C, H, W]."""

    @abstractmethod
    def preview(self, count: int, noise: torch.Generator) -> Tensor:
        """Return points [count, C, H, W] in [0, 1] that show what the model draws."""

    @abstractmethod
    def reconstruct(self, levels: Tensor, noise: torch.Generator) -> Tensor:
        """Return what it makes of images [B, C, H, W] that it sees, whole or in part: points in [0, 1]."""

    def begin(self, train: Levels) -> None:
        """Set what depends on the train images, once, before the first step; nothing here.

        Torch's global generator is seeded while it runs.
        """

    def fit(self, train: Tensor, validation: Tensor) -> bool:
        """Make one pass over the train images; return whether another would change nothing.

        For models that set `fits_itself`; others are trained by an optimiser and are never asked.

        Args:
            train: levels [N, C, H, W].
            validation: levels [M, C, H, W], for what must not be chosen on train.
        """
        raise TypeError(f"{type(self).__name__} is trained by an optimiser")

    def summary(self) -> dict[str, float]:
        """Return the learned numbers that all pixels share, by name, for logs."""
        return {}

    @property
    def trained_on(self) -> TrainedOn:
        """Whether training maximises a mass, the score itself, or a density."""
        return "mass"

    @property
    def parameter_count(self) -> int:
        """How many numbers were learned."""
        return sum(parameter.numel() for parameter in self.parameters())

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights, in which everything is computed."""
        return self._a_weight.dtype

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self._a_weight.device

    @property
    def _a_weight(self) -> Tensor:
        weights = chain(self.parameters(), self.buffers())
        return next(weight for weight in weights if weight.is_floating_point())

    def require_levels(self, images: Tensor) -> None:
        """Refuse images that are no levels of this model: integers 0 .. K - 1, [B, C, H, W].

        For images that come from elsewhere, before they are scored or trained on; a step checks nothing.

        Raises:
            SettingError: says what they are, and what to do.
        """
        require_levels(images, self.levels, self.channels)

    def points(self, levels: Tensor) -> Tensor:
        """Return levels k [B, C, H, W] as the points k / (K - 1) in [0, 1] that networks see."""
        points: Tensor = levels.to(self.dtype) / (self.levels - 1)
        return points


class DirectModel(Model):
    """A model that gives the log-probability of an image itself, and of its rows one after the other.

    Args:
        levels: K.
        shape: C, H, W of the images.
    """

    exact = True

    def __init__(self, levels: int, shape: tuple[int, int, int]) -> None:
        super().__init__(levels, shape[0])
        self.shape = shape

    @abstractmethod
    def log_mass(self, levels: Tensor, rows: int = 0) -> Tensor:
        """Return log p of the pixels below the first `rows` rows, given those: [B] in nats.

        Args:
            levels: images [B, C, H, W].
            rows: from 0 to H; with 0 it is log p(x).
        """

    @abstractmethod
    def complete(self, levels: Tensor, rows: int, noise: torch.Generator) -> Tensor:
        """Return images [B, C, H, W], uint8, whose first `rows` rows are given: the rest is drawn from p.

        Args:
            levels: images; what stands below the given rows is not read.
            rows: from 0 to H.
            noise: the source of random numbers.
        """

    def log_prob(self, levels: Tensor) -> Tensor:
        """Return what training maximises, [B] in nats; `trained_on` says what it is."""
        return self.log_mass(levels)

    def images_at_once(self) -> int:
        """Return how many images may be scored at once, at least 1."""
        return 256

    def scores(self, levels: Tensor, rows: int = 0) -> Tensor:
        """Return `log_mass` of any number of images, part after part: memory is bounded."""
        return torch.cat([self.log_mass(part, rows) for part in levels.split(self.images_at_once())])

    def parts(self, levels: Tensor, noise: torch.Generator, autocast: Autocast) -> tuple[Tensor, Tensor]:
        """Return -log p(x) and 0, [B]."""
        with autocast():
            distortion = -self.scores(levels)
        return distortion, torch.zeros_like(distortion)

    def draw(self, count: int, noise: torch.Generator) -> Tensor:
        """Return images drawn from p(x): uint8 levels [count, C, H, W]."""
        empty = torch.zeros((count, *self.shape), dtype=torch.uint8, device=self.device)
        parts = empty.split(self.images_at_once())
        return torch.cat([self.complete(part, 0, noise) for part in parts])

    def preview(self, count: int, noise: torch.Generator) -> Tensor:
        """Return draws as points [count, C, H, W]."""
        return self.points(self.draw(count, noise))

    def reconstruct(self, levels: Tensor, noise: torch.Generator) -> Tensor:
        """Return images whose upper half is that of `levels`, the lower half drawn: points [B, C, H, W]."""
        return self.points(self.complete(levels, upper_half(self.shape), noise))


class Head(DirectModel):
    """A direct model whose pixel has the likelihood p(k | outputs), given the pixels before in some order.

    The order must be that of rows, from the top to the bottom, for `rows` to have a meaning.

    Args:
        likelihood: of a pixel, all its channels together.
        shape: C, H, W of the images.
    """

    def __init__(self, likelihood: Likelihood, shape: tuple[int, int, int]) -> None:
        super().__init__(likelihood.levels, shape)
        self.likelihood = likelihood

    @abstractmethod
    def forward(self, levels: Tensor) -> Tensor:
        """Return the likelihood's outputs [B, P*C, H, W], those of a pixel from the pixels before alone."""

    def log_mass(self, levels: Tensor, rows: int = 0) -> Tensor:
        """Return log p of the pixels below the first `rows` rows, given those: [B] in nats."""
        outputs = self(levels)[..., rows:, :]
        return self.likelihood.log_mass(outputs, levels[..., rows:, :])

    def log_prob(self, levels: Tensor) -> Tensor:
        """Return the likelihood's training score, [B]."""
        return self.likelihood.log_prob(self(levels), levels)

    def summary(self) -> dict[str, float]:
        """Return the likelihood's parameters that all pixels share."""
        return self.likelihood.summary()

    @property
    def trained_on(self) -> TrainedOn:
        """What the likelihood is trained on."""
        return self.likelihood.trained_on


def upper_half(shape: tuple[int, int, int]) -> int:
    """Return how many rows the upper half of an image has; of 5 rows it has 2."""
    return shape[1] // 2
