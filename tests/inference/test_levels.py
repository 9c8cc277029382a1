"""What scores or trains a model refuses images that are no levels, and says what to do."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from training_settings import training
from vae_likelihoods.errors import SettingError
from vae_likelihoods.inference.ais import log_joint_of
from vae_likelihoods.inference.bounds import importance_samples, importance_weighted
from vae_likelihoods.inference.posteriors import optimised, refitted
from vae_likelihoods.likelihoods.beta_binomial import BetaBinomial
from vae_likelihoods.models.vae import VAE
from vae_likelihoods.networks.mlp import mlp
from vae_likelihoods.seeding import generator

SHAPE, LATENTS, IMAGES = (1, 3, 4), 2, 6


def model_of(levels: int) -> VAE:
    likelihood = BetaBinomial(levels, SHAPE[0])
    return VAE(mlp(SHAPE, LATENTS, likelihood.output_channels, hidden=[8]), likelihood, LATENTS)


def images_of(levels: int) -> Tensor:
    drawn = torch.randint(levels, (IMAGES, *SHAPE), generator=generator(0, "levels"), dtype=torch.uint8)
    drawn[0, 0, 0, 0], drawn[0, 0, 0, 1] = 0, levels - 1
    return drawn


WRONG: dict[str, tuple[Callable[[Tensor], Any], str]] = {
    "floats to 1": (lambda x: x / 16, "float32 from 0 to 1: .*(images * 16).round().byte()"),
    "between levels": (lambda x: x + 0.5, "float32 from 0.5 to 16.5: .*if they are levels"),
    "levels as floats": (lambda x: x.double(), "float64 from 0 to 16: .*images.round().byte()"),
    "not a number": (lambda x: x * math.nan, "float32 from nan to nan"),
    "too high": (lambda x: x + 1, "uint8 from 1 to 17: .*quantise them to 17 levels first"),
    "far too high": (lambda x: x.int() + 300, "int32 from 300 to 316"),
    "negative": (lambda x: x.int() - 300, "int32 from -300 to -284"),
    "booleans": (lambda x: x > 0, "bool: integers 0 .. 16"),
    "complex": (lambda x: x.to(torch.complex64), "complex64: integers"),
    "an array": (lambda x: x.numpy(), "ndarray: .*torch.from_numpy(images)"),
    "one image": (lambda x: x[0], "shape [1, 3, 4]: .*for one image use images[None]"),
    "colour": (lambda x: x.expand(-1, 3, -1, -1), "shape [6, 3, 3, 4]: .*[B, 1, H, W]"),
    "no images": (lambda x: x[:0], "shape [0, 1, 3, 4]"),
}  # fmt: skip


@pytest.mark.parametrize("which", WRONG)
def test_what_is_no_level_is_refused(which: str) -> None:
    change, reason = WRONG[which]
    pattern = ".*".join(map(re.escape, reason.split(".*")))
    with pytest.raises(SettingError, match=f"^images={pattern}") as error:
        model_of(17).require_levels(change(images_of(17)))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("levels", [2, 17, 256])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int64])
def test_levels_of_any_integer_type_are_taken(levels: int, dtype: torch.dtype) -> None:
    model_of(levels).require_levels(images_of(levels).to(dtype))


@pytest.mark.parametrize("levels", [17, 256])
@pytest.mark.parametrize("way", ["bound", "samples", "joint", "optimised", "refitted", "validation"])
def test_every_way_to_score_refuses_images_in_0_to_1(way: str, levels: int) -> None:
    """As levels they are all nearly black, and would get a far better score."""
    model, good = model_of(levels), images_of(levels)
    wrong, q = good / (levels - 1), Normal(torch.zeros(IMAGES, LATENTS), 1.0)
    noise = generator(0, "noise")
    ways: dict[str, Callable[[], Any]] = {
        "bound": lambda: importance_weighted(model, wrong, q, [4], noise, 100),
        "samples": lambda: next(importance_samples(model, wrong, q, 4, noise, 100)),
        "joint": lambda: log_joint_of(model, wrong),
        "optimised": lambda: optimised(model, wrong, q, 1, 0.1, 1, noise),
        "refitted": lambda: refitted(model, wrong, good, training(epochs=1), 1e-3, 0),
        "validation": lambda: refitted(model, good, wrong, training(epochs=1), 1e-3, 0),
    }
    with pytest.raises(SettingError, match=rf"images=float32 from 0 to 1: .*images \* {levels - 1}"):
        ways[way]()
