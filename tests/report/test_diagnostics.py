"""Numbers with a known fault get its name, and only then."""

from __future__ import annotations

from typing import Any

import pytest

from vae_likelihoods.report.diagnostics import Thresholds, diagnose

HEALTHY: dict[str, Any] = {
    "posterior_collapse": 0,
    "collapsed_share": 0.0,
    "train_nll_nats": 100.0,
    "train_nll_nats_se": 2.0,
    "generalisation_gap_nats": 4.0,
    "generalisation_gap_nats_se": 3.0,
    "inference_gap_nats": 2.0,
    "inference_gap_nats_se": 0.1,
    "amortisation_gap_nats": 0.8,
    "amortisation_gap_nats_se": 0.1,
    "refit_elbo_gain_nats": 0.2,
    "refit_elbo_gain_nats_se": 0.1,
    "iwae_gap_nats": 0.2,
    "iwae_gap_nats_se": 0.05,
    "effective_sample_size": 20.0,
    "simulated_gap_nats": 0.05,
    "simulated_gap_nats_se": 0.02,
}


def names(**changed: Any) -> list[str]:
    return [finding.name for finding in diagnose({**HEALTHY, **changed})]


def test_a_healthy_cell_has_no_finding() -> None:
    assert names() == []


def test_a_number_whose_standard_error_is_missing_is_not_judged() -> None:
    """As with a single test image: how far the number is from 0 is not known."""
    assert names(refit_elbo_gain_nats=5.0) == ["wrong encoder"]
    assert names(refit_elbo_gain_nats=5.0, refit_elbo_gain_nats_se=None) == []


def test_what_was_not_measured_is_not_judged() -> None:
    assert diagnose({}) == []
    assert diagnose({"generalisation_gap_nats": 50.0, "cell": "gaussian-8-0"}) == []


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"posterior_collapse": 1, "collapsed_share": 1.0}, "posterior collapse"),
        ({"posterior_collapse": 0, "collapsed_share": 0.5}, "dead latents"),
        ({"generalisation_gap_nats": 12.0}, "overfit"),
        ({"refit_elbo_gain_nats": 3.0, "amortisation_gap_nats": 5.0}, "wrong encoder"),
        ({"amortisation_gap_nats": 1.5}, "amortisation gap"),
        ({"iwae_gap_nats": 0.8}, "loose bound"),
        ({"simulated_gap_nats": 0.9}, "chains too short"),
    ],
)
def test_each_fault_has_its_name_alone(changed: dict[str, Any], name: str) -> None:
    assert names(**changed) == [name]


@pytest.mark.parametrize(
    ("number", "value", "name"),
    [
        ("generalisation_gap_nats", 12.0, "overfit"),
        ("refit_elbo_gain_nats", 3.0, "wrong encoder"),
        ("amortisation_gap_nats", 1.5, "amortisation gap"),
        ("iwae_gap_nats", 0.8, "loose bound"),
        ("simulated_gap_nats", 0.9, "chains too short"),
    ],
)
def test_an_effect_within_its_error_is_no_finding(number: str, value: float, name: str) -> None:
    assert names(**{number: value, f"{number}_se": value / 2.9}) == []
    assert names(**{number: value, f"{number}_se": value / 3.1}) == [name]


def test_a_finding_holds_its_numbers() -> None:
    (finding,) = diagnose({**HEALTHY, "generalisation_gap_nats": 12.0})
    assert finding.numbers == {
        "generalisation_gap_nats": 12.0,
        "generalisation_gap_nats_se": 3.0,
        "train_nll_nats": 100.0,
        "train_nll_nats_se": 2.0,
    }
    assert "12.00 ± 3.00" in finding.text
    assert "100.00 ± 2.00" in finding.text
    (finding,) = diagnose({"posterior_collapse": 1, "collapsed_share": 1.0})
    assert finding.numbers == {"posterior_collapse": 1.0, "collapsed_share": 1.0}


def test_findings_come_with_the_worst_first() -> None:
    faults = names(collapsed_share=0.5, iwae_gap_nats=3.0, refit_elbo_gain_nats=9.0)
    assert faults == ["wrong encoder", "loose bound", "dead latents"]


def test_thresholds_can_be_chosen() -> None:
    assert [finding.name for finding in diagnose(HEALTHY, Thresholds(loose_nats=0.1))] == ["loose bound"]


@pytest.mark.parametrize(
    ("measured", "named"),
    [
        ({"bits_per_dim": 9.2, "uniform_bits_per_dim": 8.0, "independent_pixels_bits_per_dim": 7.0}, True),
        ({"bits_per_dim": 7.5, "uniform_bits_per_dim": 8.0, "independent_pixels_bits_per_dim": 7.0}, True),
        ({"bits_per_dim": 6.9, "uniform_bits_per_dim": 8.0, "independent_pixels_bits_per_dim": 7.0}, False),
        ({"bits_per_dim": 6.9}, False),
    ],
)
def test_what_a_model_without_latents_does_better_is_named(measured: dict[str, float], named: bool) -> None:
    findings = diagnose(measured)
    assert [finding.name for finding in findings] == ["worse than a baseline"] * named
    if named:
        assert "independent pixels 7.000" in findings[0].text
        assert ("a uniform guess 8.000" in findings[0].text) == (measured["bits_per_dim"] > 8)


@pytest.mark.parametrize(("share", "named"), [(0.8, True), (0.3, False)])
def test_one_image_that_carries_a_score_is_named(share: float, named: bool) -> None:
    assert [finding.name for finding in diagnose({"one_image_share": share})] == ["one image"] * named
