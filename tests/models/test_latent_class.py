"""Mixtures of factorised distributions: brute force over all images, theorems of EM, planted mixtures."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import special, stats
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F

import compositions
from families import learned_gaussian
from peak_memory import PeakMemory
from training_settings import training
from vae_likelihoods.datasets.quantise import Levels
from vae_likelihoods.errors import SettingError
from vae_likelihoods.likelihoods.base import Likelihood, UnsupportedLevels
from vae_likelihoods.likelihoods.categorical import Categorical
from vae_likelihoods.models.latent_class import LatentClass
from vae_likelihoods.objectives.maximum_likelihood import MaximumLikelihood
from vae_likelihoods.seeding import generator, seeded
from vae_likelihoods.training.trainer import Trainer

Shape = tuple[int, int, int]
CLOSED = [("bernoulli", 2), ("binomial", 2), ("binomial", 5), ("categorical", 2), ("categorical", 5)]
closed = pytest.mark.parametrize(("name", "levels"), CLOSED)


def mixture(
    likelihood: Likelihood,
    shape: Shape,
    components: int,
    smoothing: float = 0.0,
    tolerance: float = 1e-9,
    scale: float | None = None,
) -> LatentClass:
    """Return a model in float64, with random weights and outputs if a `scale` of these is given."""
    model = LatentClass(likelihood, shape, components, smoothing, tolerance).double()
    if scale is not None:
        noise = generator(0, "weights")
        with torch.no_grad():
            for numbers in (model.outputs, model.logits):
                numbers.copy_(scale * torch.randn(numbers.shape, generator=noise, dtype=torch.float64))
    return model


def every_image(levels: int, shape: Shape) -> Tensor:
    images = list(itertools.product(range(levels), repeat=math.prod(shape)))
    return torch.tensor(images, dtype=torch.uint8).view(-1, *shape)


def images_of(levels: int, shape: Shape, count: int, seed: int = 0) -> Tensor:
    """Images of a few kinds: a pixel's level is near that of its kind."""
    drawn = generator(seed, "images")
    kinds = torch.randint(0, levels, (3, *shape), generator=drawn)
    noise = torch.randint(0, levels, (count, *shape), generator=drawn)
    kept = torch.rand((count, *shape), generator=drawn) < 0.7
    return torch.where(kept, kinds[torch.randint(0, 3, (count,), generator=drawn)], noise).to(torch.uint8)


def train_split(images: Tensor, levels: int) -> Levels:
    return Levels(images, None, levels, levels)


def begun(model: LatentClass, images: Tensor, seed: int = 0) -> LatentClass:
    with seeded(seed, "begin"):
        model.begin(train_split(images, model.levels))
    return model


def mean_log_mass(model: LatentClass, images: Tensor) -> float:
    with torch.no_grad():
        return model.scores(images).mean().item()


TINY = [
    ("bernoulli", 2, (1, 2, 2)),
    ("bernoulli", 2, (3, 2, 1)),
    ("binomial", 3, (1, 2, 2)),
    ("binomial", 3, (3, 1, 2)),
    ("categorical", 2, (1, 2, 2)),
    ("categorical", 3, (3, 2, 1)),
    ("gaussian_learned", 3, (1, 2, 2)),
    ("logistic_mixture", 2, (3, 2, 1)),  # its channels are coupled
    ("logistic_mixture", 3, (3, 1, 1)),
]
tiny = pytest.mark.parametrize(("name", "levels", "shape"), TINY)


@tiny
def test_all_images_together_have_the_probability_one(name: str, levels: int, shape: Shape) -> None:
    model = mixture(compositions.build(name, levels, shape[0]), shape, 3, scale=1.5)
    with torch.no_grad():
        total = model.scores(every_image(levels, shape)).exp().sum().item()
    assert total == pytest.approx(1, abs=1e-5)


@tiny
def test_log_mass_is_that_of_the_definition(name: str, levels: int, shape: Shape) -> None:
    likelihood = compositions.build(name, levels, shape[0])
    model = mixture(likelihood, shape, 3, scale=1.5)
    images = every_image(levels, shape)
    with torch.no_grad():
        of_components = torch.stack([likelihood.log_mass(outputs[None], images) for outputs in model.outputs])
        expected = torch.logsumexp(model.logits.log_softmax(0)[:, None] + of_components, 0)
        whole = model.log_mass(images)
        alone = torch.cat([model.log_mass(image[None]) for image in images[:40]])
    torch.testing.assert_close(whole, expected, rtol=1e-6, atol=1e-6)
    # one image is scored in another way than K of them
    torch.testing.assert_close(alone, expected[:40], rtol=1e-6, atol=1e-6)


@tiny
def test_lower_rows_given_the_upper_ones_are_the_ratio_of_sums(name: str, levels: int, shape: Shape) -> None:
    model = mixture(compositions.build(name, levels, shape[0]), shape, 3, scale=1.5)
    images = every_image(levels, shape)
    with torch.no_grad():
        joint = model.log_mass(images).exp()
        for rows in range(shape[1] + 1):
            same = (images[:, None, :, :rows] == images[None, :, :, :rows]).flatten(2).all(2)
            expected = (joint / (same.double() @ joint)).log()
            torch.testing.assert_close(model.log_mass(images, rows), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rows", [0, 1])
@tiny
def test_completions_follow_the_pmf(name: str, levels: int, shape: Shape, rows: int) -> None:
    model = mixture(compositions.build(name, levels, shape[0]), shape, 3, scale=1.5)
    images = every_image(levels, shape)
    given = images[len(images) // 2].expand(4000, *shape)
    drawn = model.complete(given, rows, generator(0, "complete"))
    assert drawn.dtype == torch.uint8
    assert torch.equal(drawn[..., :rows, :], given[..., :rows, :])
    possible = (images[..., :rows, :] == given[:1, :, :rows]).flatten(1).all(1)
    with torch.no_grad():
        expected = 4000 * model.log_mass(images[possible], rows).exp()
    counts = (drawn.flatten(1)[:, None] == images[possible].flatten(1)).all(-1).sum(0).double()
    assert counts.sum() == 4000
    rare = expected < 5
    observed, awaited = (
        torch.cat([each[~rare], each[rare].sum()[None]]) if rare.any() else each
        for each in (counts, expected)
    )
    if len(observed) == 1 or awaited[-1] < 1:
        observed, awaited = observed[:-1], awaited[:-1]
    if len(observed) > 1:
        awaited = awaited / awaited.sum() * observed.sum()
        assert stats.chisquare(observed.numpy(), awaited.numpy()).pvalue > 1e-4


def test_an_image_that_is_given_as_a_whole_is_kept() -> None:
    images = images_of(5, (3, 2, 2), 7)
    for name in compositions.CONFIGS.keys() - {"bernoulli"}:
        model = mixture(compositions.build(name, 5, 3), (3, 2, 2), 2, scale=1.0)
        assert torch.equal(model.complete(images, 2, generator(0, "complete")), images)
        with torch.no_grad():
            assert model.log_mass(images, 2).abs().max() < 1e-9


def cases() -> list[tuple[str, int]]:
    found = []
    for name, levels in itertools.product(compositions.CONFIGS, (2, 17)):
        try:
            compositions.build(name, levels)
        except UnsupportedLevels:
            continue
        found.append((name, levels))
    return found


@pytest.mark.parametrize(("name", "levels"), cases())
def test_any_likelihood_can_be_that_of_a_pixel(name: str, levels: int) -> None:
    """In float32, of images of one pixel; all levels are scored at once, and the first alone."""
    with seeded(0, "weights"):
        model = LatentClass(compositions.build(name, levels), (1, 1, 1), 3, 1.0, 1e-3)
        model.begin(train_split(images_of(levels, (1, 1, 1), 20), levels))
    images = torch.arange(levels, dtype=torch.uint8).view(-1, 1, 1, 1)
    log_mass = model.log_mass(images)
    assert log_mass.dtype == torch.float32
    assert log_mass.isfinite().all()
    assert log_mass.exp().sum().item() == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(model.log_mass(images[:1]), log_mass[:1], rtol=1e-5, atol=1e-5)
    drawn = model.draw(50, generator(0, "draw"))
    assert drawn.shape == (50, 1, 1, 1)
    model.require_levels(drawn)
    assert model.fits_itself == (name in {"bernoulli", "binomial", "categorical"})
    if not model.fits_itself:
        slopes = torch.autograd.grad(-model.log_prob(images).sum(), [model.outputs, model.logits])
        assert all(slope.isfinite().all() and (slope != 0).any() for slope in slopes)


@pytest.mark.parametrize("name", sorted(compositions.CONFIGS.keys() - {"bernoulli"}))
def test_log_pmf_is_the_log_mass_of_each_level(name: str) -> None:
    likelihood = compositions.build(name, 5, 2, **({"coupled": False} if name == "logistic_mixture" else {}))
    outputs = torch.randn(4, likelihood.output_channels, 3, 2, generator=generator(0, "outputs"))
    expected = [
        likelihood.pixel_log_mass(outputs, torch.full((1, 2, 3, 2), k, dtype=torch.uint8)) for k in range(5)
    ]
    torch.testing.assert_close(likelihood.log_pmf(outputs), torch.stack(expected, 1))


def test_log_pmf_of_more_levels_than_the_rank() -> None:
    likelihood = Categorical(17, 1, rank=4)
    outputs = torch.randn(4, 4, 3, 2, generator=generator(0, "outputs"))
    torch.testing.assert_close(likelihood.log_pmf(outputs).exp().sum(1), torch.ones(4, 1, 3, 2))
    assert likelihood.outputs_of(torch.full((17, 1, 1, 1), 1 / 17)) is None


@closed
def test_closed_outputs_have_the_largest_expected_log_mass(name: str, levels: int) -> None:
    """It is concave in the outputs, so they are where its slope is 0."""
    likelihood = compositions.build(name, levels, 2).double()
    logits = torch.randn(3, levels, 2, 4, 1, generator=generator(0, "shares"), dtype=torch.float64)
    shares = logits.softmax(1)
    outputs = likelihood.outputs_of(shares)
    assert outputs is not None
    assert outputs.shape == (3, likelihood.output_channels, 4, 1)
    outputs.requires_grad_()
    (slope,) = torch.autograd.grad((shares * likelihood.log_pmf(outputs)).sum(), outputs)
    assert slope.abs().max() < 1e-12


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@closed
def test_closed_outputs_of_a_single_level_leave_all_levels_possible(
    name: str, levels: int, dtype: torch.dtype
) -> None:
    likelihood = compositions.build(name, levels).to(dtype)
    outputs = likelihood.outputs_of(torch.eye(levels, dtype=dtype).view(levels, levels, 1, 1, 1))
    assert outputs is not None
    log_pmf = likelihood.log_pmf(outputs).view(levels, levels)
    assert log_pmf.isfinite().all()
    certain = log_pmf.diagonal() if name == "categorical" else log_pmf[[0, -1], [0, -1]]
    assert certain.abs().max() < 1e-5


def penalised(model: LatentClass, images: Tensor, smoothing: float) -> float:
    """What EM with pseudo-images raises: the log-likelihood, and the expected log-mass of these."""
    with torch.no_grad():
        shares = F.one_hot(images.long(), model.levels).movedim(-1, 1).double()
        pseudo = (shares.sum(0) + 1 / model.levels) / (len(images) + 1)
        expected = smoothing * (pseudo * model.likelihood.log_pmf(model.outputs)).sum().item()
        return model.scores(images).sum().item() + expected


@pytest.mark.parametrize("smoothing", [0.0, 2.0])
@closed
def test_no_pass_lowers_the_likelihood_of_train(name: str, levels: int, smoothing: float) -> None:
    """Without smoothing; with it, that of the images and the pseudo-images together."""
    images = images_of(levels, (2, 4, 3), 120)
    model = begun(mixture(compositions.build(name, levels, 2), (2, 4, 3), 4, smoothing), images)
    reached = [penalised(model, images, smoothing)]
    for _ in range(25):
        model.fit(images, images)
        reached.append(penalised(model, images, smoothing))
    gains = np.diff(reached)
    assert (gains > -1e-6).all()
    assert gains[0] > 1
    assert gains[0] > gains[-1]


def numpy_em(x: np.ndarray, weights: np.ndarray, on: np.ndarray, passes: int) -> tuple[np.ndarray, ...]:
    """EM of a mixture of Bernoullis (Bishop 2006, equations 9.55 to 9.60)."""
    for _ in range(passes):
        joint = np.log(weights) + x @ np.log(on).T + (1 - x) @ np.log1p(-on).T
        belongs = special.softmax(joint, 1)
        weights, on = belongs.mean(0), belongs.T @ x / belongs.sum(0)[:, None]
    return weights, on


@pytest.mark.parametrize("name", ["bernoulli", "binomial", "categorical"])
def test_passes_are_those_of_plain_numpy(name: str) -> None:
    images = images_of(2, (1, 4, 5), 300)
    model = begun(mixture(compositions.build(name, 2), (1, 4, 5), 3), images)
    with torch.no_grad():
        start = model.logits.softmax(0).numpy(), model.likelihood.mean(model.outputs).flatten(1).numpy()
    for _ in range(6):
        model.fit(images, images)
    weights, on = numpy_em(images.flatten(1).double().numpy(), *start, passes=6)
    with torch.no_grad():
        np.testing.assert_allclose(model.logits.softmax(0).numpy(), weights, atol=1e-6)
        np.testing.assert_allclose(model.likelihood.mean(model.outputs).flatten(1).numpy(), on, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("levels", [2, 17, 32])
def test_one_component_is_the_histogram_of_each_pixel(levels: int, dtype: torch.dtype) -> None:
    images = images_of(levels, (3, 3, 2), 150)
    model = begun(mixture(Categorical(levels, 3), (3, 3, 2), 1).to(dtype), images)
    model.fit(images, images)
    histograms = F.one_hot(images.long(), levels).double().mean(0).flatten(0, -2)
    entropy = stats.entropy(histograms.numpy(), axis=1).sum()
    assert -mean_log_mass(model, images) == pytest.approx(entropy, rel=1e-6)
    model.fit(images, images)
    assert model.fit(images, images)  # the pass before found nothing to change


@pytest.mark.parametrize("components", [2, 3])
def test_planted_bernoullis_are_found(components: int) -> None:
    drawn = generator(0, "planted")
    on = torch.rand((components, 1, 4, 5), generator=drawn) * 0.9 + 0.05
    weights = torch.tensor([0.5, 0.3, 0.2])[:components]
    kind = torch.multinomial(weights, 6000, replacement=True, generator=drawn)
    images = (torch.rand((6000, 1, 4, 5), generator=drawn) < on[kind]).to(torch.uint8)
    model = begun(mixture(compositions.build("bernoulli", 2), (1, 4, 5), components, tolerance=1e-7), images)
    assert any(model.fit(images, images) for _ in range(300))
    with torch.no_grad():
        found = model.likelihood.mean(model.outputs).flatten(1)
        shares = model.logits.softmax(0)
    planted, mine = linear_sum_assignment(torch.cdist(on.flatten(1).double(), found))
    assert (found[mine] - on.flatten(1)[planted]).abs().max() < 0.06
    assert (shares[mine] - (weights / weights.sum())[planted]).abs().max() < 0.03


def test_several_components_are_better_than_one() -> None:
    images = images_of(5, (1, 4, 4), 400)
    found = []
    for components in (1, 3):
        model = begun(mixture(compositions.build("categorical", 5), (1, 4, 4), components, 1.0, 1e-4), images)
        assert any(model.fit(images, images) for _ in range(100))
        found.append(mean_log_mass(model, images_of(5, (1, 4, 4), 400)))
    assert found[1] > found[0] + 3  # nats per image


def test_smoothing_keeps_a_level_that_train_has_not_possible() -> None:
    """A component of mass m gives it s / (K (N+1)) of m + s images."""
    images = torch.zeros((30, 1, 2, 2), dtype=torch.uint8)
    model = begun(mixture(Categorical(4, 1), (1, 2, 2), 1, smoothing=0.5), images)
    model.fit(images, images)
    with torch.no_grad():
        on = model.log_mass(torch.full((1, 1, 2, 2), 3, dtype=torch.uint8)).item()
    assert on == pytest.approx(4 * math.log(0.5 / (4 * 31) / 30.5))


@closed
def test_more_components_than_different_images_do_no_harm(name: str, levels: int) -> None:
    images = images_of(levels, (1, 2, 2), 2).repeat(5, 1, 1, 1)
    model = begun(mixture(compositions.build(name, levels), (1, 2, 2), 6), images)
    for _ in range(20):
        model.fit(images, images)
    assert all(number.isfinite().all() for number in model.state_dict().values())
    drawn = model.draw(40, generator(0, "draw"))
    if name != "binomial":  # which cannot be sure of a level between the ends
        assert (drawn.flatten(1)[:, None] == images.flatten(1)).all(-1).any(1).all()


@pytest.mark.parametrize("name", ["bernoulli", "gaussian_learned"])
def test_the_start_follows_from_the_seed_and_the_images(name: str) -> None:
    images = images_of(2, (1, 3, 3), 60)
    starts = [
        begun(mixture(compositions.build(name, 2), (1, 3, 3), 4), images, seed).outputs for seed in (0, 0, 1)
    ]
    assert torch.equal(starts[0], starts[1])
    assert not torch.equal(starts[0], starts[2])


@closed
def test_at_the_start_no_component_excludes_an_image(name: str, levels: int) -> None:
    """Though most have one image alone: each level has its share of one pseudo-image."""
    images = images_of(levels, (1, 3, 3), 30)
    model = begun(mixture(compositions.build(name, levels), (1, 3, 3), 20), images)
    least = 1 / (levels * 31) / 31
    assert model.likelihood.mean(model.outputs).min() >= least / 2
    if name != "binomial":
        assert model.likelihood.log_pmf(model.outputs).min() >= math.log(least)


@pytest.mark.parametrize(("count", "scored"), [(3, 3), (40, 5)])
def test_no_more_levels_are_scored_than_there_are(
    count: int, scored: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 40 images of 5 levels each level of each pixel is scored once, in 2 components."""
    likelihood, sizes = learned_gaussian(5, 1), []
    model = mixture(likelihood, (1, 3, 2), 2, scale=1.0)
    plain = likelihood._log_mass

    def watched(outputs: Tensor, k: Tensor) -> Tensor:
        sizes.append(outputs[..., 0, :, :, :].numel())
        return plain(outputs, k)

    monkeypatch.setattr(likelihood, "_log_mass", watched)
    with torch.no_grad():
        model.log_mass(images_of(5, (1, 3, 2), count))
    assert sum(sizes) == 2 * scored * 6


@pytest.mark.parametrize("name", ["bernoulli", "gaussian_learned"])
def test_images_that_are_drawn_anew_are_drawn_for_the_start(name: str) -> None:
    """Of grey images of two kinds: components are near the probabilities, within what is drawn."""
    native = torch.tensor([[0, 255, 20, 230], [255, 0, 230, 20]], dtype=torch.uint8).view(2, 1, 2, 2)
    train = Levels(native.repeat(100, 1, 1, 1), None, 2, 256, redrawn=True)
    model = mixture(compositions.build(name, 2), (1, 2, 2), 2)
    with seeded(0, "begin"):
        model.begin(train)
    with torch.no_grad():
        means = model.likelihood.mean(model.outputs).flatten(1)
    distances = torch.cdist(means, native.flatten(1).double() / 255)
    assert distances.min(0).values.max() < 0.5
    assert distances.min(0).indices.tolist() in ([0, 1], [1, 0])


def trainer_of(model: LatentClass, images: Tensor, rate: float, epochs: int) -> Trainer:
    adam = torch.optim.Adam(model.parameters(), lr=rate)
    settings = training(epochs=epochs, batch_size=40)
    return Trainer(model, MaximumLikelihood(), adam, settings, lambda epoch: images, images, 0)


@pytest.mark.parametrize("score", ["mass", "density"])
def test_without_closed_updates_an_optimiser_trains_it(score: str) -> None:
    """Three kinds of images: with three components it comes near the best of each kind."""
    levels, shape = 16, (1, 2, 8)
    drawn = generator(0, "kinds")
    kinds = 15 * torch.rand((3, *shape), generator=drawn)
    kind = torch.arange(240) % 3
    noisy = kinds[kind] + torch.randn((240, *shape), generator=drawn)
    images = noisy.round().clamp(0, 15).to(torch.uint8)
    model = LatentClass(learned_gaussian(levels, 1, trained_on=score), shape, 3, 1.0, 1e-3)
    assert model.trained_on == score
    begun(model, images)
    start = mean_log_mass(model, images)
    records = list(trainer_of(model, images, 0.1, 20).epochs())
    assert records[-1].train_loss < records[0].train_loss
    entropies = [
        stats.entropy(np.bincount(pixel, minlength=levels)) for pixel in images[::3].flatten(1).T.numpy()
    ]
    reached = mean_log_mass(model, images)
    assert reached > start + 5
    assert reached > -(sum(entropies) + math.log(3)) - 3
    assert model.summary()["scale"] == pytest.approx(1 / 16, rel=0.2)
    assert model.logits.softmax(0).tolist() == pytest.approx([1 / 3] * 3, abs=0.1)


def test_density_is_that_of_the_definition() -> None:
    likelihood = learned_gaussian(5, 3, trained_on="density").double()
    model = mixture(likelihood, (3, 2, 2), 3, scale=0.7)
    images = images_of(5, (3, 2, 2), 9)
    with torch.no_grad():
        each = torch.stack([likelihood.log_prob(outputs[None], images) for outputs in model.outputs])
        expected = torch.logsumexp(model.logits.log_softmax(0)[:, None] + each, 0)
        torch.testing.assert_close(model.log_prob(images), expected, rtol=1e-9, atol=1e-9)
        assert not torch.allclose(model.log_prob(images), model.log_mass(images), atol=0.1)


@pytest.mark.parametrize("count", [3, 20])
@pytest.mark.parametrize("channels", [1, 3])
def test_slopes_are_those_of_the_definition(channels: int, count: int) -> None:
    """Fewer images than K are scored in one way, more in another; coupled channels in the first."""
    shape = (channels, 2, 2)
    likelihood = compositions.build("logistic_mixture", 5, channels).double()
    model = mixture(likelihood, shape, 3, scale=0.7)
    images = images_of(5, shape, count)
    weights = [model.outputs, model.logits]
    mine = torch.autograd.grad(model.log_prob(images).sum(), weights)
    each = torch.stack([likelihood.log_mass(outputs[None], images) for outputs in model.outputs])
    expected = torch.logsumexp(model.logits.log_softmax(0)[:, None] + each, 0)
    torch.testing.assert_close(mine, torch.autograd.grad(expected.sum(), weights))


@pytest.mark.parametrize("gradient", [False, True], ids=["scores", "slopes"])
def test_memory_is_that_of_one_row(gradient: bool) -> None:
    """25 components, 40 images of 28 x 14, 9 outputs a pixel: all slopes at once would take 14 MB."""
    likelihood = compositions.build("logistic_mixture", 256)
    model = LatentClass(likelihood, (1, 28, 14), 25, 1.0, 1e-3)
    images = images_of(256, (1, 28, 14), 40)
    with PeakMemory() as memory, torch.set_grad_enabled(gradient):
        score = model.log_prob(images).mean()
        if gradient:
            score.backward()
    assert memory.peak < 5e6


@pytest.mark.parametrize("name", ["bernoulli", "gaussian_learned"])
def test_weights_load_into_a_model_that_has_seen_nothing(name: str) -> None:
    images = images_of(2, (1, 3, 3), 60)
    model = begun(mixture(compositions.build(name, 2), (1, 3, 3), 3), images)
    if model.fits_itself:
        model.fit(images, images)
    other = mixture(compositions.build(name, 2), (1, 3, 3), 3)
    other.load_state_dict(model.state_dict())
    assert mean_log_mass(other, images) == mean_log_mass(model, images)


@pytest.mark.parametrize(
    ("name", "levels", "count"),
    [("bernoulli", 2, 4 + 5 * 12), ("categorical", 5, 4 + 5 * 60), ("gaussian_learned", 5, 4 + 5 * 12 + 1)],
)
def test_weights_and_outputs_are_counted(name: str, levels: int, count: int) -> None:
    assert mixture(compositions.build(name, levels, 3), (3, 2, 2), 5).parameter_count == count


def test_without_closed_updates_there_is_no_pass() -> None:
    images = images_of(5, (1, 2, 2), 4)
    with pytest.raises(TypeError, match="LatentClass is trained by an optimiser"):
        mixture(learned_gaussian(5, 1), (1, 2, 2), 2).fit(images, images)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"components": 0}, "^components=0: must be a whole number, at least 1"),
        ({"components": 2.5}, "^components=2.5: must be a whole number"),
        ({"smoothing": -1.0}, "^smoothing=-1.0: must be finite and at least 0"),
        ({"smoothing": "much"}, "^smoothing=much: must be finite"),
        ({"tolerance": math.inf}, "^tolerance=inf: must be finite"),
    ],
)
def test_impossible_settings_are_refused(setting: dict[str, object], message: str) -> None:
    settings = {"components": 2, "smoothing": 1.0, "tolerance": 1e-3, **setting}
    with pytest.raises(SettingError, match=message):
        LatentClass(compositions.build("bernoulli", 2), (1, 2, 2), **settings)  # type: ignore[arg-type]
