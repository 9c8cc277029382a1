"""A VAE whose decoder starts at the mean image of the data."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from typing_extensions import override

from vae_likelihoods.datasets.quantise import Levels
from vae_likelihoods.errors import require
from vae_likelihoods.likelihoods.base import Likelihood
from vae_likelihoods.models.vae import VAE
from vae_likelihoods.networks.base import Networks
from vae_likelihoods.precision import precise

CLIP = 1e-3  # means are clipped to [CLIP, 1 - CLIP]: a pixel that is never on would need a bias of -inf


@runtime_checkable
class HasMean(Protocol):
    """A likelihood that can compute the outputs with a given mean."""

    def outputs_for(self, mean: Tensor) -> Tensor:
        """Return outputs for means in (0, 1), [C, H, W]."""


class FromMeans(VAE):
    """A VAE whose decoder's last bias is set to the means of the train pixels.

    The code of Burda et al. (2016, https://github.com/yburda/iwae, `get_train_bias_np`) starts like this; the
    paper does not mention it. Arguments as of `VAE`.

    Raises:
        SettingError: the likelihood cannot compute the outputs with a given mean, or the decoder does not end
            in an affine layer with a bias for every pixel.
    """

    def __init__(self, networks: Networks, likelihood: Likelihood, latent_dim: int) -> None:
        super().__init__(networks, likelihood, latent_dim)
        has_outputs = isinstance(likelihood, HasMean)
        reason = "cannot compute outputs from a mean, which a model that starts at means needs; bernoulli can"
        require(has_outputs, "likelihood", type(likelihood).__name__, reason)
        last = [module for module in self.decoder.modules() if list(module.parameters(recurse=False))][-1]
        reason = "must end in an affine layer, like those of mlp, tanh_mlp and linear, to start at means"
        require(isinstance(last, nn.Linear), "networks", f"a decoder with {type(last).__name__} last", reason)

    @override
    @torch.no_grad()
    def begin(self, train: Levels) -> None:
        means = pixel_means(train).clamp(CLIP, 1 - CLIP)
        assert isinstance(self.likelihood, HasMean)
        *_, last = (module for module in self.decoder.modules() if isinstance(module, nn.Linear))
        last.bias.copy_(self.likelihood.outputs_for(means.to(last.bias)).flatten())


def pixel_means(train: Levels) -> Tensor:
    """Return the mean of every pixel, float64 [C, H, W] in [0, 1]; if pixels are drawn, over all draws."""
    top_level = (train.native if train.redrawn else train.levels) - 1
    return precise(train.images.sum(0, dtype=torch.int64)) / (len(train.images) * top_level)
