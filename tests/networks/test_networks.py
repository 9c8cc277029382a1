"""Properties of every YAML in conf/network, and the settings that networks refuse."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from vae_likelihoods.cells.build import build
from vae_likelihoods.errors import SettingError
from vae_likelihoods.networks.auto import auto
from vae_likelihoods.networks.base import Networks, Shape
from vae_likelihoods.networks.conv import conv
from vae_likelihoods.networks.linear import linear
from vae_likelihoods.networks.mlp import mlp
from vae_likelihoods.networks.resnet import resnet
from vae_likelihoods.networks.tanh_mlp import tanh_mlp

NETWORKS = sorted((Path(__file__).parents[2] / "conf" / "network").glob("*.yaml"))
SHAPES: list[Shape] = [(1, 8, 8), (1, 28, 28), (3, 32, 32), (1, 7, 9), (1, 4, 4)]
LATENTS, OUTPUTS_PER_CHANNEL, BATCH = 3, 2, 5

every_network = pytest.mark.parametrize("path", NETWORKS, ids=lambda path: path.stem)
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "x".join(map(str, shape)))


def networks_of(path: Path, shape: Shape, latent_dim: int = LATENTS) -> Networks:
    node = OmegaConf.to_container(OmegaConf.load(path))
    networks: Networks = build(
        "network", node, shape=shape, latent_dim=latent_dim, output_channels=OUTPUTS_PER_CHANNEL * shape[0]
    )
    return networks


def points(shape: Shape, count: int = BATCH) -> torch.Tensor:
    return torch.rand((count, *shape), generator=torch.Generator().manual_seed(0))


def test_the_family_is_not_empty() -> None:
    assert {path.stem for path in NETWORKS} >= {"mlp", "conv", "linear"}


@every_network
@every_shape
def test_output_shapes(path: Path, shape: Shape) -> None:
    encoder, decoder = networks_of(path, shape)
    channels, height, width = shape
    assert encoder(points(shape)).shape == (BATCH, 2 * LATENTS)
    outputs = decoder(torch.randn(BATCH, LATENTS))
    assert outputs.shape == (BATCH, OUTPUTS_PER_CHANNEL * channels, height, width)


@every_network
@every_shape
def test_gradients_reach_every_parameter(path: Path, shape: Shape) -> None:
    torch.manual_seed(0)
    encoder, decoder = networks_of(path, shape)
    mean, _ = (encoded := encoder(points(shape))).chunk(2, -1)
    (decoder(mean).square().sum() + encoded.square().sum()).backward()
    for half in (encoder, decoder):
        for name, parameter in half.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            assert (parameter.grad != 0).any(), name


@every_network
def test_images_of_a_batch_do_not_see_each_other(path: Path) -> None:
    encoder, decoder = networks_of(path, (1, 8, 8))
    x, z = points((1, 8, 8)), torch.randn(BATCH, LATENTS)
    for half, batch in ((encoder, x), (decoder, z)):
        alone = torch.cat([half(row[None]) for row in batch])
        torch.testing.assert_close(half(batch), alone)


@every_network
def test_one_latent_is_enough(path: Path) -> None:
    encoder, decoder = networks_of(path, (1, 8, 8), latent_dim=1)
    assert decoder(encoder(points((1, 8, 8)))[:, :1]).shape == (BATCH, OUTPUTS_PER_CHANNEL, 8, 8)


@pytest.mark.parametrize("build_mlp", [mlp, tanh_mlp])
@pytest.mark.parametrize("hidden", [[], [0], [16, -1]])
def test_mlp_refuses_widths(build_mlp: Callable[..., Networks], hidden: list[int]) -> None:
    with pytest.raises(SettingError, match=r"hidden=") as caught:
        build_mlp((1, 8, 8), 2, 1, hidden=hidden)
    assert caught.value.value == hidden


@pytest.mark.parametrize(
    ("widths", "hidden", "key"),
    [([], 8, "widths"), ([4, 0], 8, "widths"), ([4], 0, "hidden")],
)
def test_conv_refuses_widths(widths: list[int], hidden: int, key: str) -> None:
    with pytest.raises(SettingError) as caught:
        conv((1, 8, 8), 2, 1, widths=widths, hidden=hidden)
    assert caught.value.key == key


def test_conv_halves_once_per_width_and_survives_more_halvings_than_the_image_has() -> None:
    encoder, decoder = conv((1, 7, 9), 2, 1, widths=[2, 3, 4, 5, 6], hidden=4)
    convolutions = [layer for layer in encoder.modules() if isinstance(layer, nn.Conv2d)]
    assert [layer.out_channels for layer in convolutions] == [2, 3, 4, 5, 6]
    assert encoder(points((1, 7, 9))).shape == (BATCH, 4)
    assert decoder(torch.randn(BATCH, 2)).shape == (BATCH, 1, 7, 9)


@pytest.mark.parametrize("build_conv", [partial(conv, widths=[8, 16], hidden=16), resnet])
@pytest.mark.parametrize("size", [(16, 16), (15, 18), (33, 21)])
def test_a_constant_latent_map_draws_no_checkerboard(
    build_conv: Callable[..., Networks], size: tuple
) -> None:
    """Away from the border, all pixels of a decoder see the same: every weight counts for each of them alike.

    With transposed convolutions, pixels at odd places get other weights than those at even ones.
    """
    torch.manual_seed(0)
    decoder = build_conv((1, *size), 2, 1).decoder
    for layer in decoder.modules():
        if isinstance(layer, nn.Conv2d):  # no borders, so that a constant stays one
            layer.padding_mode, layer._reversed_padding_repeated_twice = "replicate", [1, 1, 1, 1]
            if layer.kernel_size == (1, 1):
                layer._reversed_padding_repeated_twice = [0, 0, 0, 0]
    first = next(place for place, layer in enumerate(decoder) if isinstance(layer, nn.Unflatten))
    maps = decoder[first](torch.zeros(1, math.prod(decoder[first].unflattened_size)))
    constant = torch.randn(1, maps.shape[1], 1, 1).expand_as(maps)
    drawn = decoder[first + 1 :](constant)
    assert drawn.shape[-2:] == size
    torch.testing.assert_close(drawn, drawn[..., :1, :1].expand_as(drawn))


@pytest.mark.parametrize("settings", [{"widths": []}, {"widths": [8, 0]}, {"widths": "8"}, {"depth": 0}])
def test_resnet_refuses_what_cannot_be(settings: dict) -> None:
    with pytest.raises(SettingError) as caught:
        resnet((1, 8, 8), 2, 1, **settings)
    assert caught.value.key in settings


def test_resnet_refuses_more_halvings_than_the_image_has() -> None:
    resnet((1, 4, 4), 2, 1, widths=[2, 2, 2])
    with pytest.raises(
        SettingError, match=r"^widths=.* are 4, and images of 4 x 4 cannot be halved so often"
    ):
        resnet((1, 4, 4), 2, 1, widths=[2, 2, 2, 2])


def test_auto_takes_the_network_that_suits_the_images() -> None:
    for shape, kind in (((1, 28, 28), nn.Linear), ((1, 33, 33), nn.Conv2d), ((3, 32, 32), nn.Conv2d)):
        decoder = auto(shape, 2, 1, hidden=[8]).decoder
        assert any(isinstance(layer, kind) for layer in list(decoder.modules())[-3:])
    with pytest.raises(SettingError, match="hidden="):
        auto((3, 32, 32), 2, 1, hidden=[])


def test_mlp_decoder_mirrors_the_encoder() -> None:
    halves = mlp((1, 2, 3), 2, 5, hidden=[7, 4])
    sizes = [[(m.in_features, m.out_features) for m in half if isinstance(m, nn.Linear)] for half in halves]
    assert sizes == [[(6, 7), (7, 4), (4, 4)], [(2, 4), (4, 7), (7, 30)]]


def test_tanh_mlp_is_784_200_200_50_and_begins_as_glorot_and_bengio_say() -> None:
    torch.manual_seed(0)
    encoder, decoder = tanh_mlp((1, 28, 28), 50, 1, hidden=[200, 200])
    kinds = [[type(module).__name__ for module in half] for half in (encoder, decoder)]
    hidden = ["Linear", "Tanh", "Linear", "Tanh", "Linear"]
    assert kinds == [["Flatten", *hidden], [*hidden, "Unflatten"]]
    sizes = [(784, 200), (200, 200), (200, 50), (50, 200), (200, 200), (200, 784)]  # heads of 50 each
    layers = [module for half in (encoder, decoder) for module in half if isinstance(module, nn.Linear)]
    for layer, (inputs, outputs) in zip(layers, sizes, strict=True):
        bound = math.sqrt(6 / (inputs + outputs))
        assert layer.in_features == inputs
        assert not layer.bias.any()
        assert layer.weight.abs().max().item() == pytest.approx(bound, rel=1e-2)
        assert layer.weight.abs().max().item() <= bound
        assert layer.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.02)
    assert [layers[2].out_features, layers[5].out_features] == [100, 784]


def test_linear_is_affine_both_ways() -> None:
    for half, batch in zip(linear((1, 2, 3), 2, 1), (points((1, 2, 3), 2), torch.randn(2, 2)), strict=True):
        origin = half(torch.zeros_like(batch[:1]))
        combined = half(2 * batch[:1] - 3 * batch[1:]) - origin
        expected = 2 * (half(batch[:1]) - origin) - 3 * (half(batch[1:]) - origin)
        torch.testing.assert_close(combined, expected)
