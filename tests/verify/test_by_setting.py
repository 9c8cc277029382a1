"""What another machine may move, and what it may not: rates are simulated, shifts planted."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from vae_likelihoods.verify.by_setting import FALSE_ALARMS, contradicted, faults, shifts

Study = Callable[..., pd.DataFrame]
SPREADS = {
    "equal": dict.fromkeys("abcdef", 0.004),
    "unequal": {"a": 0.001, "b": 0.002, "c": 0.004, "d": 0.004, "e": 0.01, "f": 0.05},
}


def drawn(rng: np.random.Generator, spreads: dict[str, float], seeds: int) -> pd.DataFrame:
    """Return a study of 6 likelihoods x 3 latent sizes whose seeds are normal on the log scale."""
    rows = [
        {
            "likelihood": name,
            "latent_dim": size,
            "seed": seed,
            "bits_per_dim": (1 + place) * np.exp(rng.normal(0, spread)),
        }
        for place, (name, spread) in enumerate(spreads.items())
        for size in (2, 8, 32)
        for seed in range(seeds)
    ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize("seeds", [2, 3])
@pytest.mark.parametrize("spreads", SPREADS)
def test_right_reproductions_are_called_wrong_as_rarely_as_is_said(spreads: str, seeds: int) -> None:
    """Of 300 at most as many as the rate that is said gives in 99.9 %, also where likelihoods differ."""
    rng, count = np.random.default_rng(0), 300
    alarms = 0
    for _ in range(count):
        pair = [drawn(rng, SPREADS[spreads], seeds) for _ in range(2)]
        alarms += bool(faults(shifts(pair[0], pair[1])))
    assert alarms <= FALSE_ALARMS * count + 3.1 * np.sqrt(FALSE_ALARMS * count)


@pytest.mark.parametrize("spreads", SPREADS)
def test_a_shift_of_eight_standard_deviations_of_a_seed_is_refused(spreads: str) -> None:
    """In each likelihood by 8 of the larger of its own and the pooled spread, which it is judged by."""
    rng, found = np.random.default_rng(1), 0
    pooled = np.sqrt(np.mean(np.square(list(SPREADS[spreads].values()))))
    trials = 40
    for trial in range(trials):
        committed, computed = (drawn(rng, SPREADS[spreads], 2) for _ in range(2))
        name = "abcdef"[trial % 6]
        shifted = (computed["likelihood"] == name) & (computed["latent_dim"] == 8)
        computed.loc[shifted, "bits_per_dim"] *= np.exp(8 * max(pooled, SPREADS[spreads][name]))
        found += any(f"`{name}` with 8 latents" in fault for fault in faults(shifts(committed, computed)))
    assert found >= 0.9 * trials


def test_a_fault_names_the_setting_and_both_scores() -> None:
    rng = np.random.default_rng(2)
    committed, computed = (drawn(rng, SPREADS["equal"], 2) for _ in range(2))
    shifted = (computed["likelihood"] == "c") & (computed["latent_dim"] == 2)
    computed.loc[shifted, "bits_per_dim"] *= 1.5
    (fault,) = faults(shifts(committed, computed))
    assert fault.startswith("`c` with 2 latents has ")
    assert " bits/dim in the commit, " in fault
    assert fault.endswith("standard deviations of a seed apart")


def test_one_seed_each_says_nothing_of_other_seeds() -> None:
    one = drawn(np.random.default_rng(3), SPREADS["equal"], 1)
    assert shifts(one, one) == []


def test_the_same_numbers_do_not_move() -> None:
    study = drawn(np.random.default_rng(4), SPREADS["equal"], 2)
    found = shifts(study, study.sample(frac=1, random_state=0))
    assert len(found) == 18
    assert {shift.p_value for shift in found} == {1.0}


def plots(**behind: tuple[float, float]) -> pd.DataFrame:
    """Return plots: name -> (bits/dim, lower end of its distance to the best)."""
    rows = [
        {"likelihood": name, "latent_dim": 8, "bits_per_dim": bits, "behind_low": low}
        for name, (bits, low) in behind.items()
    ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("committed", "computed", "count"),
    [
        ({"a": (1.0, 0.0), "b": (1.2, 0.1)}, {"a": (1.0, 0.0), "b": (1.2, 0.1)}, 0),
        ({"a": (1.0, 0.0), "b": (1.2, 0.1)}, {"a": (1.2, 0.1), "b": (1.0, 0.0)}, 1),
        ({"a": (1.0, 0.0), "b": (1.2, -0.1)}, {"a": (1.2, 0.1), "b": (1.0, 0.0)}, 0),
        ({"a": (1.0, 0.0), "b": (1.2, 0.1)}, {"a": (1.2, -0.1), "b": (1.0, 0.0)}, 0),
        ({"a": (1.0, 0.0), "b": (1.2, float("nan"))}, {"a": (1.2, 0.1), "b": (1.0, 0.0)}, 0),
    ],
)
def test_only_what_is_firm_on_both_sides_is_contradicted(
    committed: dict[str, tuple[float, float]], computed: dict[str, tuple[float, float]], count: int
) -> None:
    found = contradicted(plots(**committed), plots(**computed))
    assert len(found) == count
    if count:
        assert "`a` with 8 latents is firmly better than `b` with 8 latents in the commit" in found[0]
