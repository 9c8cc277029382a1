"""One row for each cell: all `evaluations/<study>/<cell>/metrics.json` in a frame that can be ranked."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from vae_likelihoods.errors import require
from vae_likelihoods.files import sha256, write_whole
from vae_likelihoods.report.comparable import require_comparable
from vae_likelihoods.report.records import METRICS, WEIGHTS, is_number, merged, read_record, varied
from vae_likelihoods.report.scores import Name
from vae_likelihoods.report.words import shortened
from vae_likelihoods.units import variants
from vae_likelihoods.units.declaration import Declaration
from vae_likelihoods.units.variants import VARIANT

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.=,+-]*")
_GROUPS = 3  # of missing numbers that a line names


def collect(
    evaluations: Path,
    studies: Mapping[str, Sequence[str]],
    optional: Collection[str] = (),
    runs: Path | None = None,
) -> pd.DataFrame:
    """Return one row for each evaluated cell of `studies`, in the order in which they are named.

    Args:
        evaluations: the folder that holds `<study>/<cell>/metrics.json`.
        studies: study -> its likelihoods in the order of params.yaml (see `study_axes`).
        optional: which of the studies are optional ones, for the message that says how to get the cells.
        runs: the folder that holds `<study>/<cell>/model.safetensors`. What lies there must be what was
            evaluated; a study that has no folder there is not checked.

    Returns:
        A frame with a column for each value that some cell declares, and for each further setting in which
        the cells of a study differ (`variants.axes`; all of them in words under `variant`). Beside them
        `declarations` (of the cell's values, by name), `images`, and what stands in a file undeclared.
        Studies and their likelihoods stand in the given order (other likelihoods after them, by name), then
        variants in the order of their values, latent sizes and seeds by number.

    Raises:
        SettingError: a study has no cell, a file is damaged or lacks the score, other weights lie in `runs`,
            or two cells are the same run.
        UnlikeUnits: the cells of a study differ in a unit or in their images.
    """
    require(bool(studies), "studies", "(none)", "no study to report; name one in params.yaml or with --study")
    frames = [
        _study(evaluations, runs, study, likelihoods, _remedy(study, likelihoods, study in optional))
        for study, likelihoods in studies.items()
    ]
    return pd.concat(frames, ignore_index=True)


def unevaluated(runs: Path, study: str, cells: pd.DataFrame) -> str:
    """Return in one line which trained cells of a study were not evaluated; empty if all were."""
    trained = {path.parent.name for path in (runs / study).glob(f"*/{WEIGHTS}")}
    left = sorted(trained - set(cells["cell"]))
    verb = "is" if len(left) == 1 else "are"
    return f"{shortened(left)} {verb} trained and not evaluated, and left out" if left else ""


def declared(cells: pd.DataFrame) -> dict[str, Declaration]:
    """Return the declaration of each value that some of the cells have, by name."""
    return merged(cells["declarations"])


def missing(cells: pd.DataFrame) -> str:
    """Return in one line which numbers some of the cells lack, how many do, and why, where that is known.

    Example:
        >>> gap, similarity = Declaration("mig", "a gap"), Declaration("ssim", "a similarity")
        >>> frame = pd.DataFrame({"mig": [0.1, None], "ssim": [0.5, 0.6]})
        >>> frame["declarations"] = [{"mig": gap, "ssim": similarity}, {"ssim": similarity}]
        >>> frame["missing"] = [{}, {"mig": "no factor varies"}]
        >>> missing(frame)
        'mig is missing in 1 of 2 cells (no factor varies)'
    """
    groups: dict[tuple[int, str], list[str]] = {}
    for name, count in cells[[*declared(cells)]].isna().sum().items():
        if count:
            reasons = dict.fromkeys(each[name] for each in cells["missing"] if name in each)
            groups.setdefault((int(count), "; ".join(reasons)), []).append(str(name))
    parts = [
        f"{shortened(names)} {'is' if len(names) == 1 else 'are'} missing in {count} of {len(cells)} cells"
        f"{f' ({reasons})' if reasons else ''}"
        for (count, reasons), names in groups.items()
    ]
    return "; ".join([*parts[:_GROUPS], *(["others are missing too"] if len(parts) > _GROUPS else [])])


def study_axes(params: Mapping[str, Any], chosen: Sequence[str] = ()) -> dict[str, list[str]]:
    """Return study -> likelihoods as params.yaml orders them: of `chosen`, or else of the default studies.

    Example:
        >>> params = {"studies": {"grey": {"likelihood": "gaussian, binomial"}}}
        >>> study_axes(params | {"optional": {"all": {"likelihood": "laplace"}}})
        {'grey': ['gaussian', 'binomial']}
    """
    for name in chosen:
        plain = bool(_NAME.fullmatch(name))
        require(plain, "study", name, "is no name of a study: it names a folder of evaluations/")
    default, optional = params.get("studies") or {}, params.get("optional") or {}
    names = {str(name): _names(study) for name, study in {**optional, **default}.items()}
    return {name: names.get(name, []) for name in chosen or map(str, default)}


def write_summary(cells: pd.DataFrame, path: Path) -> None:
    """Write the declared values of `cells` to `path` as CSV, numbers rounded to 9 significant digits."""
    rounded = cells[[*declared(cells)]].map(partial(significant, digits=9))
    write_whole(path, partial(rounded.to_csv, index=False, lineterminator="\n"))


def significant(value: Any, digits: int = 6) -> Any:
    """Return a float rounded to `digits` significant digits; anything else as it is."""
    return float(f"{value:.{digits}g}") if isinstance(value, float) else value


def _names(study: Mapping[str, Any]) -> list[str]:
    names = (name.strip() for name in str(study.get("likelihood", "")).split(","))
    return [name for name in names if name.isidentifier()]  # glob(...) is no name


def _remedy(study: str, likelihoods: Sequence[str], optional: bool) -> str:
    """Return how to evaluate the cells of a study; one that params.yaml does not name has no likelihoods."""
    if optional:
        return f"run `make study STUDY={study}`"
    if likelihoods:
        return f"run `.venv/bin/dvc repro evaluate@{study}`"
    return "evaluate it with `.venv/bin/python pipelines/evaluate.py` and the settings that trained it"


def _study(
    evaluations: Path, runs: Path | None, study: str, likelihoods: Sequence[str], remedy: str
) -> pd.DataFrame:
    paths = sorted((evaluations / study).glob(f"*/{METRICS}"))
    there = [] if likelihoods else sorted({path.parts[-3] for path in evaluations.glob(f"*/*/{METRICS}")})
    none = f"no evaluated cell in {(evaluations / study).as_posix()}; {remedy}"
    require(bool(paths), "study", study, none, there)
    records = [read_record(path, study, remedy) for path in paths]
    if runs is not None and (runs / study).is_dir():
        for record in records:
            _check_weights(runs / study / record["cell"] / WEIGHTS, record, remedy)
    cells = pd.DataFrame(_with_variants(records))
    require_comparable(cells)
    _check_repeated(cells)
    order = {name: place for place, name in enumerate(likelihoods)}
    place = cells["likelihood"].map(lambda name: order.get(name, len(order)))
    keys = varied(records)
    by = ["_place", "likelihood", *keys, "latent_dim", "seed", "cell"]
    return cells.assign(_place=place).sort_values(by, key=_sortable).drop(columns="_place")


def _with_variants(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add to the cells of a study the settings in which they differ, one by one and in words."""
    settings = [record["settings"] for record in records]
    keys = varied(records)
    if not keys:
        return list(records)
    declared = {key: _axis(key, settings) for key in keys}
    declared[VARIANT] = Declaration(VARIANT, "the settings of the cell that the study varies", exact=True)
    return [
        {
            **record,
            **{key: _value(own.get(key)) for key in keys},
            VARIANT: variants.variant(own, keys),
            "declarations": record["declarations"] | declared,
        }
        for record, own in zip(records, settings, strict=True)
    ]


def _axis(key: str, settings: Sequence[variants.Flat]) -> Declaration:
    numbers = all(is_number(_value(own[key])) for own in settings if key in own)
    meaning = "a setting that the study varies; empty where a cell does not have it"
    return Declaration(key, meaning, header=key, format="g" if numbers else "", exact=True)


def _value(value: Any) -> Any:
    """Return a setting as a table holds it: a number, or a text."""
    return value if value is None or is_number(value) else variants.text(value)


def _sortable(column: pd.Series) -> pd.Series:
    """Return a column whose values can be ordered, though some are missing or of another type."""
    numeric = pd.api.types.is_numeric_dtype(column)
    return column if numeric else column.map(lambda value: "" if value is None else str(value))


def _check_weights(weights: Path, record: Mapping[str, Any], remedy: str) -> None:
    """Refuse an evaluation of other weights than those that lie in the cell's folder now."""
    cell = f"{record['study']}/{record['cell']}"
    gone = f"was evaluated, and {weights.as_posix()} is gone; train it again, or remove its evaluation"
    require(weights.is_file(), "cell", cell, gone)
    other = f"{weights.as_posix()} is not what was evaluated: it was trained again since; {remedy}"
    require(sha256(weights) == record["weights_sha256"], "cell", cell, other)


def _check_repeated(cells: pd.DataFrame) -> None:
    """Refuse two cells that are the same run under two names: it would count as two seeds."""
    first: dict[tuple[Name, int], str] = {}
    for row in cells.to_dict("records"):
        other = first.setdefault((Name.of(row), int(row["seed"])), str(row["cell"]))
        reason = f"has the settings and the seed of {other}, and would count twice; remove one of them"
        require(other == row["cell"], "cell", f"{row['study']}/{row['cell']}", reason)
