"""The contract of every model in conf/model: it learns, scores, draws, and is stored as its weights."""

from __future__ import annotations

import itertools
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor

from conftest import CONF
from vae_likelihoods.cells.build import assembled, build
from vae_likelihoods.datasets.quantise import Levels
from vae_likelihoods.models.base import DirectModel, Model
from vae_likelihoods.precision import dtype_of
from vae_likelihoods.seeding import generator, seeded

MODELS = sorted(path.stem for path in (CONF / "model").glob("*.yaml"))
WITH_LATENTS = {"from_means", "ppca", "vae"}
DIRECT = [name for name in MODELS if name not in WITH_LATENTS]
SHAPES = [(1, 2, 2), (3, 1, 2)]
# Small, so that a test takes no time.
SMALLER: dict[str, dict[str, Any]] = {
    "made": {"hidden": [6]},
    "mixture": {"components": 2},
    "pixelcnn": {"maps": 4, "layers": 2},
}


def plain(group: str, name: str) -> dict[str, Any]:
    return OmegaConf.to_container(OmegaConf.load(CONF / group / f"{name}.yaml"))  # type: ignore[return-value]


def model_of(
    name: str, levels: int, shape: tuple[int, int, int], precision: str = "float32", head: str = "categorical"
) -> Model:
    likelihood = plain("likelihood", "bernoulli" if name == "from_means" else head)
    with seeded(0, "weights"):
        return assembled(
            {**plain("model", name), **SMALLER.get(name, {})},
            dtype_of(precision),
            levels=levels,
            shape=shape,
            likelihood=lambda: build("likelihood", likelihood, levels=levels, channels=shape[0]),
            network={**plain("network", "mlp"), "hidden": [5]},
            latent_dim=1,
        )


def images_of(levels: int, shape: tuple[int, int, int], count: int = 50) -> Tensor:
    noise = generator(1, "images")
    return torch.randint(levels, (count, *shape), dtype=torch.uint8, generator=noise)


def all_images(levels: int, shape: tuple[int, int, int]) -> Tensor:
    pixels = torch.tensor(list(itertools.product(range(levels), repeat=torch.Size(shape).numel())))
    return pixels.view(-1, *shape).to(torch.uint8)


def fitted(model: Model, images: Tensor) -> Model:
    """Return the model after its start and, if it fits itself, two passes."""
    with seeded(0, "begin"), torch.no_grad():
        model.begin(Levels(images, None, model.levels, model.levels))
        for _ in range(2 if model.fits_itself else 0):
            model.fit(images, images[:10])
    return model.eval()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("levels", [2, 3])
@pytest.mark.parametrize("name", MODELS)
def test_an_exact_model_sums_to_one_over_all_images(
    name: str, levels: int, shape: tuple[int, int, int]
) -> None:
    if name == "from_means" and levels != 2:
        pytest.skip("starts at the means of binary pixels")
    model = fitted(model_of(name, levels, shape, "float64"), images_of(levels, shape))
    assert model.exact == isinstance(model, DirectModel)
    every = all_images(levels, shape)
    with torch.no_grad():
        distortion, rate = model.parts(every, generator(0, "z"), nullcontext)
    total = (-(distortion + rate)).exp().sum()
    if model.exact:
        torch.testing.assert_close(total, torch.ones_like(total), rtol=1e-5, atol=1e-5)
        assert not rate.any()
    else:
        with torch.no_grad():  # a bound in expectation
            draws = [model.parts(every, generator(seed, "z"), nullcontext) for seed in range(200)]
        mean = torch.stack([-(d + r) for d, r in draws]).mean(0)
        assert mean.exp().sum() < 1.02


@pytest.mark.parametrize("name", MODELS)
def test_draws_are_levels_and_come_from_the_generator_alone(name: str) -> None:
    model = fitted(model_of(name, 2, (1, 2, 2)), images_of(2, (1, 2, 2)))
    with torch.no_grad():
        first, again, other = (model.draw(40, generator(seed, "draw")) for seed in (0, 0, 1))
        shown = model.preview(3, generator(0, "show"))
        rebuilt = model.reconstruct(first[:5], generator(0, "rebuilt"))
    model.require_levels(first)
    assert (first.dtype, first.shape) == (torch.uint8, (40, 1, 2, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert (shown.shape, rebuilt.shape) == ((3, 1, 2, 2), (5, 1, 2, 2))
    assert ((shown >= 0) & (shown <= 1)).all()


@pytest.mark.parametrize("name", MODELS)
def test_weights_are_all_that_a_model_learned(name: str) -> None:
    images = images_of(2, (1, 2, 2))
    model = fitted(model_of(name, 2, (1, 2, 2)), images)
    other = model_of(name, 2, (1, 2, 2))
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        scores = [each.eval().parts(images, generator(0, "z"), nullcontext) for each in (model, other)]
    assert torch.equal(torch.stack(scores[0]), torch.stack(scores[1]))
    assert model.parameter_count > 0
    assert (model.dtype, model.device.type) == (torch.float32, "cpu")


@pytest.mark.parametrize("rows", [0, 1, 2])
@pytest.mark.parametrize("name", DIRECT)
def test_the_lower_rows_have_their_conditional_probability(name: str, rows: int) -> None:
    """p(lower | upper) is p(x) over what all images with these upper rows have."""
    shape = (1, 2, 2)
    model = fitted(model_of(name, 2, shape, "float64"), images_of(2, shape))
    assert isinstance(model, DirectModel)
    every = all_images(2, shape)
    with torch.no_grad():
        whole, lower = model.log_mass(every).exp(), model.log_mass(every, rows).exp()
    upper = every[:, :, :rows].flatten(1).long()
    same = (upper[:, None] == upper[None]).all(-1).double()  # images with the same upper rows
    torch.testing.assert_close(lower, whole / (same @ whole), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("rows", [0, 1])
@pytest.mark.parametrize("name", DIRECT)
def test_completions_keep_the_rows_above_and_follow_the_pmf(name: str, rows: int) -> None:
    from scipy.stats import chisquare

    shape, count = (1, 2, 2), 4000
    model = fitted(model_of(name, 2, shape, "float64"), images_of(2, shape))
    assert isinstance(model, DirectModel)
    every = all_images(2, shape)
    given = every[5]  # 0 1 above
    with torch.no_grad():
        drawn = model.complete(given.expand(count, *shape), rows, generator(0, "complete"))
        below = model.log_mass(every, rows).exp()
    assert torch.equal(drawn[..., :rows, :], given[..., :rows, :].expand(count, 1, rows, 2))
    possible = (every[..., :rows, :] == given[..., :rows, :]).flatten(1).all(1)
    seen = (drawn.flatten(1)[:, None] == every[possible].flatten(1)[None]).all(-1).sum(0)
    expected = below[possible] / below[possible].sum() * count
    assert chisquare(seen.numpy(), expected.numpy()).pvalue > 1e-4
