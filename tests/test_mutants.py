"""Every common error of docs/theory.md, section 8, put into a copy of the source: the tests must see it.

A mutant is one replacement of text. It is made in a copy of the project in a temporary folder, in which a
process of its own runs the tests that are named beside it. They must fail there, by an assertion of theirs,
and pass where nothing was replaced. The processes are forked, for most of their time would go into imports.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import pytest

from forked import forking, run_pytest

PROJECT = Path(__file__).parents[1]
PACKAGE = Path("src", "vae_likelihoods")


@dataclass(frozen=True)
class Mutant:
    """One replacement, and the tests that see it.

    Args:
        name: the row of the gallery (`gallery.rows.ROWS`) and where the error is made.
        file: a file of the package.
        old: text that is there exactly once.
        new: what replaces it.
        tests: ids of tests; one without brackets stands for all its cases, of which one must fail.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


MUTANTS = (
    # Seen in the loss written out by hand: the distortion of an image is a sum over its pixels.
    Mutant(
        "mean_reduction-elbo",
        "objectives/elbo.py",
        old="distortion = -model.likelihood.log_prob(model.decode(z), levels)",
        new="distortion = -model.likelihood.log_prob(model.decode(z), levels) / levels[0].numel()",
        tests=("tests/objectives/test_objectives.py::test_elbo_loss_is_distortion_plus_beta_rate",),
    ),
    # Seen in torch's own cross-entropy, summed, and in the constant of 784 pixels.
    Mutant(
        "mean_reduction-likelihood",
        "likelihoods/base.py",
        old="per_pixel.sum((-3, -2, -1))",
        new="per_pixel.mean((-3, -2, -1))",
        tests=(
            "tests/likelihoods/test_bernoulli.py::test_it_is_minus_cross_entropy_summed_in_value_and_gradient",
            "tests/likelihoods/test_gaussian.py::test_the_constant_of_an_image",
        ),
    ),
    # Seen in squared error over two variances, and in a fitted sigma, which is sqrt(2) too large.
    Mutant(
        "missing_half-density",
        "likelihoods/laws/normal.py",
        old="-0.5 * u.square()",
        new="-u.square()",
        tests=(
            "tests/likelihoods/test_gaussian.py::test_density_is_squared_error_over_two_variances_plus_a_constant",
            "tests/likelihoods/test_gaussian.py::test_learned_sigma_converges_to_the_root_mean_squared_error",
        ),
    ),
    # Seen in the constant of 784 pixels: -720.45 nats become 1.65e-29.
    Mutant(
        "power_outside_log-likelihood",
        "likelihoods/base.py",
        old="per_pixel.sum((-3, -2, -1))",
        new="per_pixel.flatten(-3).prod(-1)",
        tests=("tests/likelihoods/test_gaussian.py::test_the_constant_of_an_image",),
    ),
    # Seen where grey levels must be refused.
    Mutant(
        "cross_entropy_on_grey-bernoulli",
        "likelihoods/bernoulli.py",
        old="if levels != 2:",
        new="if levels < 2:",
        tests=("tests/likelihoods/test_bernoulli.py::test_grey_levels_are_refused_naming_what_would_do",),
    ),
    # Seen in torch's density, and in known values of the normaliser; what is left is cross-entropy.
    Mutant(
        "cross_entropy_on_grey-continuous_bernoulli",
        "likelihoods/continuous_bernoulli.py",
        old="- log_uniform_decay(t)",
        new="- (1 + (-t).exp()).log()",
        tests=(
            "tests/likelihoods/test_continuous_bernoulli.py::test_density_is_that_of_torch",
            "tests/likelihoods/test_continuous_bernoulli.py::test_what_cross_entropy_on_grey_pixels_leaves_out",
        ),
    ),
    # Seen in scipy's binomial: cross-entropy without its weight K - 1.
    Mutant(
        "training_on_cross_entropy-binomial",
        "likelihoods/binomial.py",
        old="- divergence",
        new="- divergence / (self.levels - 1)",
        tests=("tests/likelihoods/test_binomial.py::test_it_is_scipys_binomial",),
    ),
    # Seen in scipy's cdf: 254 of 255 is 0.9922 on [-1, 1], so two levels get the upper tail.
    Mutant(
        "last_bin-bins",
        "likelihoods/bins.py",
        old="(k - (levels - 2)).clamp_min_(0)",
        new="(2 * k / (levels - 1) - 1 > 0.99).to(k.dtype)",
        tests=("tests/likelihoods/test_gaussian.py::test_mass_is_the_cdf_difference",),
    ),
    # Seen in scipy's cdf, whose tails belong to the end bins.
    Mutant(
        "no_end_bins-bins",
        "likelihoods/bins.py",
        old="(1 - k).clamp_min_(0), (k - (levels - 2)).clamp_min_(0)",
        new="0 * k, 0 * k",
        tests=("tests/likelihoods/test_gaussian.py::test_mass_is_the_cdf_difference",),
    ),
    # Seen in log p(x) by quadrature, for a likelihood that is trained on its density.
    Mutant(
        "no_bin_width-bound",
        "models/blocks.py",
        old="model.likelihood.log_mass(",
        new="model.likelihood.log_prob(",
        tests=("tests/inference/test_bounds.py::test_bound_with_many_samples_is_log_p[gaussian-1]",),
    ),
    # Seen in the validation score of such a model, computed by hand.
    Mutant(
        "no_bin_width-validation",
        "models/vae.py",
        old="self.likelihood.log_mass(",
        new="self.likelihood.log_prob(",
        tests=("tests/training/test_trainer.py::test_validation_is_scored_on_the_mass",),
    ),
    # Seen in a uniform pmf over two levels: one bit a pixel.
    Mutant(
        "divided_by_latents-bound",
        "metrics/bound.py",
        old="levels[0].numel()",
        new="model.latent_dim",
        tests=("tests/metrics/test_metrics.py::test_a_uniform_pmf_scores_one_bit_a_pixel_at_two_levels",),
    ),
    # Seen in the record of an epoch, whose bits are its ELBO over 36 pixels.
    Mutant(
        "divided_by_latents-validation",
        "training/trainer.py",
        old="self.validation[0].numel()",
        new="self.model.latent_dim",
        tests=("tests/training/test_trainer.py::test_a_record_adds_up",),
    ),
    # Seen in a uniform pmf over two levels too: as if 28 x 28 pixels were 32 x 32.
    Mutant(
        "padded_pixels-bound",
        "metrics/bound.py",
        old='bits_per_dim(per_image["nll_nats"], dimensions)',
        new='bits_per_dim(per_image["nll_nats"], dimensions * 1024 // 784)',
        tests=("tests/metrics/test_metrics.py::test_a_uniform_pmf_scores_one_bit_a_pixel_at_two_levels",),
    ),
    # Seen in the log-mean-exp written out, and by Jensen: the bound lies above the mean log weight.
    Mutant(
        "weights_from_loss-objective",
        "objectives/several_draws.py",
        old="torch.logsumexp(log_weights, 0) - math.log(self.samples)",
        new="math.log(self.samples) - torch.logsumexp(-log_weights, 0)",
        tests=(
            "tests/objectives/test_objectives.py::test_iwae_is_log_mean_weight",
            "tests/objectives/test_objectives.py::test_iwae_weights_the_best_sample_most",
        ),
    ),
    # Seen in weights 1 and 3, whose mean is 2.
    Mutant(
        "weights_from_loss-bound",
        "inference/bounds.py",
        old="torch.logsumexp(precise(log_weights), 0) - math.log(len(log_weights))",
        new="math.log(len(log_weights)) - torch.logsumexp(-precise(log_weights), 0)",
        tests=("tests/inference/test_bounds.py::test_bound_of_known_weights",),
    ),
    # Seen in the model, which a score must leave as it was, and in scores that depend on the other images.
    Mutant(
        "sigma_from_test-likelihood",
        "likelihoods/location_scale.py",
        old="def _log_mass(self, outputs: Tensor, k: Tensor) -> Tensor:",
        new="def _log_mass(self, outputs: Tensor, k: Tensor) -> Tensor:\n"
        "        error = self._points(k) - outputs[..., 0, :, :, :]\n"
        "        for parameter in self.parameters():\n"
        "            parameter.data.fill_(error.square().mean().sqrt().log())",
        tests=("tests/metrics/test_metrics.py::test_nothing_is_fitted_to_the_images_that_are_scored[bound]",),
    ),
    # Seen in the same.
    Mutant(
        "sigma_from_test-bound",
        "metrics/bound.py",
        old="nll, ess, rate, distortion = [], [], [], []",
        new="nll, ess, rate, distortion = [], [], [], []\n"
        "        rebuilt = model.likelihood.mean(model.decode(model.posterior(levels).mean))\n"
        "        for parameter in model.likelihood.parameters():\n"
        "            parameter.fill_((model.points(levels) - rebuilt).square().mean().sqrt().log())",
        tests=("tests/metrics/test_metrics.py::test_nothing_is_fitted_to_the_images_that_are_scored[bound]",),
    ),
    # Seen in the score of the weights as training wrote them.
    Mutant(
        "sigma_from_test-evaluation",
        "recipes/evaluation.py",
        old="model, test = trained.model, trained.data.test",
        new="model, test = trained.model, trained.data.test\n"
        "    rebuilt = model.likelihood.mean(model.decode(model.posterior(test.images).mean))\n"
        "    for parameter in model.likelihood.parameters():\n"
        "        parameter.fill_((model.points(test.images) - rebuilt).square().mean().sqrt().log())",
        tests=("tests/recipes/test_evaluation.py::test_the_score_is_that_of_the_weights_in_the_file",),
    ),
    # Seen in the names of the files that evaluation opens.
    Mutant(
        "wrong_split-train_called_test",
        "metrics/data.py",
        old='return self._split("test")',
        new='return self._split("train")',
        tests=("tests/recipes/test_evaluation.py::test_the_score_opens_the_test_split_alone",),
    ),
    # Seen in the indices of the splits, which have none in common.
    Mutant(
        "wrong_split-test_images_stay_in_train",
        "datasets/base.py",
        old='rest, cut = self._cut("test_size", train, rest)',
        new='_, cut = self._cut("test_size", train, rest)',
        tests=(
            "tests/datasets/test_sources.py::test_embedded_sets_are_split_stratified_and_disjointly[digits]",
        ),
    ),
    # Seen in the names of the files that training opens.
    Mutant(
        "wrong_split-weights_chosen_on_test",
        "recipes/training.py",
        old='for split in ("train", "validation")',
        new='for split in ("train", "test")',
        tests=("tests/recipes/test_training.py::test_only_train_and_validation_images_are_opened",),
    ),
    # Seen in the validation score computed by hand.
    Mutant(
        "wrong_split-weights_chosen_on_train",
        "training/trainer.py",
        old="distortion, kl = self._validate()",
        new="distortion, kl = means[1:]",
        tests=("tests/training/test_trainer.py::test_validation_is_scored_on_the_mass",),
    ),
    # Beyond the table. A KL averaged over latents: seen in the loss written out by hand.
    Mutant(
        "mean_rate-elbo",
        "objectives/elbo.py",
        old="rate = model.rate_per_latent(posterior).sum(-1)  # [B]",
        new="rate = model.rate_per_latent(posterior).mean(-1)  # [B]",
        tests=("tests/objectives/test_objectives.py::test_elbo_loss_is_distortion_plus_beta_rate",),
    ),
    # Seen in the log ratio of torch's own normals, summed over latents.
    Mutant(
        "mean_rate-bound",
        "inference/bounds.py",
        old="posterior.log_prob(z)).sum(-1)",
        new="posterior.log_prob(z)).mean(-1)",
        tests=("tests/inference/test_bounds.py::test_log_likelihood_and_log_ratio_are_the_model_s",),
    ),
    # A bound without -log k: seen in the log-mean-exp written out.
    Mutant(
        "sum_of_weights-objective",
        "objectives/several_draws.py",
        old=" - math.log(self.samples)",
        new="",
        tests=("tests/objectives/test_objectives.py::test_iwae_is_log_mean_weight",),
    ),
    # Seen in weights 1 to 100, and in a uniform pmf, whose score would fall with k.
    Mutant(
        "sum_of_weights-bound",
        "inference/bounds.py",
        old=" - math.log(self.k)",
        new="",
        tests=(
            "tests/inference/test_bounds.py::test_running_bound_of_known_weights",
            "tests/metrics/test_metrics.py::test_a_uniform_pmf_scores_one_bit_a_pixel_at_two_levels",
        ),
    ),
    # Seen in scipy's cdf, wherever the density bends within a bin, and in the end bins.
    Mutant(
        "density_times_width-location_scale",
        "likelihoods/location_scale.py",
        old="def _log_mass(self, outputs: Tensor, k: Tensor) -> Tensor:",
        new="def _log_mass(self, outputs: Tensor, k: Tensor) -> Tensor:\n"
        "        return self._log_density(outputs, self._points(k)) - Tensor([self.levels]).log()",
        tests=("tests/likelihoods/test_gaussian.py::test_mass_is_the_cdf_difference",),
    ),
    # Seen in a uniform pmf over K levels: log2 K bits.
    Mutant(
        "nats_called_bits-units",
        "units/quantity.py",
        old="nats / (dimensions * math.log(2))",
        new="nats / dimensions",
        tests=("tests/units/test_quantity.py::test_a_uniform_pmf_costs_log2_of_the_levels",),
    ),
)

REPORTED = re.compile(r"^(PASSED|FAILED|ERROR) (\S+)(?: - (.*))?$", re.MULTILINE)
SEEN = re.compile(r"assert |AssertionError|Failed: DID NOT RAISE")


class Outcome(NamedTuple):
    """What a run of pytest in a copy gave: what it said of each test, and why, by its id."""

    code: int
    from_the_copy: bool
    results: dict[str, tuple[str, str]]
    output: str

    def of(self, test: str) -> list[str]:
        """The results of the cases of a test."""
        return [
            verdict for name, (verdict, _) in self.results.items() if test in (name, name.partition("[")[0])
        ]


def outcome_of(tests: tuple[str, ...], mutant: Mutant | None = None) -> Outcome:
    """Run tests in a copy of the project, mutated or not."""
    with TemporaryDirectory() as folder:
        copy = Path(folder).resolve()
        for name in ("src", "conf", "tests"):
            shutil.copytree(PROJECT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(PROJECT / "pyproject.toml", copy)
        if mutant is not None:
            mutate(copy / PACKAGE / mutant.file, mutant)
        return run(copy, tests)


def mutate(path: Path, mutant: Mutant) -> None:
    """Replace the text of a mutant, which must be there exactly once."""
    text = path.read_text()
    assert text.count(mutant.old) == 1, f"{mutant.file} has {text.count(mutant.old)} times: {mutant.old}"
    path.write_text(text.replace(mutant.old, mutant.new))


def run(copy: Path, tests: tuple[str, ...]) -> Outcome:
    """Run tests in a folder with its own package."""
    environment = {
        "PYTHONPATH": str(copy / "src"),  # before the project itself, which is installed
        "OMP_NUM_THREADS": "1",
        "PYTEST_ADDOPTS": "",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "CI": "1",  # or the summary shortens what an assertion says
    }
    options = ["-rpfE", "--tb=short", "--color=no", "-p", "no:cacheprovider", f"--basetemp={copy / 'tmp'}"]
    code, package, report = run_pytest(copy, [*options, *tests], environment)
    results = {name: (verdict, why) for verdict, name, why in REPORTED.findall(report)}
    return Outcome(code, package == copy / PACKAGE / "__init__.py", results, report)


def named() -> tuple[str, ...]:
    """Every test of the table, once."""
    return tuple(dict.fromkeys(test for mutant in MUTANTS for test in mutant.tests))


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest) -> Iterator[dict[str, Future[Outcome]]]:
    """The outcomes that the tests of this run ask for, two computed at a time; the unmutated one is ''."""
    mine = [item for item in request.session.items if item.parent is request.node]
    asked = [item.callspec.params["mutant"] for item in mine if hasattr(item, "callspec")]
    with ProcessPoolExecutor(2, forking(), max_tasks_per_child=1) as pool:
        pending = {"": pool.submit(outcome_of, named())}
        pending |= {mutant.name: pool.submit(outcome_of, mutant.tests, mutant) for mutant in asked}
        yield pending
        pool.shutdown(cancel_futures=True)


def test_every_row_of_the_gallery_has_a_mutant() -> None:
    from vae_likelihoods.gallery.rows import ROWS

    assert {entry.name for entry in ROWS} <= {mutant.name.partition("-")[0] for mutant in MUTANTS}


def test_without_a_mutant_every_test_passes(outcomes: dict[str, Future[Outcome]]) -> None:
    outcome = outcomes[""].result()
    assert outcome.code == 0, outcome.output
    assert outcome.from_the_copy, outcome.output
    for test in named():
        assert set(outcome.of(test)) == {"PASSED"}, test


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_is_seen(mutant: Mutant, outcomes: dict[str, Future[Outcome]]) -> None:
    outcome = outcomes[mutant.name].result()
    assert outcome.code == 1, outcome.output  # tests ran, and some failed
    assert outcome.from_the_copy, outcome.output
    for test in mutant.tests:
        assert "FAILED" in outcome.of(test), outcome.output
    for verdict, why in outcome.results.values():
        assert verdict == "PASSED" or (verdict == "FAILED" and SEEN.match(why)), outcome.output
