"""A mixture of factorised distributions (latent class analysis), fitted by EM or by an optimiser."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from typing_extensions import override

from vae_likelihoods.datasets.quantise import Levels, binarize
from vae_likelihoods.errors import require, require_count
from vae_likelihoods.likelihoods.base import Likelihood, TrainedOn, number
from vae_likelihoods.models import blocks
from vae_likelihoods.models.base import DirectModel
from vae_likelihoods.precision import precise

SEEN_AT_START = 10_000
"""From how many train images, at most, the components start."""
STEPS = [0.2 * 0.9**step for step in range(20)]
"""By how much outputs without closed updates move from 0 at the start, towards images of their component."""
DRAWN, OF_ANY = 10, 0.2
"""How many images these are, and which part of them is of any component: so no pmf is too sure."""
LITTLE = 1e-10
"""Pseudo-images of a component in any case: without images its pmfs are those of all images."""

Score = Callable[[Tensor, Tensor], Tensor]


class LatentClass(DirectModel):
    """p(x) = sum_m w_m prod_d p(x_d | outputs_m), of any likelihood; its coupled channels stay together.

    Where the likelihood has closed updates (`Likelihood.outputs_of`), a pass of `fit` is one of expectation
    maximisation (Dempster, Laird & Rubin 1977, https://doi.org/10.1111/j.2517-6161.1977.tb01600.x): without
    smoothing no pass lowers the likelihood of the train images. Smoothing adds to each component so many
    images whose pixels have the pmfs of the train images, and one image of even pmfs more; so every level
    stays possible. Other likelihoods are trained by an optimiser.

    Components start at images that are far from each other (k-means++, Arthur & Vassilvitskii 2007).

    Args:
        likelihood: of a pixel, given the outputs of a component.
        shape: C, H, W of the images.
        components: M.
        smoothing: pseudo-images of each component; 0 is maximum likelihood.
        tolerance: passes end when one adds less than this to the mean log-likelihood, in nats per image.

    Raises:
        SettingError: components is below 1, or smoothing or tolerance is negative.
    """

    reached: Tensor

    def __init__(
        self,
        likelihood: Likelihood,
        shape: tuple[int, int, int],
        components: int,
        smoothing: float,
        tolerance: float,
    ) -> None:
        super().__init__(likelihood.levels, shape)
        require_count("components", components)
        for key, value in {"smoothing": smoothing, "tolerance": tolerance}.items():
            require(0 <= number(value) < math.inf, key, value, "must be finite and at least 0")
        self.likelihood, self.smoothing, self.tolerance = likelihood, smoothing, tolerance
        channels, height, width = shape
        even = torch.full((self.levels, channels, 1, 1), 1 / self.levels)
        self.fits_itself = likelihood.outputs_of(even) is not None
        outputs = torch.zeros(components, likelihood.output_channels, height, width)
        self.outputs = nn.Parameter(outputs, requires_grad=not self.fits_itself)
        self.logits = nn.Parameter(torch.zeros(components), requires_grad=not self.fits_itself)
        self.register_buffer("reached", torch.tensor(-math.inf))  # mean log-likelihood before the last pass

    @property
    @override
    def trained_on(self) -> TrainedOn:
        """What the likelihood is trained on."""
        return self.likelihood.trained_on

    @property
    @override
    def parameter_count(self) -> int:
        """How many numbers were learned; the weights sum to 1."""
        return super().parameter_count - 1

    @override
    def summary(self) -> dict[str, float]:
        """Return the likelihood's parameters that all pixels share."""
        return self.likelihood.summary()

    @override
    def images_at_once(self) -> int:
        channels, _, width = self.shape
        if self.fits_itself:  # only M numbers and the levels of a row are held of an image
            return 1 << 14
        numbers = blocks.OF_OUTPUTS * self.likelihood.output_channels + blocks.OF_IMAGES * channels
        return max(1, blocks.BYTES // (len(self.logits) * numbers * width * self.outputs.element_size()))

    @override
    def log_mass(self, levels: Tensor, rows: int = 0) -> Tensor:
        upper = self._log_weights() + self._of_rows(levels, 0, rows)
        whole = upper + self._of_rows(levels, rows, self.shape[1])
        return (whole.logsumexp(1) - upper.logsumexp(1)).to(self.outputs)

    @override
    def log_prob(self, levels: Tensor) -> Tensor:
        if self.trained_on == "mass":
            return self.log_mass(levels)
        of_components = self._of_rows(levels, 0, self.shape[1], self.likelihood.log_prob)
        return (self._log_weights() + of_components).logsumexp(1).to(self.outputs)

    @override
    @torch.no_grad()
    def complete(self, levels: Tensor, rows: int, noise: torch.Generator) -> Tensor:
        if rows == self.shape[1]:
            return levels.to(torch.uint8)
        posterior = (self._log_weights() + self._of_rows(levels, 0, rows)).softmax(1).to(self.outputs)
        component = torch.multinomial(posterior, 1, generator=noise).squeeze(1)
        lower = self.outputs[..., rows:, :]
        numbers = blocks.OF_OUTPUTS * lower[0].numel() + blocks.OF_IMAGES * levels[0].numel()
        parts = component.split(max(1, blocks.BYTES // (numbers * lower.element_size())))
        drawn = torch.cat([self.likelihood.sample(lower[part], noise) for part in parts])
        return torch.cat([levels[..., :rows, :].to(torch.uint8), drawn], -2)

    @override
    @torch.no_grad()
    def begin(self, train: Levels) -> None:
        # On the CPU: the same on every device.
        seen = train.images[torch.randperm(len(train.images))[:SEEN_AT_START].to(train.images.device)].cpu()
        if train.redrawn:
            seen = binarize(seen, train.native, torch.default_generator)
        points = seen.flatten(1) / (self.levels - 1)
        nearest = F.one_hot(_nearest_centre(points, len(self.logits)), len(self.logits))
        if self.fits_itself:
            # With one more pseudo-image no component excludes an image.
            self._maximise(seen.to(self.device), precise(nearest.to(self.device)), self.smoothing + 1)
            return
        odds = (1 - OF_ANY) * nearest / nearest.sum(0).clamp_min(1) + OF_ANY / len(seen)
        drawn = torch.multinomial(odds.T, DRAWN, replacement=True)  # [M, DRAWN]
        self._step_towards([seen[each].to(self.device) for each in drawn.T])

    @override
    @torch.no_grad()
    def fit(self, train: Tensor, validation: Tensor) -> bool:
        """Make one step of expectation maximisation.

        Returns:
            Whether the step before added less than `tolerance` to the mean log-likelihood.
        """
        if not self.fits_itself:
            return super().fit(train, validation)
        parts = train.split(self.images_at_once())
        joint = self._log_weights() + torch.cat([self._of_rows(part, 0, self.shape[1]) for part in parts])
        evidence = joint.logsumexp(1, keepdim=True)
        self._maximise(train, joint.sub_(evidence).exp_(), self.smoothing)
        reached = evidence.mean().to(self.reached)
        gain = (reached - self.reached).item()
        self.reached.copy_(reached)
        return gain < self.tolerance

    def _log_weights(self) -> Tensor:
        """Return log w, [M] in float64."""
        return precise(self.logits).log_softmax(0)

    def _of_rows(self, levels: Tensor, first: int, last: int, score: Score | None = None) -> Tensor:
        """Return log p_m of the pixels in the rows first .. last - 1, [B, M] in float64.

        Row after row, and with a gradient each is computed again: memory is that of one row.

        Args:
            levels: images [B, C, H, W].
            first: a row.
            last: the row after the last one.
            score: what of the likelihood is computed; None is its log-mass.
        """
        # Of K images or more it is cheaper to score each level once, and to look it up.
        cheaper = self.fits_itself or self.levels <= len(levels)
        looked_up = score is None and self.likelihood.channels_factorise and cheaper
        score = score or self.likelihood.log_mass

        def of_row(outputs: Tensor, levels: Tensor) -> Tensor:
            if looked_up:
                return _looked_up(precise(self.likelihood.log_pmf(outputs)).flatten(1).T, levels)
            return precise(score(outputs.unsqueeze(1), levels)).T

        again: Score = partial(checkpoint, of_row, use_reentrant=False, preserve_rng_state=False)
        scored = again if torch.is_grad_enabled() else of_row
        total = precise(self.logits.new_zeros(len(levels), len(self.logits)))
        for row in range(first, last):
            total = total + scored(self.outputs[..., row : row + 1, :], levels[..., row : row + 1, :])
        return total

    def _maximise(self, levels: Tensor, responsibilities: Tensor, smoothing: float) -> None:
        """Set weights and outputs to the best for images that belong to components in parts.

        Args:
            levels: images [N, C, H, W].
            responsibilities: how far an image belongs to a component, float64 [N, M].
            smoothing: pseudo-images of each component.
        """
        images, masses = len(levels), responsibilities.sum(0)
        self.logits.copy_((masses / images).clamp_min(torch.finfo(masses.dtype).tiny).log())
        pseudo = smoothing + LITTLE
        for row in range(self.shape[1]):
            counts = self._counts(levels[..., row : row + 1, :], responsibilities)  # [M, K, C, 1, W]
            of_all = (counts.sum(0) + 1 / self.levels) / (images + 1)
            shares = (counts + pseudo * of_all) / (masses + pseudo).view(-1, 1, 1, 1, 1)
            outputs = self.likelihood.outputs_of(shares)
            assert outputs is not None
            self.outputs[..., row : row + 1, :] = outputs.to(self.outputs)

    def _counts(self, levels: Tensor, responsibilities: Tensor) -> Tensor:
        """Return how many images of each component have each level, [M, K, ...], of levels [N, ...]."""
        size = self.levels * levels[0].numel()
        table = responsibilities.new_zeros(size, responsibilities.shape[1]).requires_grad_()
        with torch.enable_grad():
            total = (_looked_up(table, levels) * responsibilities).sum()
        # The slope by a number of the table is how often it is looked up.
        counts: Tensor = torch.autograd.grad(total, table)[0]
        return counts.T.reshape(-1, self.levels, *levels.shape[1:])

    def _step_towards(self, images: Sequence[Tensor]) -> None:
        """Take a few short steps that make images likely, of which each batch has one of each component."""
        for step in STEPS:
            outputs = self.outputs.detach().requires_grad_()
            slope = torch.zeros_like(outputs)
            for each in images:
                with torch.enable_grad():
                    log_mass = self.likelihood.log_mass(outputs, each).sum()
                slope += torch.autograd.grad(log_mass, outputs)[0]
            self.outputs.add_(slope.sign(), alpha=step)


def _looked_up(table: Tensor, levels: Tensor) -> Tensor:
    """Return what a table [K*D, M], levels slowest, says of levels [B, ...], summed over pixels: [B, M]."""
    flat = levels.flatten(1).to(table.device, torch.int64)
    places = flat * flat.shape[1] + torch.arange(flat.shape[1], device=table.device)
    return F.embedding_bag(places, table, mode="sum")


def _nearest_centre(points: Tensor, count: int) -> Tensor:
    """Return which centre is nearest to each of the points [N, D]: [N], 0 .. count - 1.

    Each centre is a point that is drawn in proportion to the squared distance from the centres before.
    """
    least = points.new_full((len(points),), math.inf)
    nearest = torch.zeros(len(points), dtype=torch.int64)
    for index in range(count):
        odds = torch.ones_like(least) if index == 0 else least + LITTLE  # all are 0 where images are the same
        centre = points[torch.multinomial(odds, 1)]
        distance = (points - centre).square().sum(1)
        nearest[distance < least] = index
        least = torch.minimum(least, distance)
    return nearest
