"""What does not follow from summary.csv in the other reports of a commit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from vae_likelihoods.report import ranking
from vae_likelihoods.report.scores import Name
from vae_likelihoods.units.quantity import BITS, Unit, bits_per_dim
from vae_likelihoods.units.variants import VARIANT
from vae_likelihoods.verify.reproduction import CELL, rows, with_variants

ROUNDING = 2e-5  # of numbers that were computed from others before both were rounded to 6 digits
_SETTING = ["study", "likelihood", "latent_dim", VARIANT]
_PLOTTED = (
    "bits_per_dim",
    "standard_error",
    "behind",
    "behind_low",
    "behind_high",
    "best_share",
    "beats_baselines",
)


def contradictions(summary: pd.DataFrame, headlines: Mapping[str, Any], plots: pd.DataFrame) -> list[str]:
    """Return what does not follow from summary.csv in the other reports of the same commit.

    Nothing is computed again, and the only tolerance is that of rounding to 6 digits: whoever edits one
    number must edit all that follow from it. How sure a difference is follows from the scores of single
    images, which are not in git; so plots and headlines must agree on it.

    Args:
        summary: summary.csv.
        headlines: metrics.json.
        plots: plots/bits_per_dim.csv.
    """
    summary, plots = (with_variants(table) for table in (summary, plots))
    if unlike := _settings(summary, plots):
        return [*_of_cells(summary), unlike]
    return [*_of_cells(summary), *_of_plots(summary, plots), *_of_headlines(summary, headlines, plots)]


def _of_cells(summary: pd.DataFrame) -> list[str]:
    faults = []
    for row in rows(summary):
        cell, nll = "/".join(row[name] for name in CELL), row["nll_nats"]
        bits = bits_per_dim(nll, row["dimensions"])
        if not _near(row["bits_per_dim"], bits, bits):
            faults.append(f"bits_per_dim of {cell} is {row['bits_per_dim']}, its nll_nats give {bits:.6g}")
        if _known(row["elbo_nats"]) is None:  # an exact score has no parts
            continue
        elbo = -(row["distortion_nats"] + row["rate_nats"])
        if not _near(row["elbo_nats"], elbo, elbo):
            faults.append(f"elbo_nats of {cell} is {row['elbo_nats']}, distortion and rate give {elbo:.6g}")
    return faults


def _settings(summary: pd.DataFrame, plots: pd.DataFrame) -> str:
    """Return why the plots cannot be those of the summary; empty if they can."""
    name = "plots/bits_per_dim.csv"
    if lacking := [column for column in (*_SETTING, *_PLOTTED) if column not in plots]:
        return f"{name} has no {', '.join(lacking)}"
    same = {*map(tuple, summary[_SETTING].to_numpy())} == {*map(tuple, plots[_SETTING].to_numpy())}
    return "" if same else f"{name} has other settings than summary.csv"


def _of_plots(summary: pd.DataFrame, plots: pd.DataFrame) -> list[str]:
    means = summary.groupby(_SETTING)["bits_per_dim"].mean().sort_index()
    plotted = plots.set_index(_SETTING).sort_index()
    expected = {"bits_per_dim": means, "behind": means - means.groupby("study").transform("min")}
    return [
        f"plots/bits_per_dim.csv has {name} {number} for {setting}, summary.csv gives {value:.6g}"
        for name, values in expected.items()
        for (setting, number), value, whole in zip(plotted[name].items(), values, means, strict=True)
        if not _near(number, value, whole)
    ]


def _of_headlines(summary: pd.DataFrame, headlines: Mapping[str, Any], plots: pd.DataFrame) -> list[str]:
    groups = summary.groupby("study", sort=False)
    expected = {str(study): _headline(cells, plots[plots["study"] == study]) for study, cells in groups}
    if list(headlines) != list(expected):
        return [f"metrics.json has the studies {', '.join(headlines)}, summary.csv {', '.join(expected)}"]
    faults = []
    for study, numbers in expected.items():
        headline, runner_up = headlines[study], numbers["bits_per_dim"] + numbers.get("difference", 0)
        for name in dict.fromkeys([*numbers, *headline]):
            if not _same(headline.get(name), numbers.get(name), runner_up):
                values = f"{headline.get(name)}, the other reports give {numbers.get(name)}"
                faults.append(f"metrics.json has {study}.{name} {values}")
    return faults


def _headline(cells: pd.DataFrame, plots: pd.DataFrame) -> dict[str, Any]:
    """Return the headline of one study (`tables.headlines`) from its rows of summary.csv and of the plots."""
    ranked = {name: ranking.mean(bits) for name, bits in ranking.ordered(cells).items()}
    plotted = {Name.of(row): row for row in rows(plots)}
    best, *others = ranked
    headline = {
        "likelihood": best.likelihood,
        "latent_dim": best.latent_dim,
        **({VARIANT: best.variant} if any(name.variant for name in ranked) else {}),
        "bits_per_dim": ranked[best],
        "standard_error": _known(plotted[best]["standard_error"]),
        "best_share": _known(plotted[best]["best_share"]),
        "beats_baselines": bool(plotted[best]["beats_baselines"]),
        "unit": str(_unit(rows(cells))),
    }
    second = next((name for name in others if name.likelihood != best.likelihood), None)
    if second is None:
        return headline
    low, high = (_known(plotted[second][end]) for end in ("behind_low", "behind_high"))
    return headline | {
        "runner_up": second.likelihood,
        "difference": ranked[second] - ranked[best],
        "difference_low": low,
        "difference_high": high,
        "distinguishable": None if low is None else low > 0,
    }


def _known(value: Any) -> float | None:
    """Return a number of the plots; None for an empty field, which too few images leave."""
    return None if pd.isna(value) else float(value)


def _unit(cells: Sequence[Mapping[str, Any]]) -> Unit:
    """Return the unit of a study's scores: its k is that of the bounds, if it has any."""
    first = cells[0]
    images = {name: first[name] for name in ("split", "dimensions", "levels")}
    draws = (_known(row["importance_samples"]) for row in cells)
    k = next((int(each) for each in draws if each is not None), None)
    return Unit(BITS, first["scale"], k, **images)


def _same(value: Any, expected: Any, whole: float) -> bool:
    """Whether two values are equal but for rounding; `whole` is the largest number that they come from."""
    if isinstance(value, float) and isinstance(expected, float):
        return _near(value, expected, whole)
    return bool(value == expected)


def _near(a: float, b: float, whole: float) -> bool:
    return abs(a - b) <= ROUNDING * abs(whole)
