"""One row a cell: collect `evaluations/<study>/<cell>/metrics.json` into a frame that can be ranked."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from vae_likelihoods.errors import SettingError, require
from vae_likelihoods.report.comparable import require_comparable
from vae_likelihoods.units import Unit

COLUMNS = (
    "study", "dataset", "levels", "likelihood", "latent_dim", "seed",
    "bits_per_dim", "nll_nats", "elbo_nats", "rate_nats", "distortion_nats",
    "bits_per_dim_se", "importance_samples", "effective_sample_size", "active_units", "squared_error",
    "trained_on", "parameters", "multiply_adds", "epochs", "scale", "split", "dimensions", "cell",
)  # fmt: skip
"""The columns of reports/summary.csv, in order; after them stand the numbers of further metrics, by name."""

_OF_THE_SCORE = ("scale", "split")  # what the unit of bits_per_dim says
_KEYS = (*(name for name in COLUMNS if name not in _OF_THE_SCORE), "test_sha256")
_MEASURED = COLUMNS[6:16]  # with a unit each
_HEADLINE = ("bits_per_dim", "nll_nats")  # what a ranking cannot do without
_WHOLE = ("levels", "latent_dim", "seed", "dimensions")
_NUMBERS = (*_WHOLE, *_MEASURED, *COLUMNS[17:20])


def collect(
    evaluations: Path, studies: Mapping[str, Sequence[str]], optional: Collection[str] = ()
) -> pd.DataFrame:
    """Return one row for each evaluated cell of `studies`, in the order in which they are named.

    Args:
        evaluations: the folder that holds `<study>/<cell>/metrics.json`.
        studies: study -> its likelihoods in the order of params.yaml (see `study_axes`).
        optional: which of the studies are optional ones, for the message that says how to get the cells.

    Returns:
        A frame with `COLUMNS`, `test_sha256` (of the test images), `units` (of every measured column, by
        its name), `better` (its direction, where it has one) and the columns of `further`: studies as given,
        then likelihoods as given (others after them, by name), latent sizes and seeds by number.

    Raises:
        SettingError: a study has no cell, or a file is damaged or says no units.
        UnlikeUnits: the cells of a study differ in a unit or in their images.
    """
    require(bool(studies), "studies", "(none)", "no study to report; name one in params.yaml or with --study")
    frames = [
        _study(evaluations, study, likelihoods, _command(study, likelihoods, study in optional))
        for study, likelihoods in studies.items()
    ]
    return pd.concat(frames, ignore_index=True)


def further(cells: pd.DataFrame) -> list[str]:
    """Return the columns of what other metrics than the ones of `COLUMNS` measured, by name."""
    return sorted({name for units in cells["units"] for name in units} - {*COLUMNS})


def study_axes(params: Mapping[str, Any], chosen: Sequence[str] = ()) -> dict[str, list[str]]:
    """Return study -> likelihoods as params.yaml orders them: of `chosen`, or else of the default studies.

    Example:
        >>> params = {"studies": {"grey": {"likelihood": "gaussian, binomial"}}}
        >>> study_axes(params | {"optional": {"all": {"likelihood": "laplace"}}})
        {'grey': ['gaussian', 'binomial']}
    """
    default, optional = params.get("studies") or {}, params.get("optional") or {}
    named = {str(name): _names(study) for name, study in {**optional, **default}.items()}
    return {name: named.get(name, []) for name in chosen or map(str, default)}


def write_summary(cells: pd.DataFrame, path: Path) -> None:
    """Write `COLUMNS` and `further` of `cells` to `path` as CSV, numbers rounded to 6 significant digits."""
    rounded = cells[[*COLUMNS, *further(cells)]].map(significant)
    rounded.to_csv(path, index=False, lineterminator="\n")


def significant(value: Any, digits: int = 6) -> Any:
    """Return a float rounded to `digits` significant digits; anything else as it is."""
    return float(f"{value:.{digits}g}") if isinstance(value, float) else value


def _names(study: Mapping[str, Any]) -> list[str]:
    return [name.strip() for name in str(study.get("likelihood", "")).split(",") if name.strip()]


def _command(study: str, likelihoods: Sequence[str], optional: bool) -> str:
    """Return what evaluates the cells of a study; one that params.yaml does not name has no likelihoods."""
    if optional:
        return f"`make study STUDY={study}`"
    return (
        f"`.venv/bin/dvc repro evaluate@{study}`" if likelihoods else f"pipelines/evaluate.py study={study}"
    )


def _study(evaluations: Path, study: str, likelihoods: Sequence[str], command: str) -> pd.DataFrame:
    paths = sorted((evaluations / study).glob("*/metrics.json"))
    remedy = f"run {command}"
    require(bool(paths), "study", study, f"no evaluated cell in {(evaluations / study).as_posix()}; {remedy}")
    cells = pd.DataFrame([_read(path, study, remedy) for path in paths])
    require_comparable(cells)
    order = {name: place for place, name in enumerate(likelihoods)}
    place = cells["likelihood"].map(lambda name: order.get(name, len(order)))
    ordered = cells.assign(_place=place).sort_values(["_place", "likelihood", "latent_dim", "seed", "cell"])
    return ordered[[*COLUMNS, *further(cells), "test_sha256", "units", "better"]]


def _read(path: Path, study: str, remedy: str) -> dict[str, Any]:
    units: dict[str, Unit] = {}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        fault = _fault(record, study, path.parent.name)
        units = {} if fault else _units(record)
    except SettingError as error:
        fault = str(error)
    except ValueError as error:
        fault = f"not JSON ({error})"
    if fault:
        why = f"damaged, or evaluated without all metrics or by an older version: {fault}; {remedy}"
        raise SettingError("metrics", path.as_posix(), why)
    of_the_score = {name: getattr(units["bits_per_dim"], name) for name in _OF_THE_SCORE}
    more = {name: record[name] for name in _further(record)}
    directions = {"units": units, "better": record.get("better", {})}
    return {**{key: record[key] for key in _KEYS}, **of_the_score, **more, **directions}


def _units(record: Mapping[str, Any]) -> dict[str, Unit]:
    """Return the unit of every column that has one; raise SettingError for one that is missing or at odds."""
    bare = [name for name in _MEASURED if name not in record["units"]]
    require(not bare, "units", "(none)", f"no unit is stored of {', '.join(bare)}")
    units = {name: Unit.from_dict(record["units"][name]) for name in [*_MEASURED, *_further(record)]}
    own = (record["levels"], record["dimensions"], units["bits_per_dim"].split)
    odd = [name for name, unit in units.items() if (unit.levels, unit.dimensions, unit.split) != own]
    require(not odd, "units", ", ".join(odd), f"not of the file's own levels, dimensions and split {own}")
    return units


def _further(record: Mapping[str, Any]) -> list[str]:
    """Return the names of what other metrics than the ones of `COLUMNS` measured, but for lists."""
    return [name for name in record["units"] if name not in _KEYS and not isinstance(record.get(name), list)]


def _fault(record: Any, study: str, cell: str) -> str:
    """Say what is wrong with the content of a metrics.json; empty when nothing is."""
    if not isinstance(record, dict):
        return "not a mapping"
    if missing := [key for key in (*_KEYS, "units") if key not in record]:
        return f"it lacks {', '.join(missing)}"
    if not isinstance(record["units"], dict):
        return "its units are no mapping"
    if (record["study"], record["cell"]) != (study, cell):
        return f"it belongs to {record['study']}/{record['cell']}"
    for key in dict.fromkeys([*_NUMBERS, *_further(record)]):
        if fault := _number_fault(key, record.get(key)):
            return f"{key} is {record.get(key)!r}, {fault}"
    return ""


def _number_fault(key: str, value: Any) -> str:
    if key in _WHOLE:
        return "" if type(value) is int else "not a whole number"
    if value is None and key not in _HEADLINE:  # a metric that does not exist for this model
        return ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "not a number"
    return "not finite" if key in _HEADLINE and not math.isfinite(value) else ""
