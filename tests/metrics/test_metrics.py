"""Metrics on inputs whose answer is known, and properties of every YAML in conf/metric."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from families import gaussian, learned_gaussian
from metrics.given import counted, given, measure
from vae_likelihoods.cells.build import build
from vae_likelihoods.datasets.quantise import Levels
from vae_likelihoods.errors import SettingError
from vae_likelihoods.likelihoods.bernoulli import Bernoulli
from vae_likelihoods.likelihoods.beta_binomial import BetaBinomial
from vae_likelihoods.metrics import bound
from vae_likelihoods.metrics.base import Measured, Metric, Missing, in_batches
from vae_likelihoods.metrics.bound import Bound
from vae_likelihoods.metrics.latents import Latents
from vae_likelihoods.metrics.reconstruction import Reconstruction
from vae_likelihoods.models.vae import VAE
from vae_likelihoods.networks.base import Networks
from vae_likelihoods.networks.mlp import mlp
from vae_likelihoods.recipes.measuring import check
from vae_likelihoods.seeding import generator
from vae_likelihoods.units.declaration import ITSELF, MISSING, Declaration, from_plain, to_plain
from vae_likelihoods.units.quantity import Unit

SHAPE, PIXELS, IMAGES = (1, 2, 3), 6, 30
METRICS = {
    name: node
    for path in sorted((Path(__file__).parents[2] / "conf" / "metric").glob("*.yaml"))
    for name, node in OmegaConf.to_container(OmegaConf.load(path)).items()  # type: ignore[union-attr]
}
every_metric = pytest.mark.parametrize("name", METRICS)
# Settings that decide how long a metric takes and how sure it is, and none of these properties.
CHEAPER: dict[str, dict[str, Any]] = {
    "ais": {"chains": 4, "temperatures": 4, "leapfrog_steps": 2, "samples": 8},
    "generalisation": {"samples": 8},
    "inference_gap": {"chains": 4, "temperatures": 4, "leapfrog_steps": 2, "samples": 8, "steps": 3},
    "iwae_curve": {"k": [1, 5, 50]},
    "refit": {"epochs": 1, "samples": 8},
}


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.fixture
def levels() -> Tensor:
    return torch.randint(4, (IMAGES, *SHAPE), generator=generator(0, "levels"), dtype=torch.uint8)


@pytest.fixture
def model() -> VAE:
    torch.manual_seed(0)
    return VAE(mlp(SHAPE, 2, 2, hidden=[8]), BetaBinomial(4, 1), 2)


class Constant(nn.Module):
    """The same numbers for every row of a batch."""

    def __init__(self, values: Tensor) -> None:
        super().__init__()
        self.values = nn.Parameter(values)

    def forward(self, batch: Tensor) -> Tensor:
        return self.values.expand(len(batch), *self.values.shape)


class AsLatents(nn.Module):
    """The points themselves as posterior means, with tiny scales: an autoencoder that copies."""

    def forward(self, points: Tensor) -> Tensor:
        flat = points.flatten(1)
        return torch.cat([flat, torch.full_like(flat, -20.0)], 1)


def collapsed(outputs: Tensor) -> VAE:
    """Posterior = prior, and the same decoder output whatever z is."""
    encoder, decoder = Constant(torch.zeros(4)), Constant(outputs)
    return VAE(Networks(encoder, decoder), Bernoulli(2, 1), 2)


def copying(sigma: float = 0.1) -> VAE:
    likelihood = gaussian(4, 1, scale=sigma)
    model = VAE(Networks(AsLatents(), nn.Unflatten(-1, SHAPE)), likelihood, PIXELS)
    model.register_parameter("any", nn.Parameter(torch.zeros(())))
    return model


def trained_on(labels: Tensor) -> Levels:
    images = torch.randint(4, (len(labels), *SHAPE), generator=generator(0, "train"), dtype=torch.uint8)
    return Levels(images, labels, 4, 4)


def measured(metric: Metric, model: VAE, levels: Tensor, labels: Tensor | None = None) -> Measured:
    data = given(levels, labels=labels, train=trained_on(counted(40)))
    return measure(metric, model, data)


def of_factors(metric: Metric, model: VAE, levels: Tensor) -> Measured:
    """Measure on data whose labels are the values of two factors."""
    train, test = (torch.stack([counted(n), torch.arange(n) % 2], 1) for n in (40, len(levels)))
    return measure(metric, model, given(levels, labels=test, train=trained_on(train)))


def cheap(name: str) -> Metric:
    """Build a metric as its YAML says, but for what only costs time."""
    metric: Metric = build(f"metric.{name}", {**METRICS[name], **CHEAPER.get(name, {})})
    return metric


def all_measured(name: str, model: VAE, levels: Tensor) -> Measured:
    """Measure on data with classes, and where that gives no number, on data with factors."""
    metric = cheap(name)
    result = measured(metric, model, levels)
    return result if result.values else of_factors(metric, model, levels)


@every_metric
def test_a_metric_gives_finite_numbers_and_one_a_picture(name: str, model: VAE, levels: Tensor) -> None:
    result = all_measured(name, model, levels)
    assert result.values
    for value in result.values.values():
        assert np.isfinite(value).all()
        assert isinstance(value, int | float | list)  # what JSON holds
    for array in result.per_image.values():
        assert array.shape == (IMAGES,)
        assert array.dtype == np.float64
        assert np.isfinite(array).all()


def declared(name: str) -> dict[str, Declaration]:
    """Return the declarations of a metric on images of four levels, with their units."""
    return {each.name: each.on("test", PIXELS, 4) for each in cheap(name).declarations(4)}


@every_metric
def test_what_a_metric_measures_is_what_it_declares(name: str, model: VAE, levels: Tensor) -> None:
    """Each number once, and all of them where all exist: with classes or factors, and coarser levels."""
    result, numbers = all_measured(name, model, levels), [each.name for each in cheap(name).declarations(4)]
    assert len(numbers) == len(set(numbers))
    assert result.values.keys() == set(numbers) >= result.per_image.keys()
    check(result, cheap(name).declarations(4))


@every_metric
def test_every_number_of_a_metric_has_a_unit(name: str, model: VAE, levels: Tensor) -> None:
    result = all_measured(name, model, levels)
    assert result.values
    for number, value in result.values.items():
        unit = declared(name)[number].unit
        assert unit is not None
        assert Unit.from_dict(unit.to_dict()) == unit
        # A name that states a unit states this one; a log-probability of images says of what.
        if "bits_per_dim" in number:
            assert unit.measure == "bits per dimension"
        if number.endswith("_nats"):
            assert unit.measure.startswith("nats per ")
        if number.startswith(("bits", "nll", "elbo", "distortion")):
            assert unit.scale == "mass"
        if number.endswith("_se"):
            assert unit == declared(name)[number.removesuffix("_se")].unit
            assert value >= 0  # type: ignore[operator]
        if number.startswith(("rate", "kl")):
            assert unit.scale is None


@every_metric
def test_what_a_number_says_of_itself_can_be_shown_and_stored(name: str, model: VAE, levels: Tensor) -> None:
    """Its format fits its value, a column has a header, and the declaration survives JSON."""
    result, declarations = all_measured(name, model, levels), declared(name)
    assert from_plain(json.loads(json.dumps(to_plain(declarations.values())))) == declarations
    for number, value in result.values.items():
        declaration = declarations[number]
        assert bool(declaration.format) == bool(declaration.header) != isinstance(value, list)
        if not isinstance(value, list):
            shown = declaration.text(value).replace(",", "")
            assert float(shown) == pytest.approx(value, rel=0.06, abs=0.06)
        assert declaration.text(None) == declaration.text(math.nan) == MISSING
        assert "\n" not in declaration.meaning
        assert not declaration.meaning.endswith(".")
        assert declaration.better != "higher" or not number.endswith("_se")


def test_headers_and_short_names_of_metrics_do_not_collide() -> None:
    every = [each for name in METRICS for each in cheap(name).declarations(4)]
    for field in ("header", "short"):
        words = [value for each in every if (value := getattr(each, field))]
        assert len(words) == len(set(words))


def test_a_number_is_a_part_of_one_that_exists() -> None:
    names = {each.name for name in METRICS for each in cheap(name).declarations(4)} | {"latent_dim"}
    wholes = {each.whole for name in METRICS for each in cheap(name).declarations(4)} - {"", ITSELF}
    assert wholes == {"nll_nats", "importance_samples", "latent_dim"}
    assert wholes <= names


class Wrong(Metric):
    """Measures what it does not declare, or not as it declares."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values

    def declarations(self, levels: int) -> list[Declaration]:
        return [
            Declaration("good", "a share", None, "good", ".2f"),
            Declaration("count", "a count", format="d"),
        ]

    def __call__(self, model: VAE, data: Any, noise: torch.Generator) -> dict[str, Any]:
        return self.values


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"good": 0.5, "odd": 1.0}, "odd=1.0: is measured but not declared. Choices: good, count."),
        ({"odd": Missing("a whim")}, "odd=a whim: is measured but not declared. Choices: good, count."),
        ({"count": 2.5}, "count=2.5: is not a whole number, as its format 'd' says."),
    ],
)
def test_a_number_that_is_not_as_declared_is_refused(
    values: dict[str, Any], message: str, model: VAE, levels: Tensor
) -> None:
    metric = Wrong(values)
    with pytest.raises(SettingError) as caught:
        check(measured(metric, model, levels), metric.declarations(4))
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (math.nan, "it came out as nan"),
        ([1.0, math.inf], "it came out as [1.0, inf]"),
        (np.array([1.0, math.inf, math.nan]), "it is not finite for 2 of 3 images"),
        (Missing("there is one factor"), "there is one factor"),
    ],
)
def test_a_number_that_cannot_be_is_missing_with_its_reason_and_the_others_stand(
    value: Any, reason: str, model: VAE, levels: Tensor
) -> None:
    metric = Wrong({"good": value, "count": 3})
    result = measured(metric, model, levels)
    check(result, metric.declarations(4))
    assert (result.values, result.per_image, result.missing) == ({"count": 3}, {}, {"good": reason})


def test_a_number_that_does_not_exist_for_a_model_is_left_out(model: VAE, levels: Tensor) -> None:
    metric = Wrong({"count": 3})
    check(measured(metric, model, levels), metric.declarations(4))


def test_the_bound_says_how_many_samples_it_drew() -> None:
    drawn = {
        each.name: each.quantity.importance_samples for each in Bound(8, 64).declarations(4) if each.quantity
    }
    assert {name for name, k in drawn.items() if k != 8} == {"rate_nats"}  # a KL in closed form
    assert drawn["rate_nats"] is None


@every_metric
def test_nothing_is_fitted_to_the_images_that_are_scored(name: str, levels: Tensor) -> None:
    """Sigma least of all: the model stays as it was, and an image scores the same in whatever company.

    What is fitted to the train split is the same for all.
    """
    networks = Networks(Constant(torch.zeros(4)), Constant(torch.full(SHAPE, 0.4)))
    model, metric = VAE(networks, learned_gaussian(4, 1, scale=0.2), 2), cheap(name)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    together = measured(metric, model, levels).per_image
    parts = zip(levels.split(10), counted(IMAGES).split(10), strict=True)
    apart = [measured(metric, model, part, labels).per_image for part, labels in parts]
    for key, scores in together.items():
        # a gap between bounds that are equal here is the rounding of either
        rounding = 2e-6 if "gap" in key else 0.0
        np.testing.assert_allclose(
            np.concatenate([one[key] for one in apart]), scores, rtol=1e-6, atol=rounding, err_msg=key
        )
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(one.requires_grad and one.grad is None for one in model.parameters())


@every_metric
def test_a_metric_draws_from_its_generator_alone(name: str, model: VAE, levels: Tensor) -> None:
    first = all_measured(name, model, levels)
    torch.manual_seed(123)
    before = torch.get_rng_state()
    again = all_measured(name, model, levels)
    assert again.values == first.values
    assert torch.equal(torch.get_rng_state(), before)


def test_names_of_metrics_do_not_collide(model: VAE, levels: Tensor) -> None:
    result = [all_measured(name, model, levels) for name in METRICS]
    for part in ("values", "per_image"):
        names = [name for one in result for name in getattr(one, part)]
        assert len(names) == len(set(names))


@pytest.mark.parametrize("size", [1, 7, 30, 1000])
def test_batches_hold_every_image_once(size: int, levels: Tensor) -> None:
    batches = list(in_batches(levels, size))
    assert torch.equal(torch.cat(batches), levels)
    assert max(map(len, batches)) <= size


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_latents_and_reconstruction_do_not_depend_on_the_batch(size: int, model: VAE, levels: Tensor) -> None:
    for small, whole in (
        (Latents(0.01, size), Latents(0.01, IMAGES)),
        (Reconstruction(size), Reconstruction(IMAGES)),
    ):
        one, other = measured(small, model, levels), measured(whole, model, levels)
        for name, value in one.values.items():
            assert value == pytest.approx(other.values[name], rel=1e-5)


def test_a_collapsed_posterior_has_no_rate_and_no_active_unit() -> None:
    levels = torch.randint(2, (IMAGES, *SHAPE), generator=generator(0, "l"), dtype=torch.uint8)
    model = collapsed(torch.zeros(SHAPE))
    result = measured(Latents(0.01, 8), model, levels).values
    assert result == {
        "active_units": 0,
        "kl_per_latent_nats": [0.0, 0.0],
        "collapsed_share": 1.0,
        "posterior_collapse": 1,
    }
    assert measured(Bound(4, 64), model, levels).values["rate_nats"] == 0.0


def test_a_uniform_pmf_scores_one_bit_a_pixel_at_two_levels() -> None:
    levels = torch.randint(2, (IMAGES, *SHAPE), generator=generator(0, "l"), dtype=torch.uint8)
    values = measured(Bound(4, 64), collapsed(torch.zeros(SHAPE)), levels).values
    assert values["bits_per_dim"] == pytest.approx(1.0)
    assert values["nll_nats"] == pytest.approx(PIXELS * math.log(2))
    assert values["distortion_nats"] == pytest.approx(PIXELS * math.log(2))
    assert values["elbo_nats"] == pytest.approx(-PIXELS * math.log(2))
    assert values["bits_per_dim_se"] == pytest.approx(0.0, abs=1e-7)
    assert values["effective_sample_size"] == pytest.approx(4.0)
    assert values["importance_samples"] == 4


def test_a_known_probability_gives_its_cross_entropy() -> None:
    """Every pixel is on with probability 1/4, whatever z: nll counts the pixels that are on."""
    levels = torch.randint(2, (IMAGES, *SHAPE), generator=generator(0, "l"), dtype=torch.uint8)
    result = measured(Bound(8, 64), collapsed(torch.full(SHAPE, -math.log(3.0))), levels)
    on = levels.flatten(1).sum(1).double().numpy()
    expected = on * math.log(4) + (PIXELS - on) * math.log(4 / 3)
    np.testing.assert_allclose(result.per_image["nll_nats"], expected, rtol=1e-6)
    np.testing.assert_allclose(result.per_image["distortion_nats"], expected, rtol=1e-6)
    bits = expected / (PIXELS * math.log(2))
    assert result.values["bits_per_dim"] == pytest.approx(bits.mean())
    assert result.values["bits_per_dim_se"] == pytest.approx(bits.std(ddof=1) / math.sqrt(IMAGES))


def test_bound_is_consistent_on_a_real_model(model: VAE, levels: Tensor) -> None:
    result = measured(Bound(64, 4096), model, levels)
    values = result.values
    assert values["elbo_nats"] == -(values["rate_nats"] + values["distortion_nats"])
    assert values["nll_nats"] <= -values["elbo_nats"] + 1e-6
    assert values["bits_per_dim"] == pytest.approx(values["nll_nats"] / (PIXELS * math.log(2)))
    for name in ("nll_nats", "rate_nats", "distortion_nats", "effective_sample_size"):
        assert result.per_image[name].mean() == pytest.approx(values[name])
    rates = measured(Latents(0.01, 8), model, levels).values["kl_per_latent_nats"]
    assert sum(rates) == pytest.approx(values["rate_nats"], rel=1e-5)  # type: ignore[arg-type]
    assert (result.per_image["effective_sample_size"] >= 1).all()
    assert (result.per_image["effective_sample_size"] <= 64).all()


def test_bound_of_few_at_once_is_that_of_many_but_for_its_noise(model: VAE, levels: Tensor) -> None:
    few, many = (measured(Bound(512, at_once), model, levels).values for at_once in (100, 100_000))
    assert few["rate_nats"] == pytest.approx(many["rate_nats"], rel=1e-6)
    assert few["nll_nats"] == pytest.approx(many["nll_nats"], abs=0.02)


def test_bound_decodes_no_more_than_asked(model: VAE, levels: Tensor) -> None:
    seen: list[int] = []
    model.decoder.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    measured(Bound(16, 50), model, levels)
    assert sum(seen) == 16 * IMAGES
    assert max(seen) <= 50


def test_summary_of_planted_scores() -> None:
    per_image = {
        "nll_nats": np.array([1.0, 3.0]) * math.log(2),
        "rate_nats": np.array([1.0, 2.0]),
        "distortion_nats": np.array([10.0, 20.0]),
        "effective_sample_size": np.array([3.0, 5.0]),
    }
    assert Measured.of(bound.summarise(per_image, samples=7, dimensions=4)).values == pytest.approx(
        {
            "bits_per_dim": 0.5,
            "bits_per_dim_se": 0.25,
            "nll_nats": 2 * math.log(2),
            "elbo_nats": -16.5,
            "rate_nats": 1.5,
            "distortion_nats": 15.0,
            "importance_samples": 7,
            "effective_sample_size": 4.0,
        }
    )


def test_copied_images_are_rebuilt_without_error(levels: Tensor) -> None:
    """A point k / (K-1) lies in its own bin, so a sharp Gaussian there has the mean k / (K-1)."""
    result = measured(Reconstruction(7), copying(sigma=1e-4), levels)
    assert result.values["squared_error"] == pytest.approx(0.0, abs=1e-10)
    assert result.per_image["squared_error"].shape == (IMAGES,)


def test_copied_images_are_similar_and_grey_ones_are_not(levels: Tensor) -> None:
    assert measured(Reconstruction(7), copying(sigma=1e-4), levels).values["ssim"] == pytest.approx(1.0)
    binary = (levels > 1).to(torch.uint8)
    grey = measured(Reconstruction(7), collapsed(torch.zeros(SHAPE)), binary)
    assert grey.per_image["ssim"].shape == (IMAGES,)
    assert (grey.per_image["ssim"] < 0.5).all()


def test_squared_error_of_a_constant_picture() -> None:
    """A half everywhere against zeros and ones: a quarter; against the pixels' share: by hand."""
    levels = torch.tensor([[0, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1], [1, 0, 0, 0, 0, 0]], dtype=torch.uint8)
    images = levels.reshape(3, *SHAPE)
    even = measured(Reconstruction(2), collapsed(torch.zeros(SHAPE)), images)
    assert even.per_image["squared_error"] == pytest.approx([0.25] * 3)
    quarter = measured(Reconstruction(2), collapsed(torch.full(SHAPE, -math.log(3.0))), images)
    expected = [1 / 16, 9 / 16, (9 / 16 + 5 / 16) / 6]
    assert quarter.per_image["squared_error"] == pytest.approx(expected)
    assert quarter.values["squared_error"] == pytest.approx(sum(expected) / 3)


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: Bound(samples=0, decoded_at_once=8), "samples"),
        (lambda: Bound(samples=1.5, decoded_at_once=8), "samples"),  # type: ignore[arg-type]
        (lambda: Bound(samples=1, decoded_at_once=0), "decoded_at_once"),
        (lambda: Reconstruction(batch_size=-3), "batch_size"),
    ],
)
def test_settings_that_cannot_be(make: Any, key: str) -> None:
    with pytest.raises(SettingError) as caught:
        make()
    assert caught.value.key == key
