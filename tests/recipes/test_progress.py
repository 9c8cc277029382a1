"""How a training ended, from histories made by hand, and what the diagnosis makes of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from vae_likelihoods.cells.cell import Cell
from vae_likelihoods.recipes.progress import progress
from vae_likelihoods.report.diagnostics import diagnose

IMAGES = 640


@pytest.fixture
def ended(small_cell: Callable[..., Cell]) -> Callable[..., dict[str, Any]]:
    """Return a function: validation scores and overrides -> the numbers, the best score among them."""

    def numbers(scores: list[float], *overrides: str) -> dict[str, Any]:
        usual = ("training.batch_size=64", "training.warmup_steps=0", f"training.epochs={len(scores)}")
        settings = small_cell(*usual, *overrides).settings
        history = [{"val_bits_per_dim": str(score), "learning_rate": "0.01"} for score in scores]
        found = progress(history, settings, IMAGES)
        return {each.name: value for each, value in found.items()} | {"bits_per_dim": min(scores)}

    return numbers


def names(numbers: dict[str, Any]) -> list[str]:
    return [finding.name for finding in diagnose(numbers)]


def test_the_gain_is_that_of_the_last_third(ended: Callable[..., dict[str, Any]]) -> None:
    numbers = ended([5, 4, 3, 2.9, 2.8, 2.75])
    assert numbers["late_gain_bits"] == pytest.approx(0.15)
    assert (numbers["best_epoch"], numbers["epochs"], numbers["validation_rise_bits"]) == (6, 6, 0)
    assert names(numbers) == ["still improving"]
    assert names(ended([5, 4, 3, 2.8, 2.79, 2.78])) == []
    assert names(ended([5, 4, 3, 2.9, 2.75, 2.8])) == []  # the best epoch is not the last


def test_of_too_few_epochs_nothing_is_known(ended: Callable[..., dict[str, Any]]) -> None:
    assert "late_gain_bits" not in ended([3.0])
    assert names(ended([3.0])) == ["still improving"]
    assert names(ended([3.0, 3.0])) == ["still improving"]


def test_a_score_that_explodes_after_its_best_epoch_is_named(ended: Callable[..., dict[str, Any]]) -> None:
    numbers = ended([4.0, 3.2, 9.0, 20.0])
    assert numbers["validation_rise_bits"] == pytest.approx(16.8)
    assert names(numbers) == ["validation got worse"]
    assert names(ended([4.0, 3.2, 3.3, 3.4])) == []


@pytest.mark.parametrize(
    ("overrides", "share"),
    [
        (["training.warmup_steps=20"], 0.4),
        (["training.warmup_steps=100"], 1.0),
        (["objective.warmup_epochs=2"], 0.4),
        (["training.warmup_steps=5"], 0.1),
    ],
)
def test_the_share_of_the_warm_up(
    ended: Callable[..., dict[str, Any]], overrides: list[str], share: float
) -> None:
    """5 epochs of 10 steps each."""
    numbers = ended([3.0] * 5, *overrides)
    assert numbers["warmup_share"] == pytest.approx(share)
    assert ("long warm-up" in names(numbers)) == (share > 0.2)
