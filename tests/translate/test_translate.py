"""A loss and the likelihood that it is translated into agree in value and in gradient."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import DictConfig
from scipy import special, stats
from torch.distributions import ContinuousBernoulli, Normal
from torch.nn import functional as F

from vae_likelihoods.cells.build import build_likelihood, build_objective
from vae_likelihoods.cells.settings import read
from vae_likelihoods.cli import app
from vae_likelihoods.errors import SettingError
from vae_likelihoods.objectives.elbo import ELBO
from vae_likelihoods.seeding import generator
from vae_likelihoods.translate import Reading, translate

Configuration = Callable[..., DictConfig]
B, L, D = 3, 5, 28 * 28


def only(**settings: Any) -> Reading:
    (reading,) = translate(**{"reduction": "sum", "dimensions": D, **settings}).readings
    return reading


def grey(**settings: Any) -> tuple[Reading, Reading]:
    binomial, continuous = translate(loss="bce", **{"reduction": "sum", "dimensions": D, **settings}).readings
    return binomial, continuous


@pytest.mark.parametrize(
    ("settings", "sigma"),
    [
        ({"reduction": "mean", "kl_weight": 0.00025, "dimensions": 64 * 64 * 3}, 1.2394),
        ({"reconstruction_weight": 255}, 0.0443),
        ({}, 0.7071),
        ({"reduction": "mean"}, 19.80),
        ({"reconstruction_weight": 0.5}, 1.0),
        ({"reconstruction_weight": 0.5, "pixel_range": (-1, 1)}, 0.5),
    ],
)
def test_sigma_of_known_losses(settings: dict[str, Any], sigma: float) -> None:
    meaning = only(loss="mse", **settings)
    assert (meaning.likelihood, meaning.beta) == ("gaussian", 1)
    assert meaning.sigma == pytest.approx(sigma, rel=5e-4)
    assert meaning.sigma_levels == pytest.approx(255 * sigma, rel=5e-4)


def test_sigma_one_lacks_its_normaliser() -> None:
    meaning = only(loss="mse", reconstruction_weight=0.5)
    assert meaning.missing_nats == pytest.approx(-720.45, abs=0.01)
    assert not meaning.missing_is_least


def test_mean_cross_entropy_on_binary_pixels_is_beta_d() -> None:
    meaning = only(loss="bce", reduction="mean", levels=2)
    assert (meaning.likelihood, meaning.beta, meaning.missing_nats) == ("bernoulli", 784, 0)
    assert meaning.overrides == "levels=2 likelihood=bernoulli objective.beta=784"


def test_cross_entropy_on_grey_pixels_is_beta_255_or_lacks_its_normaliser() -> None:
    binomial, continuous = grey()
    assert (binomial.likelihood, binomial.beta) == ("binomial", 255)
    assert (continuous.likelihood, continuous.beta) == ("continuous_bernoulli", 1)
    assert continuous.missing_nats == pytest.approx(543.4, abs=0.05)
    assert binomial.missing_is_least
    assert continuous.missing_is_least
    assert grey(levels=17)[0].beta == 16
    assert "objective.beta=199920" in grey(reduction="mean")[0].overrides


class Batch:
    """Images at K levels, outputs of a decoder, a loss with random weights; 4 seeds have all reductions."""

    def __init__(self, loss: str, levels: int, seed: int, pixel_range: tuple[float, float] = (0, 1)) -> None:
        draw = generator(seed)
        self.k = torch.randint(0, levels, (B, 2, 4, 4), generator=draw, dtype=torch.uint8)
        self.outputs = torch.randn(2, B, 2, 4, 4, generator=draw).double()  # of two decoders
        self.kl = 10 * torch.rand(B, L, generator=draw).double()
        weights = torch.rand(2, generator=draw) * 3 + 0.1
        self.low, self.width = pixel_range[0], pixel_range[1] - pixel_range[0]
        self.x = self.k.double() / (levels - 1)
        self.settings: dict[str, Any] = {
            "loss": loss,
            "reduction": "mean" if seed & 1 else "sum",
            "dimensions": 32,
            "kl_weight": weights[0].item(),
            "reconstruction_weight": weights[1].item(),
            "kl_reduction": "mean" if seed & 2 else "sum",
            "latent_dim": L,
            "pixel_range": pixel_range,
            "levels": levels,
        }

    def logged(self, outputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What somebody's loop logs: R and KL."""
        x, y = self.low + self.width * self.x, self.low + self.width * outputs
        pixels = (y - x) ** 2
        if self.settings["loss"] == "bce":
            pixels = F.binary_cross_entropy_with_logits(outputs, x, reduction="none")
        r = pixels.mean() if self.settings["reduction"] == "mean" else pixels.sum() / B
        kl = self.kl.mean() if self.settings["kl_reduction"] == "mean" else self.kl.sum() / B
        return r, kl

    def loss(self, outputs: torch.Tensor) -> torch.Tensor:
        r, kl = self.logged(outputs)
        return r * float(self.settings["reconstruction_weight"]) + kl * float(self.settings["kl_weight"])

    def readings(self, **more: Any) -> tuple[Reading, ...]:
        return translate(**self.settings, **more).readings

    def scored(self) -> tuple[Reading, ...]:
        r, kl = self.logged(self.outputs[0])
        return self.readings(reconstruction=r.item(), kl=kl.item())

    @property
    def kl_weight(self) -> float:
        """The weight on the sum over latents."""
        averaged = self.settings["kl_reduction"] == "mean"
        return float(self.settings["kl_weight"] / (L if averaged else 1))

    @property
    def rate(self) -> float:
        return self.kl.sum().item() / B


SEEDS = range(4)
RANGES = [(0, 1), (-1, 1), (0, 255)]


@pytest.mark.parametrize("pixel_range", RANGES)
@pytest.mark.parametrize("seed", SEEDS)
def test_squared_error_is_the_negative_elbo_of_a_normal(seed: int, pixel_range: tuple[float, float]) -> None:
    batch = Batch("mse", 256, seed, pixel_range)
    (meaning,) = batch.readings()
    outputs = batch.outputs[0].requires_grad_()
    assert meaning.sigma_pixels is not None
    law = Normal(batch.low + batch.width * outputs, meaning.sigma_pixels)
    nelbo = -law.log_prob(batch.low + batch.width * batch.x).sum() / B + batch.rate
    loss = batch.loss(outputs)
    torch.testing.assert_close(loss / meaning.loss_per_nat - meaning.missing_nats, nelbo)
    assert meaning.loss_per_nat == pytest.approx(batch.kl_weight)
    theirs, ours = (torch.autograd.grad(value, outputs)[0] for value in (loss, nelbo))
    torch.testing.assert_close(theirs, meaning.loss_per_nat * ours)


@pytest.mark.parametrize("levels", [2, 17, 256])
@pytest.mark.parametrize("seed", SEEDS)
def test_cross_entropy_is_the_negative_elbo_at_beta_of_scipys_binomial(seed: int, levels: int) -> None:
    batch = Batch("bce", levels, seed)
    meaning, n, k = batch.readings()[0], levels - 1, batch.k.numpy().astype(float)
    rho = batch.outputs[0].sigmoid().numpy()
    coefficients = float(np.sum(np.log(special.binom(n, k)))) / B
    nelbo = -float(np.sum(stats.binom.logpmf(k, n, rho))) / B + meaning.beta * batch.rate
    loss = batch.loss(batch.outputs[0]).item()
    assert loss / meaning.loss_per_nat - coefficients == pytest.approx(nelbo, rel=1e-9)
    assert meaning.missing_is_least == (coefficients > meaning.missing_nats)


@pytest.mark.parametrize("seed", SEEDS)
def test_cross_entropy_on_grey_pixels_is_a_continuous_bernoulli_less_its_normaliser(seed: int) -> None:
    batch = Batch("bce", 256, seed)
    meaning = batch.readings()[1]
    for outputs, least in ((batch.outputs[0], False), (torch.zeros_like(batch.outputs[0]), True)):
        law = ContinuousBernoulli(logits=outputs)
        nelbo = -law.log_prob(batch.x).sum().item() / B + meaning.beta * batch.rate
        missing = batch.loss(outputs).item() / meaning.loss_per_nat - nelbo
        assert missing > meaning.missing_nats - 1e-6
        assert (missing == pytest.approx(meaning.missing_nats)) == least


CASES = [
    *(("mse", levels, pixel_range) for levels in (17, 256) for pixel_range in RANGES),
    *(("bce", levels, (0, 1)) for levels in (2, 17, 256)),
]


@pytest.mark.parametrize(("loss", "levels", "pixel_range"), CASES)
@pytest.mark.parametrize("seed", SEEDS)
def test_the_overrides_train_the_same_loss_here(
    configuration: Configuration,
    loss: str,
    levels: int,
    pixel_range: tuple[float, float],
    seed: int,
) -> None:
    """The step from one decoder to another, and the weight of the KL against it, are those of the loss."""
    batch = Batch(loss, levels, seed, pixel_range)
    for meaning in batch.readings():
        settings = read(configuration("dataset=mnist5k", *meaning.overrides.split()))
        likelihood, objective = build_likelihood(settings, channels=2), build_objective(settings)
        assert (settings.names["likelihood"], settings.levels) == (meaning.likelihood, levels)
        assert likelihood.trained_on == ("mass" if meaning.bin_nats is None else "density")
        ours = [-likelihood.log_prob(outputs, batch.k).mean().item() for outputs in batch.outputs]
        theirs = [batch.loss(outputs).item() for outputs in batch.outputs]
        step = meaning.loss_per_nat * (ours[1] - ours[0])
        assert (theirs[1] - theirs[0] == pytest.approx(step, rel=1e-3)) == meaning.same_optimum
        assert isinstance(objective, ELBO)
        assert meaning.loss_per_nat * objective.beta == pytest.approx(batch.kl_weight, rel=1e-4)


def test_the_same_model_on_pixels_of_another_range() -> None:
    unit = only(loss="mse", reduction="mean", kl_weight=1e-3, reconstruction=0.02, kl=9)
    assert unit.sigma is not None
    for low, high in ((-1, 1), (0, 255)):
        area = (high - low) ** 2
        other = only(
            loss="mse",
            reduction="mean",
            kl_weight=1e-3 * area,
            pixel_range=(low, high),
            reconstruction=0.02 * area,
            kl=9,
        )
        assert other.sigma == pytest.approx(unit.sigma)
        assert other.sigma_pixels == pytest.approx((high - low) * unit.sigma)
        assert other.elbo_nats == pytest.approx(unit.elbo_nats)
        assert other.overrides == unit.overrides
        # The log-density itself depends on the unit.
        assert other.missing_nats == pytest.approx(unit.missing_nats - D * math.log(high - low))


@pytest.mark.parametrize("seed", SEEDS)
def test_the_elbo_of_a_log_is_that_of_the_bernoulli_here(seed: int, configuration: Configuration) -> None:
    batch = Batch("bce", 2, seed)
    (meaning,) = batch.scored()
    settings = read(configuration("dataset=mnist5k", *meaning.overrides.split()))
    distortion = -build_likelihood(settings, channels=2).log_mass(batch.outputs[0], batch.k).mean().item()
    assert meaning.elbo_nats == pytest.approx(-distortion - batch.rate, rel=1e-6)
    assert meaning.bits_per_dim == pytest.approx((distortion + batch.rate) / (32 * math.log(2)), rel=1e-6)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_elbo_of_a_log_on_grey_pixels_lacks_only_what_depends_on_image_and_decoder(
    seed: int, configuration: Configuration
) -> None:
    batch = Batch("bce", 256, seed)
    binomial, continuous = batch.scored()
    coefficients = np.log(special.binom(255, batch.k.numpy().astype(float))).sum() / B
    bce = F.binary_cross_entropy_with_logits(batch.outputs[0], batch.x, reduction="none")
    normaliser = ContinuousBernoulli(logits=batch.outputs[0]).log_prob(batch.x) + bce
    beyond_half = (normaliser - math.log(2)).sum().item() / B
    for meaning, rest, tolerance in ((binomial, coefficients, 1e-3), (continuous, beyond_half, 0.02)):
        settings = read(configuration("dataset=mnist5k", *meaning.overrides.split()))
        mass = build_likelihood(settings, channels=2).log_mass(batch.outputs[0], batch.k).mean().item()
        assert meaning.elbo_nats is not None
        assert rest > 0
        assert meaning.elbo_nats + rest == pytest.approx(mass - batch.rate, abs=tolerance)


@pytest.mark.parametrize("pixel_range", RANGES)
def test_the_elbo_of_a_log_is_nearly_that_of_the_gaussian_here(
    pixel_range: tuple[float, float], configuration: Configuration
) -> None:
    """Where the Gaussian is wide against a bin and inside of the range."""
    batch = Batch("mse", 256, 0, pixel_range)
    weight = 2 * 0.05**2 * batch.width**2  # sigma = 0.05
    batch.settings |= {
        "reduction": "sum",
        "reconstruction_weight": 1,
        "kl_weight": weight,
        "kl_reduction": "sum",
    }
    batch.k = batch.k // 2 + 64
    batch.x = batch.k.double() / 255
    batch.outputs = batch.x + 0.05 * batch.outputs.clamp(-1, 1)
    (meaning,) = batch.scored()
    settings = read(configuration("dataset=mnist5k", *meaning.overrides.split()))
    mass = build_likelihood(settings, channels=2).log_mass(batch.outputs[0], batch.k).mean().item()
    assert meaning.elbo_nats == pytest.approx(mass - batch.rate, abs=32 * 0.05)


def test_a_density_sharper_than_a_bin_is_no_probability_and_says_so() -> None:
    """theory.md, section 4: sigma = 0.001, K = 256 gives the "probability" 1.558."""
    sharp: dict[str, Any] = {"loss": "mse", "reduction": "sum", "dimensions": 1, "kl_weight": 2e-6}
    meaning = translate(**sharp, reconstruction=0, kl=0)
    assert meaning.readings[0].elbo_nats == pytest.approx(math.log(1.558), abs=1e-3)
    assert any("bins" in warning for warning in meaning.warnings)


def test_warnings() -> None:
    assert translate(loss="mse", reduction="sum", dimensions=D, kl_weight=0.02).warnings == ()
    assert translate(loss="bce", reduction="sum", dimensions=D, levels=2).warnings == ()
    averages, wide = translate(loss="mse", reduction="mean", dimensions=D).warnings
    assert "784 times" in averages
    assert "KL <= 0.25 nats" in wide
    (averages,) = translate(
        loss="bce", reduction="mean", dimensions=D, levels=2, kl_reduction="mean", latent_dim=10
    ).warnings
    assert "78.4 times" in averages
    (grey_pixels,) = translate(loss="bce", reduction="sum", dimensions=D).warnings
    assert "not a log-likelihood" in grey_pixels


def test_a_wide_sigma_bounds_the_rate_of_probabilistic_pca() -> None:
    """The most that the KL can be is for pixels that are all black or all white together: variance D/4."""
    meaning = translate(loss="mse", reduction="sum", dimensions=D, kl_weight=40)
    (wide,) = (warning for warning in meaning.warnings if "KL <=" in warning)
    bound = float(wide.partition("KL <= ")[2].split()[0])
    rate = 0.5 * math.log(D / 4 / 20)  # sigma^2 = 20
    assert 0 < rate < bound == pytest.approx(D / 4 / 20 / 2)


HABITS: list[tuple[Callable[..., torch.Tensor], dict[str, Any]]] = [
    (lambda x, y, kl: F.mse_loss(y, x) + kl.sum(1).mean(), {"reduction": "mean"}),
    (lambda x, y, kl: F.mse_loss(y, x) + kl.sum(), {"reduction": "mean", "kl_weight": B}),
    (lambda x, y, kl: F.mse_loss(y, x, reduction="sum") + kl.sum(), {}),
    (lambda x, y, kl: (F.mse_loss(y, x, reduction="sum") + kl.sum()) / B, {}),
    (lambda x, y, kl: F.mse_loss(y, x, reduction="sum") + kl.sum(1).mean(), {"reconstruction_weight": B}),
    (lambda x, y, kl: F.mse_loss(y, x, reduction="sum") / 2 + kl.sum(), {"reconstruction_weight": 0.5}),
    (
        lambda x, y, kl: F.mse_loss(y, x, reduction="sum") / B + kl.mean(),
        {"kl_reduction": "mean", "latent_dim": L},
    ),
]


@pytest.mark.parametrize(("loop", "settings"), HABITS)
def test_what_the_help_says_of_loops_is_true(
    loop: Callable[..., torch.Tensor], settings: dict[str, Any]
) -> None:
    x, y = torch.rand(2, B, D, generator=generator(0), dtype=torch.float64)
    kl = torch.rand(B, L, generator=generator(1), dtype=torch.float64).requires_grad_()
    y.requires_grad_()
    meaning = only(loss="mse", **settings)
    assert meaning.sigma is not None
    nelbo = -Normal(y, meaning.sigma).log_prob(x).sum() + kl.sum()
    theirs, ours = (
        torch.cat([g.flatten() for g in torch.autograd.grad(f, (y, kl))]) for f in (loop(x, y, kl), nelbo)
    )
    torch.testing.assert_close(theirs, ours * (theirs[-1] / ours[-1]))


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"kl_weight": 0}, r"kl_weight=0: .*autoencoder, sigma -> 0"),
    ({"kl_weight": -1.0}, r"kl_weight=-1\.0: need a finite weight above 0"),
    ({"kl_weight": math.nan}, "kl_weight=nan"),
    ({"kl_weight": math.inf}, "kl_weight=inf"),
    ({"reconstruction_weight": 0}, "reconstruction_weight=0"),
    ({"reconstruction_weight": math.inf}, "reconstruction_weight=inf"),
    ({"loss": "l1"}, r"loss=l1: .* Choices: mse, bce\."),
    ({"reduction": "batchmean"}, r"reduction=batchmean: .* Choices: sum, mean\."),
    ({"kl_reduction": "none"}, r"kl_reduction=none: .* Choices: sum, mean\."),
    ({"kl_reduction": "mean"}, "latent_dim=None: must be a whole number"),
    ({"dimensions": 0}, "dimensions=0"),
    ({"levels": 1}, r"levels=1: need 2 \.\. 256 levels"),
    ({"levels": 257}, "levels=257"),
    ({"pixel_range": (1, 1)}, r"pixel_range=\(1, 1\)"),
    ({"pixel_range": (0, math.inf)}, "pixel_range="),
    ({"loss": "bce", "pixel_range": (-1, 1)}, r"pixel_range=\(-1, 1\): cross-entropy .* loss=mse"),
    ({"loss": "bce", "pixel_range": (0, 255)}, "pixel_range="),
    ({"kl": 3.0}, "reconstruction=None: .* needs reconstruction and kl"),
    ({"reconstruction": 3.0}, "kl=None"),
    ({"reconstruction": math.nan, "kl": 1}, "reconstruction=nan"),
    ({"reconstruction": 1, "kl": -1}, "kl=-1"),
]


@pytest.mark.parametrize(("settings", "message"), REFUSED)
def test_refusals_name_key_and_value_and_what_would_do(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=f"^{message}"):
        translate(**{"loss": "mse", "reduction": "sum", "dimensions": D, **settings})


def main(arguments: Sequence[str]) -> int:
    return app.main(["translate", *arguments])


EXAMPLE = ("--loss", "mse", "--reduction", "mean", "--kl-weight", "0.00025", "--shape", "64x64x3")


def test_the_command_line_says_what_translate_says(capsys: pytest.CaptureFixture[str]) -> None:
    more = ("--pixel-range", "-1", "1", "--reconstruction", "0.01", "--kl", "20")
    assert main([*EXAMPLE, *more, "--json"]) == 0
    meaning = translate(
        loss="mse",
        reduction="mean",
        kl_weight=0.00025,
        dimensions=12288,
        pixel_range=(-1, 1),
        reconstruction=0.01,
        kl=20,
    )
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(asdict(meaning)))
    assert main(EXAMPLE) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["likelihood", "gaussian"]
    assert lines[1].split()[:2] == ["sigma", "1.2394"]
    expected = "likelihood=gaussian likelihood.scale=1.2394 likelihood.trained_on=density objective.beta=1"
    assert any(line.endswith(f"levels=256 {expected}") for line in lines)


def test_the_command_line_prints_both_repairs_and_the_elbo_of_a_log(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log = ("--reconstruction", "80", "--kl", "20")
    assert main(["--loss", "bce", "--reduction", "sum", "--dimensions", "784", *log]) == 0
    printed = capsys.readouterr().out
    names = ["binomial", "continuous_bernoulli"]
    assert [line.split()[1] for line in printed.splitlines() if line.startswith("likelihood")] == names
    assert "ELBO at least -20420.00 nats per image, at most 37.5763 bits/dim" in printed
    assert "at least 543.43 nats per image" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([*EXAMPLE, "--kl-weight", "-1"], "translate: kl_weight=-1.0: need a finite weight above 0."),
        (
            [*EXAMPLE, "--loss", "l1"],
            "translate: loss=l1: is not a loss that can be translated. Choices: mse, bce.",
        ),
        ([*EXAMPLE, "--shape", "64xx3"], "translate: shape=64xx3: need sizes such as 64x64x3."),
        ([*EXAMPLE, "--shape", "0x3"], "translate: dimensions=0: must be a whole number, at least 1."),
        ([*EXAMPLE, "--dimensions", "3"], "translate: shape=64x64x3: give either shape or dimensions."),
        (EXAMPLE[:-2], "translate: shape=(none): give either shape or dimensions."),
    ],
)
def test_the_command_line_refuses_in_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, printed = main(arguments), capsys.readouterr()
    assert (code, printed.out, printed.err) == (1, "", message + "\n")


@pytest.mark.parametrize(
    ("arguments", "option"), [([*EXAMPLE, "--kl-weight", "low"], "--kl-weight"), (EXAMPLE[2:], "--loss")]
)
def test_what_the_command_line_cannot_read_is_one_line_and_exit_code_2(
    arguments: list[str], option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, printed = main(arguments), capsys.readouterr()
    assert (code, printed.out, printed.err.count("\n")) == (2, "", 1)
    assert printed.err.startswith("vae-likelihoods translate: ")
    assert f"'{option}'" in printed.err
    assert printed.err.endswith("; see vae-likelihoods translate --help\n")


def test_it_answers_without_torch() -> None:
    answer = "import sys; from vae_likelihoods.cli.app import main; main(['translate', *sys.argv[1:]])"
    program = f"{answer}; sys.exit('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program, *EXAMPLE], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_it_runs_as_a_module() -> None:
    command = [sys.executable, "-m", "vae_likelihoods", "translate", *EXAMPLE]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    refused = subprocess.run([*command, "--kl-weight", "0"], capture_output=True, text=True, check=False)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("translate: kl_weight=0.0: ")
    assert refused.stderr.count("\n") == 1
