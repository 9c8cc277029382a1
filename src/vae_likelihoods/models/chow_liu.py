"""The best tree over pixels: every pixel is given one other, whose level it depends on."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import one_hot
from typing_extensions import override

from vae_likelihoods.errors import require, require_count
from vae_likelihoods.likelihoods.base import number
from vae_likelihoods.likelihoods.tensors import look_up
from vae_likelihoods.models.base import DirectModel
from vae_likelihoods.models.independent import draws, log_shares, tally
from vae_likelihoods.precision import WITHOUT_FLOAT64, precise

STRENGTHS = (math.inf, *(4.0**power for power in range(10, -3, -1)))
"""Of the shrinkage, in images: those that validation may choose from; of equal ones the first."""
BYTES = 1 << 29  # that scoring some images takes
NUMBERS = 1 << 22  # of the largest tensor when images are drawn
ONES = 1 << 24  # numbers of the indicators of some images; 64 MiB
COLUMNS = 512  # of the joint counts that are held at once


class ChowLiu(DirectModel):
    """p(x) = p(x_root) prod_d p(x_d | bin of x_parent(d)) over the D = C H W pixels and channels.

    The tree has the largest sum of mutual information over its edges (Chow and Liu 1968,
    https://doi.org/10.1109/TIT.1968.1054142), estimated on B = min(K, coarse_levels) bins of equal width. A
    level given each level of a parent is too rare to be counted, so a parent enters by its bin.

    With n the counts in train, a conditional is shrunk twice, each time to ``(n p + s q) / (n + s)`` from the
    shares p in train towards q, where n images have the parent's bin: that of the child's bin towards its
    marginal; then that of the child's level towards what the first says of its bin, times its marginal
    within the bin. The marginals are those of `Independent`. Each s is one number for all pixels, that of the
    largest likelihood of the validation split; s = infinity ignores the parent.

    Given the upper rows, what is below them is scored and drawn exactly, whichever way the edges cross: the
    log-probability of given pixels is passed up the tree (Pearl 1988, chapter 4). Uniform until it is fitted.

    Args:
        shape: C, H, W of the images.
        levels: K.
        coarse_levels: the most bins.
        smoothing: of the marginals, see `Independent`; above 0, as no image may be impossible.

    Raises:
        SettingError: fewer than two bins, or a smoothing that is not above 0.
    """

    fits_itself = True
    parent: Tensor  # [D], -1 for a root
    log_table: Tensor  # of a level given the bin of the parent, [D, B, K]; a root is given bin 0
    bin_of: Tensor  # of each level, [K]
    edges: Tensor  # the first level of each bin, and K, [B + 1]

    def __init__(
        self, shape: tuple[int, int, int], levels: int, coarse_levels: int, smoothing: float
    ) -> None:
        super().__init__(levels, shape)
        require_count("coarse_levels", coarse_levels, 2)
        possible = 0 < number(smoothing) < math.inf
        require(possible, "smoothing", smoothing, "must be a number above 0")
        self.smoothing, self.bins = smoothing, min(levels, coarse_levels)
        size = math.prod(shape)
        self.register_buffer("parent", torch.full((size,), -1))
        self.register_buffer("log_table", torch.full((size, self.bins, levels), -math.log(levels)))
        self.register_buffer("bin_of", torch.arange(levels) * self.bins // levels, persistent=False)
        edges = -(torch.arange(self.bins + 1) * -levels // self.bins)  # rounded up
        self.register_buffer("edges", edges, persistent=False)

    @property
    @override
    def parameter_count(self) -> int:
        """K - 1 free probabilities of the root, and of every other pixel given each bin of its parent."""
        return (1 + (len(self.parent) - 1) * self.bins) * (self.levels - 1)

    @override
    def images_at_once(self) -> int:
        """Return how many images are scored at once: those whose messages, and what they are made of, fit."""
        return max(1, BYTES // (8 * len(self.parent) * (8 * self.bins + 4)))

    @override
    def fit(self, train: Tensor, validation: Tensor) -> bool:
        self.parent.copy_(spanning_tree(mutual_information(train, self.bin_of, self.bins)))
        table = self._shrunk(self._counts(train), self._counts(validation))
        self.log_table.copy_(table.log().to(self.dtype))
        return True

    @override
    def log_mass(self, levels: Tensor, rows: int = 0) -> Tensor:
        pixels = levels.flatten(1).T.long()
        total = _wide(look_up(self.log_table.flatten(), self._places(pixels))).sum(0)
        if rows:
            total -= self._upward(pixels, self._given(rows))[1]
        return total.clamp_max(0).to(self.log_table)  # the sums may round to more than 0

    @override
    def complete(self, levels: Tensor, rows: int, noise: torch.Generator) -> Tensor:
        given = self._given(rows)
        pixels = levels.flatten(1).T.long() * given[:, None]
        below, _ = self._upward(pixels, given)
        inside = self._by_bins()
        of_bin, of_level = inside.logsumexp(-1).flatten(0, 1), inside.softmax(-1).flatten(0, 2)
        for layer in self._layers():
            for nodes in layer[~given[layer]].split(max(1, NUMBERS // (len(levels) * self.levels))):
                contexts = self._contexts(pixels, nodes)
                logs = of_bin[contexts] + below[nodes]  # [nodes, N, bins]
                bins = draws(logs.softmax(-1), 1, noise).squeeze(-1)
                steps = draws(of_level[contexts * self.bins + bins], 1, noise).squeeze(-1)
                pixels[nodes] = self.edges[bins] + steps
        return pixels.T.to(torch.uint8).reshape(levels.shape)

    def _given(self, rows: int) -> Tensor:
        """Return which pixels stand in the first rows, bool [D]."""
        given = torch.zeros(self.shape, dtype=torch.bool, device=self.device)
        given[:, :rows] = True
        return given.flatten()

    def _layers(self) -> list[Tensor]:
        """Return the roots, their children, the children of these, and so on."""
        parent = self.parent.cpu()
        layers, layer = [], (parent < 0).nonzero().flatten()
        while len(layer):
            layers.append(layer.to(self.device))
            layer = torch.isin(parent, layer).nonzero().flatten()
        return layers

    def _contexts(self, pixels: Tensor, nodes: Tensor) -> Tensor:
        """Return d B + b of some nodes d, where b is the bin of the parent in pixels [D, N]: [nodes, N]."""
        parent = self.parent[nodes]
        bins = look_up(self.bin_of, pixels[parent.clamp_min(0)])
        return self.bins * nodes[:, None] + bins * (parent >= 0)[:, None]

    def _places(self, pixels: Tensor) -> Tensor:
        """Return where in the table the pixels [D, N] are, [D, N]."""
        nodes = torch.arange(len(pixels), device=pixels.device)
        return self._contexts(pixels, nodes) * self.levels + pixels

    def _by_bins(self) -> Tensor:
        """Return the log-table with its levels by bins, [D, B, bins, width]; a narrow bin ends with -inf."""
        first, end = self.edges[:-1, None], self.edges[1:, None]
        levels = first + torch.arange(int((end - first).max()), device=self.device)
        table = _wide(self.log_table)[..., levels.clamp_max(self.levels - 1)]
        return table.masked_fill(levels >= end, -math.inf)

    def _upward(self, pixels: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
        """Return log p of the given pixels below d, given each bin of d, [D, N, bins]; and of all given, [N].

        Args:
            pixels: levels [D, N].
            given: which are, [D]; the others are summed out.
        """
        bins = look_up(self.bin_of, pixels).unsqueeze(-1)
        of_level = _wide(self.log_table).transpose(1, 2).flatten(0, 1)  # [D * K, bins of the parent]
        of_bin = self._by_bins().logsumexp(-1).exp().transpose(1, 2)  # [D, bins, bins of the parent]
        rows = len(pixels) + 1  # the last is for what roots say
        below = of_bin.new_zeros((rows, *bins.shape[1:-1], self.bins))
        reached = torch.cat([given, given.new_zeros(1)])  # those that are given, or above a given one

        def seen(nodes: Tensor) -> Tensor:
            places = nodes[:, None] * self.levels + pixels[nodes]
            own = of_level.index_select(0, places.flatten()).view(*places.shape, self.bins)
            return own + below[nodes].gather(-1, bins[nodes])

        def summed(nodes: Tensor) -> Tensor:
            inside = below[nodes]
            top = inside.amax(-1, keepdim=True)
            return ((inside - top).exp() @ of_bin[nodes]).log() + top

        for layer in reversed(self._layers()):
            messages = (seen, layer[given[layer]]), (summed, layer[reached[layer] & ~given[layer]])
            for message, nodes in messages:
                parent = self.parent[nodes] % rows
                below.index_add_(0, parent, message(nodes))
                reached[parent] = True
        return below[:-1], below[-1, :, 0]

    def _counts(self, images: Tensor) -> Tensor:
        """Return how many images have each level given each bin of the parent, float64 [D, B, K]."""
        counts = tally(images, self.log_table.numel(), lambda pixels: self._places(pixels.T))
        return precise(counts).view(self.log_table.shape)

    def _shrunk(self, train: Tensor, validation: Tensor) -> Tensor:
        """Return p(level | bin of the parent), float64 [D, B, K], for the counts of both splits."""
        marginal = log_shares(train.sum(1), self.smoothing).exp().unsqueeze(1)  # [D, 1, K]
        member = precise(one_hot(self.bin_of, self.bins))  # [K, B]
        of_bin = marginal @ member
        coarse = shrunk(train @ member, of_bin, validation @ member)  # [D, B, bins]
        table = shrunk(train, coarse @ member.T * (marginal / (of_bin @ member.T)), validation)
        return torch.where((self.parent < 0).to(table.device)[:, None, None], marginal, table)


def shrunk(train: Tensor, towards: Tensor, validation: Tensor) -> Tensor:
    """Return the shares in train, shrunk as validation likes it best, [..., K].

    Args:
        train: counts of levels [..., K].
        towards: pmfs that broadcast with them.
        validation: counts, like `train`.
    """
    total = train.sum(-1, keepdim=True)
    shares = train / total.clamp_min(1)

    def by(strength: float) -> Tensor:
        return torch.lerp(towards.expand_as(shares), shares, total / (total + strength))

    return by(max(STRENGTHS, key=lambda strength: torch.xlogy(validation, by(strength)).sum().item()))


def mutual_information(images: Tensor, bin_of: Tensor, bins: int) -> Tensor:
    """Return the mutual information of every two pixels' bins in nats, float64 [D, D]; H(d) on the diagonal.

    Pairs are counted by products of indicators in float32, exactly up to 2^24 images.

    Args:
        images: levels [N, C, H, W].
        bin_of: the bin of each level, [K].
        bins: B.
    """
    pixels, member = images.flatten(1), one_hot(bin_of, bins).float()
    (count, size), at_once = pixels.shape, COLUMNS // bins
    joint = torch.zeros((size, size), dtype=torch.float64)  # entropies of pairs, of each two once
    for first in range(0, size, at_once):
        rows, rest = (
            slice(first, first + at_once),
            slice(first, None),
        )  # pairs the other way round are the same
        width = len(joint[rows]) * bins
        counts = member.new_zeros((width, (size - first) * bins))
        for part in pixels[:, rest].split(max(1, ONES // (size * bins))):
            ones = member.index_select(0, part.flatten().int()).view(len(part), -1)
            counts.addmm_(ones[:, :width].T, ones)
        entropies = torch.special.entr(precise(counts) / count)
        joint[rows, rest] = entropies.view(-1, bins, size - first, bins).sum((1, 3)).cpu()
    joint = joint.triu() + joint.triu(1).T
    alone = joint.diagonal()
    return alone + alone[:, None] - joint


def spanning_tree(weights: Tensor) -> Tensor:
    """Return the tree of the largest total weight, as the parent of each node, int64 [D]; node 0 is the root.

    By the algorithm of Prim (1957), in D steps.

    Args:
        weights: of each edge, symmetric [D, D].
    """
    parent = torch.zeros(len(weights), dtype=torch.int64)
    parent[0] = -1
    reach = weights[0].clone()  # the best edge from the tree to each node outside
    inside = torch.zeros(len(weights), dtype=torch.bool)
    inside[0] = True
    for _ in range(len(weights) - 1):
        new = int(reach.masked_fill(inside, -math.inf).argmax())
        inside[new] = True
        nearer = ~inside & (weights[new] > reach)
        parent[nearer] = new
        reach = torch.where(nearer, weights[new], reach)
    return parent


def _wide(x: Tensor) -> Tensor:
    """Return x in float64, or in float32 if its device has no float64."""
    return x.float() if x.device.type in WITHOUT_FLOAT64 else x.double()
