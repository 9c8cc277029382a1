"""What the reports of a commit say that does not follow from their own summary.csv."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from vae_likelihoods.report import ranking, tables
from vae_likelihoods.reproduction import CELL, rows
from vae_likelihoods.units import BITS, Unit, bits_per_dim

ROUNDING = 2e-5  # of numbers that were computed from others before both were rounded to 6 digits


def contradictions(summary: pd.DataFrame, headlines: Mapping[str, Any], plots: pd.DataFrame) -> list[str]:
    """Return what the reports of one commit say that does not follow from their own summary.csv.

    This needs no computing again, and no tolerance but that of rounding to 6 digits: whoever edits one
    number must edit all that follow from it.

    Args:
        summary: summary.csv.
        headlines: metrics.json.
        plots: plots/bits_per_dim.csv.
    """
    return [*_of_cells(summary), *_of_plots(summary, plots), *_of_headlines(summary, headlines)]


def _of_cells(summary: pd.DataFrame) -> list[str]:
    faults = []
    for row in rows(summary):
        cell, nll = "/".join(row[name] for name in CELL), row["nll_nats"]
        bits = bits_per_dim(nll, row["dimensions"])
        if not _near(row["bits_per_dim"], bits, bits):
            faults.append(f"bits_per_dim of {cell} is {row['bits_per_dim']}, its nll_nats give {bits:.6g}")
        elbo = -(row["distortion_nats"] + row["rate_nats"])
        if not _near(row["elbo_nats"], elbo, elbo):
            faults.append(f"elbo_nats of {cell} is {row['elbo_nats']}, distortion and rate give {elbo:.6g}")
    return faults


def _of_plots(summary: pd.DataFrame, plots: pd.DataFrame) -> list[str]:
    setting = ["study", "likelihood", "latent_dim"]
    means = summary.groupby(setting)["bits_per_dim"].mean().sort_index()
    drawn = plots.set_index(setting)["bits_per_dim"].sort_index()
    if not means.index.equals(drawn.index):
        return ["plots/bits_per_dim.csv has other settings than summary.csv"]
    return [
        f"plots/bits_per_dim.csv has {value} for {where}, summary.csv gives {mean:.6g}"
        for (where, value), mean in zip(drawn.items(), means, strict=True)
        if not _near(value, mean, mean)
    ]


def _of_headlines(summary: pd.DataFrame, headlines: Mapping[str, Any]) -> list[str]:
    expected: Mapping[str, Mapping[str, Any]] = tables.headlines(ranking.answers(_with_units(summary)))
    if list(headlines) != list(expected):
        return [f"metrics.json has the studies {', '.join(headlines)}, summary.csv {', '.join(expected)}"]
    faults = []
    for study, numbers in expected.items():
        said, runner_up = headlines[study], numbers["bits_per_dim"] + numbers.get("difference", 0)
        for name in dict.fromkeys([*numbers, *said]):
            if not _same(said.get(name), numbers.get(name), runner_up):
                told = f"{said.get(name)}, summary.csv gives {numbers.get(name)}"
                faults.append(f"metrics.json has {study}.{name} {told}")
    return faults


def _with_units(summary: pd.DataFrame) -> pd.DataFrame:
    """Return the summary as `summary.collect` had it, as far as a ranking asks."""
    units: Any = [{"bits_per_dim": _unit(row)} for row in rows(summary)]
    return summary.assign(test_sha256="", units=units)


def _unit(row: Mapping[str, Any]) -> Unit:
    where = {name: row[name] for name in ("split", "dimensions", "levels")}
    return Unit(BITS, row["scale"], row["importance_samples"], **where)


def _same(said: Any, expected: Any, whole: float) -> bool:
    """Whether two values are one but for rounding; `whole` is the largest number that they come from."""
    if isinstance(said, float) and isinstance(expected, float):
        return _near(said, expected, whole)
    return bool(said == expected)


def _near(a: float, b: float, whole: float) -> bool:
    return abs(a - b) <= ROUNDING * abs(whole)
