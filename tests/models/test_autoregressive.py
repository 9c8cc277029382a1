"""MADE and PixelCNN: no pixel sees itself or a later one, and p(x) is what the likelihood makes of that.

Each head is a YAML of conf/likelihood. What a model claims is compared with all images of a small alphabet.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from scipy import stats
from torch import Tensor

from vae_likelihoods.cells.build import build
from vae_likelihoods.errors import SettingError
from vae_likelihoods.likelihoods.base import Likelihood
from vae_likelihoods.likelihoods.bernoulli import Bernoulli
from vae_likelihoods.models.autoregressive import Autoregressive
from vae_likelihoods.models.made import MADE
from vae_likelihoods.models.pixelcnn import PixelCNN
from vae_likelihoods.precision import default_dtype
from vae_likelihoods.seeding import generator, seeded

CONF = Path(__file__).parents[2] / "conf"
Shape = tuple[int, int, int]
Maker = Callable[[Likelihood, Shape], Autoregressive]

MODELS: dict[str, Maker] = {
    "made": lambda likelihood, shape: MADE(likelihood, shape, hidden=[40, 50], direct=False),
    "narrow made": lambda likelihood, shape: MADE(likelihood, shape, hidden=[3], direct=True),
    "pixelcnn": lambda likelihood, shape: PixelCNN(likelihood, shape, 5, 3, kernel=3, first_kernel=5),
    "wide pixelcnn": lambda likelihood, shape: PixelCNN(likelihood, shape, 4, 1, kernel=5, first_kernel=3),
}
every_model = pytest.mark.parametrize("name", MODELS)

HEADS: list[tuple[str, int, int, dict[str, Any]]] = [
    ("bernoulli", 2, 1, {}),
    ("categorical", 2, 1, {}),
    ("categorical", 3, 2, {}),
    ("beta_binomial", 17, 1, {}),
    ("logistic_mixture", 17, 1, {}),
    ("logistic_mixture", 256, 3, {"coupled": True}),
    ("logistic_mixture", 256, 3, {"coupled": False}),
]
every_head = pytest.mark.parametrize("head", HEADS, ids=lambda head: "-".join(map(str, head)))


def likelihood_of(name: str, levels: int, channels: int, settings: dict[str, Any]) -> Likelihood:
    node: Any = OmegaConf.to_container(OmegaConf.load(CONF / "likelihood" / f"{name}.yaml"))
    likelihood: Likelihood = build("likelihood", node | settings, levels=levels, channels=channels)
    return likelihood


def model_of(name: str, likelihood: Likelihood, height: int, width: int) -> Autoregressive:
    """Return a model in float64 whose weights are random and not small, so that pixels matter."""
    with seeded(0, "weights"), default_dtype(torch.float64):
        model = MODELS[name](likelihood.double(), (likelihood.channels, height, width))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.3)
    return model


def random_images(model: Autoregressive, count: int) -> Tensor:
    return torch.randint(model.levels, (count, *model.shape), generator=generator(1), dtype=torch.uint8)


def all_images(model: Autoregressive) -> Tensor:
    """Every image there is, the last pixel of the last channel fastest."""
    numbers = math.prod(model.shape)
    levels = list(itertools.product(range(model.levels), repeat=numbers))
    return torch.tensor(levels, dtype=torch.uint8).unflatten(1, model.shape)


def influence(model: Autoregressive, images: Tensor) -> Tensor:
    """Return the largest slope at what is seen of pixel j of the outputs at pixel i, [i, j].

    The outputs of a pixel are added up with random weights, so that none hides another.
    """
    seen = model.seen(images).requires_grad_()
    outputs = model.outputs_of(seen)
    weights = torch.randn(outputs.shape, generator=generator(2), dtype=outputs.dtype)
    of_pixels = (outputs * weights).sum((0, 1)).flatten()
    slopes = [torch.autograd.grad(each, seen, retain_graph=True)[0] for each in of_pixels]
    return torch.stack([slope.abs().amax((0, 1)).flatten() for slope in slopes])


def p_value(counts: Tensor, expected: Tensor) -> float:
    """Return that of a chi-square test; cells of which few draws are expected are made one."""
    order = expected.argsort()
    few = 1 + int((expected[order].cumsum(0) < 5).sum())
    cells = [torch.cat([x[order][:few].sum(0, keepdim=True), x[order][few:]]) for x in (counts, expected)]
    return float(stats.chisquare(*cells, sum_check=False).pvalue)


@every_model
@every_head
def test_a_pixel_depends_on_those_before_alone(name: str, head: tuple) -> None:
    model = model_of(name, likelihood_of(*head), 3, 4)
    slopes = influence(model, random_images(model, 4))
    assert slopes.shape == (12, 12)
    assert (slopes.triu() == 0).all()
    assert (slopes.amax(1)[3:] > 0).all()  # of the first few, all ReLUs may be off


@every_model
@every_head
def test_what_follows_changes_no_bit_of_the_outputs(name: str, head: tuple) -> None:
    model = model_of(name, likelihood_of(*head), 3, 4)
    images = random_images(model, 3)
    outputs = model(images).flatten(2)
    assert outputs.shape == (3, model.likelihood.output_channels, 12)
    for pixel in range(12):
        changed = images.flatten(2).clone()
        changed[..., pixel:] = model.levels - 1 - changed[..., pixel:]
        of_changed = model(changed.view_as(images)).flatten(2)
        assert torch.equal(of_changed[..., : pixel + 1], outputs[..., : pixel + 1])
        assert pixel == 11 or not torch.equal(of_changed, outputs)


@pytest.mark.parametrize("name", ["narrow made", "pixelcnn"])
def test_no_pixel_before_is_in_a_blind_spot(name: str) -> None:
    model = model_of(name, Bernoulli(2, 1), 5, 5)
    slopes = influence(model, random_images(model, 8))
    below = torch.ones(25, 25).tril(-1) > 0
    assert (slopes[below] > 0).all()
    assert (slopes[~below] == 0).all()


@pytest.mark.parametrize(("kernel", "first_kernel", "layers"), [(3, 3, 1), (5, 3, 2), (3, 7, 2)])
def test_reach_of_a_pixelcnn(kernel: int, first_kernel: int, layers: int) -> None:
    """Left, up, and to both sides in the rows above: all within the sum of the layers' reaches, no more."""
    with seeded(0, "weights"), default_dtype(torch.float64):
        model = PixelCNN(Bernoulli(2, 1), (1, 10, 15), 4, layers, kernel, first_kernel)
    slopes = influence(model, random_images(model, 2))[7 * 15 + 7].view(10, 15)
    reach = first_kernel // 2 + layers * (kernel // 2)
    near = torch.zeros(10, 15, dtype=torch.bool)
    near[7 - reach : 7, 7 - reach : 8 + reach] = True
    near[7, 7 - reach : 7] = True
    assert torch.equal(slopes > 0, near)


def test_a_pixelcnn_knows_where_a_pixel_is() -> None:
    """On an image of one level and far from its borders convolutions alone would say the same everywhere."""
    with seeded(0, "weights"), default_dtype(torch.float64):
        model = PixelCNN(Bernoulli(2, 1), (1, 9, 9), 16, 1, kernel=3, first_kernel=3)
    images = torch.zeros(1, 1, 9, 9, dtype=torch.uint8)
    inner = model(images)[0, 0, 3:, 3:-3]
    assert len(inner.unique()) == inner.numel() == 18
    with torch.no_grad():
        model.of_rows.zero_()
    inner = model(images)[0, 0, 3:, 3:-3]
    torch.testing.assert_close(inner, inner[:1].expand_as(inner))
    assert len(inner[0].unique()) == 3
    with torch.no_grad():
        model.of_columns.zero_()
    inner = model(images)[0, 0, 3:, 3:-3]
    torch.testing.assert_close(inner, inner[:1, :1].expand_as(inner))


@every_model
@pytest.mark.parametrize(
    ("head", "height", "width"),
    [
        (("bernoulli", 2, 1, {}), 2, 2),
        (("categorical", 2, 1, {}), 3, 2),
        (("categorical", 3, 1, {}), 2, 2),
        (("logistic_mixture", 3, 1, {}), 2, 2),
        (("beta_binomial", 5, 1, {}), 1, 3),
        (("logistic_mixture", 2, 3, {"coupled": True}), 1, 2),
        (("logistic_mixture", 2, 3, {"coupled": False}), 2, 1),
        (("categorical", 7, 1, {}), 1, 1),
    ],
    ids=str,
)
def test_masses_of_all_images_sum_to_1(name: str, head: tuple, height: int, width: int) -> None:
    model = model_of(name, likelihood_of(*head), height, width)
    masses = model.log_mass(all_images(model)).exp()
    assert masses.sum().item() == pytest.approx(1, abs=1e-5)
    assert masses.max() > 1.1 * masses.mean()  # of even masses the sum is 1 whatever the order


@every_model
@pytest.mark.parametrize("rows", [0, 1, 2])
def test_the_mass_of_the_lower_rows_is_that_given_the_upper_ones(name: str, rows: int) -> None:
    model = model_of(name, likelihood_of("categorical", 3, 1, {}), 2, 2)
    images = all_images(model)
    log_mass = model.log_mass(images)
    upper = images[..., :rows, :].flatten(1)
    alike = (upper[:, None] == upper).all(-1)
    marginal = log_mass.expand(len(images), -1).masked_fill(~alike, -math.inf).logsumexp(1)
    torch.testing.assert_close(model.log_mass(images, rows), log_mass - marginal, rtol=0, atol=1e-9)
    torch.testing.assert_close(model.scores(images, rows), model.log_mass(images, rows))


@every_model
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 7), (7, 1), (8, 9)])
@pytest.mark.parametrize("channels", [1, 3])
def test_outputs_at_a_pixel_are_those_of_a_whole_pass(
    name: str, height: int, width: int, channels: int
) -> None:
    model = model_of(name, likelihood_of("logistic_mixture", 5, channels, {}), height, width)
    images = random_images(model, 2)
    outputs = model(images)
    for row, column in itertools.product(range(height), range(width)):
        here = outputs[..., row : row + 1, column : column + 1]
        torch.testing.assert_close(model.outputs_at(images, row, column), here, rtol=1e-12, atol=1e-12)


@every_model
@pytest.mark.parametrize("rows", [0, 1, 2, 4])
def test_completing_keeps_the_given_rows_and_reads_no_more(name: str, rows: int) -> None:
    model = model_of(name, likelihood_of("beta_binomial", 17, 2, {}), 4, 3)
    images = random_images(model, 50)
    before = images.clone()
    completed = model.complete(images, rows, generator(0, "complete"))
    assert completed.dtype == torch.uint8
    assert torch.equal(images, before)
    assert torch.equal(completed[..., :rows, :], images[..., :rows, :])
    assert rows == 4 or not torch.equal(completed, images)
    others = images.clone()
    others[..., rows:, :] = 16 - others[..., rows:, :]
    assert torch.equal(model.complete(others, rows, generator(0, "complete")), completed)
    assert not completed.requires_grad


@every_model
@pytest.mark.parametrize(("rows", "given"), [(0, [0, 0, 0, 0]), (1, [1, 0, 0, 0]), (1, [0, 1, 0, 0])])
def test_draws_follow_the_masses(name: str, rows: int, given: list[int]) -> None:
    """Of whole images, and of lower halves given the upper one."""
    model = model_of(name, Bernoulli(2, 1), 2, 2)
    start = torch.tensor(given, dtype=torch.uint8).view(1, 1, 2, 2).expand(10_000, -1, -1, -1)
    drawn = model.complete(start, rows, generator(0, "draws"))
    images = all_images(model)
    images = images[(images[..., :rows, :] == start[:1, ..., :rows, :]).all((1, 2, 3))]
    counts = torch.stack([(drawn == image).all((1, 2, 3)).sum() for image in images])
    expected = len(drawn) * model.log_mass(images, rows).exp().detach()
    assert p_value(counts, expected) > 1e-4
    assert p_value(counts, expected.mean().expand(len(images))) < 1e-4  # so it finds another pmf wrong


@every_model
@pytest.mark.parametrize("coupled", [True, False])
def test_draws_in_colour_follow_the_masses(name: str, coupled: bool) -> None:
    model = model_of(name, likelihood_of("logistic_mixture", 2, 3, {"coupled": coupled}), 1, 2)
    drawn = model.draw(5000, generator(0, "draws"))
    counts = (drawn.flatten(1).long() @ (2 ** torch.arange(5, -1, -1))).bincount(minlength=64)
    expected = len(drawn) * model.log_mass(all_images(model)).exp().detach()
    assert p_value(counts, expected) > 1e-4
    assert p_value(counts, expected.flip(0)) < 1e-4


@every_model
@every_head
def test_gradients_reach_every_parameter(name: str, head: tuple) -> None:
    model = model_of(name, likelihood_of(*head), 4, 5)
    (-model.log_prob(random_images(model, 20)).mean()).backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        assert (parameter.grad != 0).any(), key


CHAINS = {"along the rows": 1, "down the columns": 5}


def planted(count: int, lag: int, noise: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return binary images of 4 x 5 pixels, and their log-probabilities.

    A pixel equals the one `lag` before it with probability 0.9; those that have none before are even.
    """
    uniform = torch.rand(count, 20, generator=noise)
    pixels = (uniform < 0.5).long()
    for pixel in range(lag, 20):
        pixels[:, pixel] = pixels[:, pixel - lag] ^ (uniform[:, pixel] < 0.1)
    same = (pixels[:, lag:] == pixels[:, :-lag]).double()
    log_mass = lag * math.log(0.5) + (same * math.log(0.9) + (1 - same) * math.log(0.1)).sum(1)
    return pixels.view(-1, 1, 4, 5).to(torch.uint8), log_mass


LEARNERS: dict[str, Maker] = {
    "made": lambda likelihood, shape: MADE(likelihood, shape, hidden=[200], direct=False),
    "narrow made": lambda likelihood, shape: MADE(likelihood, shape, hidden=[3], direct=True),
    "pixelcnn": lambda likelihood, shape: PixelCNN(likelihood, shape, 6, 3, kernel=3, first_kernel=3),
}


@pytest.mark.parametrize("name", LEARNERS)
@pytest.mark.parametrize("lag", CHAINS.values(), ids=CHAINS.keys())
def test_a_planted_chain_is_learned_to_its_entropy(name: str, lag: int) -> None:
    """The mean of log q(x) - log p(x) over draws from the true q is at least 0, but for which were drawn.

    What is above is what the model has not learned: 5 nats or more, if nothing of the chain.
    """
    with seeded(0, "weights"):
        model = LEARNERS[name](Bernoulli(2, 1), (1, 4, 5))
    steps, noise = 200, generator(0, "chain")
    adam = torch.optim.Adam(model.parameters(), lr=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    for _ in range(steps):
        adam.zero_grad()
        (-model.log_prob(planted(100, lag, noise)[0]).mean()).backward()
        adam.step()
        schedule.step()
    images, log_mass = planted(4000, lag, generator(1, "chain"))
    with torch.no_grad():
        surplus = log_mass - model.scores(images).double()
    error = surplus.std().item() / len(surplus) ** 0.5
    print(surplus.mean().item(), error)
    assert -5 * error < surplus.mean().item() < 0.3


@every_model
def test_first_pixel_and_rows_of_a_model_of_one_pixel_have_constant_outputs(name: str) -> None:
    model = model_of(name, likelihood_of("categorical", 7, 1, {}), 1, 1)
    outputs = model(all_images(model))
    assert torch.equal(outputs, outputs[:1].expand_as(outputs))
    drawn = model.draw(5, generator(0))
    assert drawn.shape == (5, 1, 1, 1)


def test_networks_see_points_and_what_is_black() -> None:
    grey = model_of("made", likelihood_of("beta_binomial", 5, 2, {}), 1, 2)
    seen = grey.seen(torch.tensor([[[[0, 1]], [[4, 0]]]], dtype=torch.uint8))
    assert seen.tolist() == [[[[-0.5, -0.25]], [[0.5, -0.5]], [[1.0, 0.0]], [[0.0, 1.0]]]]
    binary = model_of("made", Bernoulli(2, 1), 1, 2)
    assert binary.seen(torch.tensor([[[[0, 1]]]], dtype=torch.uint8)).tolist() == [[[[-0.5, 0.5]]]]


def test_parameters_behind_the_masks_of_made_are_not_counted() -> None:
    """Those that count are the ones that a gradient reaches."""
    for name in ("made", "narrow made"):
        model = model_of(name, Bernoulli(2, 1), 3, 3)
        for part in range(20):  # of weights, since a unit may be off for all images
            torch.manual_seed(part)
            with torch.no_grad():
                torch.nn.utils.vector_to_parameters(
                    torch.randn(sum(each.numel() for each in model.parameters()), dtype=torch.float64),
                    model.parameters(),
                )
            model(random_images(model, 50)).square().sum().backward()
        reached = sum(int((parameter.grad != 0).sum()) for parameter in model.parameters())
        assert model.parameter_count == reached < sum(each.numel() for each in model.parameters())
    pixelcnn = model_of("pixelcnn", Bernoulli(2, 1), 3, 3)
    assert pixelcnn.parameter_count == sum(parameter.numel() for parameter in pixelcnn.parameters())


def test_more_hidden_units_than_pixels_let_each_pixel_see_all_before_it() -> None:
    """By masks alone: the product of their matrices says how many paths lead from an input to an output."""
    model = MADE(Bernoulli(2, 1), (1, 4, 5), hidden=[19, 25], direct=False)
    paths = model.last.mask.double()
    for layer in reversed(model.hidden):
        paths = paths @ layer.mask.double()
    assert torch.equal(paths > 0, torch.ones(20, 20).tril(-1) > 0)


@pytest.mark.parametrize("name", ["made", "pixelcnn"])
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 9, 4)], ids=str)
@pytest.mark.parametrize("levels", [2, 256])
def test_the_yaml_builds_a_model_of_any_images(name: str, shape: Shape, levels: int) -> None:
    node: Any = OmegaConf.to_container(OmegaConf.load(CONF / "model" / f"{name}.yaml"))
    likelihood = likelihood_of("logistic_mixture", levels, shape[0], {})
    with seeded(0, "weights"):
        model = build("model", node, likelihood=likelihood, shape=shape)
    images = random_images(model, 2)
    assert model.dtype == torch.float32
    assert model.exact
    scores = model.log_mass(images)
    assert scores.shape == (2,)
    assert scores.isfinite().all()
    with torch.autocast("cpu", torch.bfloat16):
        rounded = model.log_mass(images)
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, scores, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("name", ["made", "pixelcnn"])
def test_of_large_images_fewer_are_scored_at_once(name: str) -> None:
    small, large = (MODELS[name](Bernoulli(2, 1), (1, size, size)) for size in (4, 40))
    assert small.images_at_once() == 256
    assert 1 <= large.images_at_once() <= 256
    if name == "pixelcnn":
        huge = MODELS[name](Bernoulli(2, 3), (3, 600, 600))
        assert 1 <= huge.images_at_once() < 20


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"hidden": []}, "hidden"),
        ({"hidden": [5, 0]}, "hidden"),
        ({"hidden": 5}, "hidden"),
        ({"hidden": "5"}, "hidden"),
        ({"direct": None}, "direct"),
    ],
)
def test_made_refuses_what_cannot_be(settings: dict, key: str) -> None:
    with pytest.raises(SettingError, match=rf"^{key}=") as caught:
        MADE(Bernoulli(2, 1), (1, 2, 2), **{"hidden": [5], "direct": False} | settings)
    assert caught.value.key == key


@pytest.mark.parametrize("value", [0, -1, 2, 4, 3.0, None, True])
@pytest.mark.parametrize("key", ["maps", "layers", "kernel", "first_kernel"])
def test_pixelcnn_refuses_what_cannot_be(key: str, value: object) -> None:
    settings: dict[str, Any] = {"maps": 3, "layers": 1, "kernel": 3, "first_kernel": 3, key: value}
    if key in ("maps", "layers") and value in (2, 4) and type(value) is int:
        assert PixelCNN(Bernoulli(2, 1), (1, 2, 2), **settings)
        return
    with pytest.raises(SettingError, match=rf"^{key}=") as caught:
        PixelCNN(Bernoulli(2, 1), (1, 2, 2), **settings)
    assert caught.value.key == key
