"""What `vae-likelihoods verify` refuses before it computes anything."""

from __future__ import annotations

import pandas as pd
import pytest

from vae_likelihoods.cli.app import main
from vae_likelihoods.units.declaration import Declaration
from vae_likelihoods.verify.last_commit import number_by_number, setting_by_setting
from vae_likelihoods.verify.reproduction import differences


def test_an_unknown_study_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "--study", "absent"]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert printed.err.startswith("verify: study=absent: is not an optional study of the last commit.")


def summary_of(bits: dict[str, tuple[float, float]], active: int = 2) -> pd.DataFrame:
    """Return a study of one latent size: likelihood -> bits/dim of two seeds."""
    rows = [
        {
            "study": "s",
            "cell": f"{name}-2-{seed}",
            "likelihood": name,
            "latent_dim": 2,
            "seed": seed,
            "bits_per_dim": score,
            "active_units": active,
        }
        for name, scores in bits.items()
        for seed, score in enumerate(scores)
    ]
    return pd.DataFrame(rows)


def plots_of(bits: dict[str, tuple[float, float]]) -> pd.DataFrame:
    means = {name: sum(scores) / 2 for name, scores in bits.items()}
    rows = [
        {
            "study": "s",
            "likelihood": name,
            "latent_dim": 2,
            "bits_per_dim": mean,
            "behind_low": mean - min(means.values()) - 0.01,
        }
        for name, mean in means.items()
    ]
    return pd.DataFrame(rows)


def test_settings_may_move_as_seeds_do_and_not_further(capsys: pytest.CaptureFixture[str]) -> None:
    """Seeds are 0.2 % apart."""
    there = {name: (place * 1.001, place * 0.999) for place, name in enumerate("abcdefgh", 1)}
    near = {name: (high * 1.0005, low * 1.0005) for name, (high, low) in there.items()}
    faults = setting_by_setting("x", summary_of(there), summary_of(near), [plots_of(there), plots_of(near)])
    assert faults == []
    assert (
        "s, 8 settings (of right reproductions, 1% are called wrong); furthest: " in capsys.readouterr().out
    )

    far = near | {"c": (3.1, 3.1)}
    (fault,) = setting_by_setting("x", summary_of(there), summary_of(far), [plots_of(there), plots_of(far)])
    assert fault.startswith("`c` with 2 latents has ")


def test_numbers_are_judged_and_counts_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    there = summary_of({"a": (1.0, 2.0)})
    here = summary_of({"a": (1.0 + 2e-6, 2.0)}, active=25)
    declared = {name: Declaration(name, "a fact", exact=True) for name in there}
    declared["bits_per_dim"] = Declaration("bits_per_dim", "the score", format=".4f", whole="itself")
    declared["active_units"] = Declaration("active_units", "latents in use", format="d")
    apart = differences(there, here, declared)
    assert number_by_number("x", apart, declared, 1e-5) == []
    (fault,) = number_by_number("x", apart, declared, 1e-6)
    assert fault.startswith("bits_per_dim of s/a-2-0 is 1.0 in the commit")
    assert (
        "a count, not judged: active_units of s/a-2-0 is 2 in the commit, 25 here" in capsys.readouterr().out
    )
