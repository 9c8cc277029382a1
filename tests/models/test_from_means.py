"""A model that starts at the mean image, against means computed by hand."""

from __future__ import annotations

import math

import pytest
import torch

from families import gaussian
from vae_likelihoods.datasets.quantise import Levels
from vae_likelihoods.errors import SettingError
from vae_likelihoods.likelihoods.base import Likelihood
from vae_likelihoods.likelihoods.bernoulli import Bernoulli
from vae_likelihoods.models.from_means import FromMeans
from vae_likelihoods.models.vae import VAE
from vae_likelihoods.networks.base import Networks
from vae_likelihoods.networks.conv import conv
from vae_likelihoods.networks.linear import linear
from vae_likelihoods.networks.mlp import mlp
from vae_likelihoods.networks.tanh_mlp import tanh_mlp

SHAPE = (1, 2, 2)
# Never on, always on, on in one of four images, and on with probability 60/255 on average.
NATIVE = torch.tensor([[0, 255, 255, 60], [0, 255, 0, 120], [0, 255, 0, 0], [0, 255, 0, 60]])


def train(redrawn: bool) -> Levels:
    images = NATIVE.reshape(4, *SHAPE).to(torch.uint8)
    labels = torch.zeros(4, dtype=torch.int64)
    return Levels(images if redrawn else images // 128, labels, 2, 256, redrawn)


@pytest.mark.parametrize(
    "networks",
    [tanh_mlp(SHAPE, 2, 1, hidden=[3]), mlp(SHAPE, 2, 1, hidden=[3]), linear(SHAPE, 2, 1)],
    ids=["tanh_mlp", "mlp", "linear"],
)
@pytest.mark.parametrize(("redrawn", "last"), [(True, 60 / 255), (False, 1e-3)])
def test_without_z_the_decoder_gives_the_pixel_means(networks: Networks, redrawn: bool, last: float) -> None:
    """Means of the native levels where pixels are drawn, so of all draws; kept within 0.001 and 0.999."""
    model = FromMeans(networks, Bernoulli(2, 1), 2)
    model.begin(train(redrawn))
    *_, layer = (module for module in networks.decoder if isinstance(module, torch.nn.Linear))
    with torch.no_grad():
        layer.weight.zero_()
        mean = model.likelihood.mean(model.decode(torch.randn(3, 2)))
    expected = torch.tensor([1e-3, 1 - 1e-3, 0.25, last]).reshape(1, *SHAPE)
    torch.testing.assert_close(mean, expected.expand(3, *SHAPE))
    assert layer.bias.requires_grad
    assert layer.bias[2].item() == pytest.approx(math.log(0.25 / 0.75))


def test_a_plain_model_begins_as_it_was_made() -> None:
    model = VAE(mlp(SHAPE, 2, 1, hidden=[3]), Bernoulli(2, 1), 2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.begin(train(redrawn=True))
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize(
    ("networks", "likelihood", "message"),
    [
        (
            mlp(SHAPE, 2, 1, hidden=[3]),
            gaussian(2, 1),
            "^likelihood=LocationScale: cannot compute outputs from a mean.*bernoulli can",
        ),
        (
            conv((1, 8, 8), 2, 1, widths=[2], hidden=3),
            Bernoulli(2, 1),
            "^networks=a decoder with Conv2d last: .*affine layer",
        ),
    ],
)
def test_what_has_no_such_bias_is_refused(networks: Networks, likelihood: Likelihood, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        FromMeans(networks, likelihood, 2)
