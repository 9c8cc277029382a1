"""One row for each cell: all `evaluations/<study>/<cell>/metrics.json` in a frame that can be ranked."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from vae_likelihoods.errors import require
from vae_likelihoods.report.comparable import require_comparable
from vae_likelihoods.report.records import METRICS, merged, read_record
from vae_likelihoods.report.words import shortened
from vae_likelihoods.units.declaration import Declaration

_GROUPS = 3  # of missing numbers that a line names


def collect(
    evaluations: Path, studies: Mapping[str, Sequence[str]], optional: Collection[str] = ()
) -> pd.DataFrame:
    """Return one row for each evaluated cell of `studies`, in the order in which they are named.

    Args:
        evaluations: the folder that holds `<study>/<cell>/metrics.json`.
        studies: study -> its likelihoods in the order of params.yaml (see `study_axes`).
        optional: which of the studies are optional ones, for the message that says how to get the cells.

    Returns:
        A frame with a column for each value that some cell declares, and with `declarations` (of the cell's
        values, by name), `images` and `test_sha256` (of the test split). Studies and their likelihoods stand
        in the given order (other likelihoods after them, by name), latent sizes and seeds by number.

    Raises:
        SettingError: a study has no cell, or a file is damaged or lacks the score.
        UnlikeUnits: the cells of a study differ in a unit or in their images.
    """
    require(bool(studies), "studies", "(none)", "no study to report; name one in params.yaml or with --study")
    frames = [
        _study(evaluations, study, likelihoods, _command(study, likelihoods, study in optional))
        for study, likelihoods in studies.items()
    ]
    return pd.concat(frames, ignore_index=True)


def declared(cells: pd.DataFrame) -> dict[str, Declaration]:
    """Return the declaration of each value that some of the cells have, by name."""
    return merged(cells["declarations"])


def missing(cells: pd.DataFrame) -> str:
    """Return in one line which numbers some of the cells lack, and how many do; empty if none does.

    Example:
        >>> gap, similarity = Declaration("mig", "a gap"), Declaration("ssim", "a similarity")
        >>> declarations = [{"mig": gap, "ssim": similarity}, {"ssim": similarity}]
        >>> missing(pd.DataFrame({"mig": [0.1, None], "ssim": [0.5, 0.6], "declarations": declarations}))
        'mig is missing in 1 of 2 cells'
    """
    groups: dict[int, list[str]] = {}
    for name, count in cells[[*declared(cells)]].isna().sum().items():
        if count:
            groups.setdefault(int(count), []).append(str(name))
    parts = [
        f"{shortened(names)} {'is' if len(names) == 1 else 'are'} missing in {count} of {len(cells)} cells"
        for count, names in groups.items()
    ]
    return "; ".join(
        [*parts[:_GROUPS], *(["others in other numbers of cells"] if len(parts) > _GROUPS else [])]
    )


def study_axes(params: Mapping[str, Any], chosen: Sequence[str] = ()) -> dict[str, list[str]]:
    """Return study -> likelihoods as params.yaml orders them: of `chosen`, or else of the default studies.

    Example:
        >>> params = {"studies": {"grey": {"likelihood": "gaussian, binomial"}}}
        >>> study_axes(params | {"optional": {"all": {"likelihood": "laplace"}}})
        {'grey': ['gaussian', 'binomial']}
    """
    default, optional = params.get("studies") or {}, params.get("optional") or {}
    names = {str(name): _names(study) for name, study in {**optional, **default}.items()}
    return {name: names.get(name, []) for name in chosen or map(str, default)}


def write_summary(cells: pd.DataFrame, path: Path) -> None:
    """Write the declared values of `cells` to `path` as CSV, numbers rounded to 6 significant digits."""
    rounded = cells[[*declared(cells)]].map(significant)
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
    if likelihoods:
        return f"`.venv/bin/dvc repro evaluate@{study}`"
    return f"`.venv/bin/python pipelines/evaluate.py study={study}`"


def _study(evaluations: Path, study: str, likelihoods: Sequence[str], command: str) -> pd.DataFrame:
    paths = sorted((evaluations / study).glob(f"*/{METRICS}"))
    remedy = f"run {command}"
    require(bool(paths), "study", study, f"no evaluated cell in {(evaluations / study).as_posix()}; {remedy}")
    cells = pd.DataFrame([read_record(path, study, remedy) for path in paths])
    require_comparable(cells)
    order = {name: place for place, name in enumerate(likelihoods)}
    place = cells["likelihood"].map(lambda name: order.get(name, len(order)))
    by_place = cells.assign(_place=place).sort_values(["_place", "likelihood", "latent_dim", "seed", "cell"])
    return by_place.drop(columns="_place")
