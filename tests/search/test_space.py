"""What tuning may vary: read from YAML, and points that fill it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from vae_likelihoods.cells.cell import Cell
from vae_likelihoods.errors import SettingError
from vae_likelihoods.files import PROJECT
from vae_likelihoods.search.space import Discrete, Range, searched, space, trials


def test_every_likelihood_has_a_space(small_cell: Callable[..., Cell]) -> None:
    for path in sorted((PROJECT / "conf" / "likelihood").glob("*.yaml")):
        name, levels = path.stem, 2 if path.stem == "bernoulli" else 17
        settings = small_cell(f"likelihood={name}", f"levels={levels}").settings
        found = space(settings, [2, 4, 8], first_rung=9)
        assert found["latent_dim"] == Discrete((2, 4, 8))
        assert isinstance(found["optimizer.lr"], Range)
        assert found["objective.warmup_epochs"] == Discrete((0, 4))
        own = {key for key in found if key.startswith("likelihood.")}
        assert own == {f"likelihood.{key}" for key in settings.search}


def test_what_has_one_value_is_not_searched(small_cell: Callable[..., Cell]) -> None:
    found = space(small_cell("likelihood=binomial").settings, [4], first_rung=1)
    assert set(found) == {"optimizer.lr"}


ODD = [
    *([], "0.1", 3, {"low": 1}, {"low": 1, "high": 0}, {"low": 0, "high": 1, "log": True}),
    *({"low": 0, "high": "x"}, {"low": 0, "high": 1, "step": 1}, {"low": 0.0, "high": float("inf")}),
]


@pytest.mark.parametrize("content", ODD, ids=str)
def test_what_is_no_range_is_refused(content: Any) -> None:
    with pytest.raises(SettingError, match="must be a list of values, or"):
        searched("likelihood._search_.scale", content)


def test_a_key_that_the_likelihood_has_not_is_refused(small_cell: Callable[..., Cell]) -> None:
    cell = small_cell("likelihood=binomial", "+likelihood._search_={sigma: [1, 2]}")
    with pytest.raises(SettingError, match=r"_search_\.sigma"):
        space(cell.settings, [2], first_rung=1)


SPACE = {"a": Range(1e-4, 1e-2, log=True), "b": Range(-1, 1), "c": Discrete(("x", "y", "z"))}
DEFAULT = {"a": 1e-3, "b": 0.0, "c": "y"}


def test_the_first_trial_is_the_default_and_the_same_seed_gives_the_same_points() -> None:
    first, second = (trials(SPACE, DEFAULT, 9, seed=3) for _ in range(2))
    assert first == second
    assert first[0] == DEFAULT
    assert first[:5] == trials(SPACE, DEFAULT, 5, seed=3)
    assert first[1:] != trials(SPACE, DEFAULT, 9, seed=4)[1:]


@pytest.mark.parametrize("seed", range(5))
def test_points_fill_the_space(seed: int) -> None:
    """The first 2^n points of a Sobol sequence have one in each of 2^n slices of every axis."""
    points = trials(SPACE, DEFAULT, 33, seed)[1:]
    slices = (np.log10([point["a"] for point in points]) + 4) / 2 * 8
    assert set(np.clip(slices, 0, 7.999).astype(int)) == set(range(8))
    assert {point["c"] for point in points} == {"x", "y", "z"}
    assert all(1e-4 <= point["a"] <= 1e-2 and -1 <= point["b"] <= 1 for point in points)


def test_nothing_to_search_is_one_trial() -> None:
    assert trials({}, {}, 9, seed=0) == [{}]
