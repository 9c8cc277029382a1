"""One evaluated cell, `evaluations/<study>/<cell>/metrics.json`: read, and checked."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vae_likelihoods.errors import SettingError, require
from vae_likelihoods.units import variants
from vae_likelihoods.units.declaration import Declaration, from_plain

METRICS, PER_IMAGE, WEIGHTS = "metrics.json", "per_image.csv", "model.safetensors"
PICTURES = ("samples.png", "reconstructions.png")
"""The files of a cell that a report reads, as cells/run_files.py names them, which lies above."""

BITS_SCORE, NATS_SCORE = "bits_per_dim", "nll_nats"
SCORES = (BITS_SCORE, NATS_SCORE)
"""The score that ranks, in both units: the only numbers that a report cannot do without."""

NEEDED = (
    "study",
    "cell",
    "dataset",
    "levels",
    "dimensions",
    "likelihood",
    "latent_dim",
    "seed",
)
"""What says which cell it is."""

UNDECLARED = ("test_sha256", "weights_sha256", "settings", "tuned")
"""What stands beside the declared values: which images and weights were measured, how they were trained, and
for which settings tuning chose the value."""

OF_THE_SCORE = {
    "scale": Declaration("scale", "mass: the scores are logarithms of probabilities of levels", exact=True),
    "split": Declaration("split", "the images that the scores were measured on", exact=True),
}
"""Facts that the report adds to each cell, from the unit of its score."""


def read_record(path: Path, study: str, remedy: str) -> dict[str, Any]:
    """Return the declared values of a cell by name, lists left out, and what the report needs beside them.

    `declarations` has those of all values. A number that is null in the file is None; `missing` has the
    reason by name, where the evaluation gave one.

    Args:
        path: the file.
        study: the name of the study that it must belong to.
        remedy: what to do about a file that is damaged.

    Raises:
        SettingError: the file is damaged, of another cell, or has a number without a unit.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        _check_cell(record, study, path.parent.name)
        declarations = from_plain(record["declarations"])
        _check_values(record, declarations)
        _check_units(record, declarations)
    except ValueError as error:  # of JSON too
        reason = f"damaged, or written by an older version: {str(error).removesuffix('.')}; {remedy}"
        raise SettingError("metrics", path.as_posix(), reason) from None
    shown = {name: each for name, each in declarations.items() if not _is_list(record.get(name), each)}
    unit = shown[BITS_SCORE].unit
    return {
        **{name: record.get(name) for name in shown},
        **{name: getattr(unit, name) for name in OF_THE_SCORE},
        **{name: record[name] for name in UNDECLARED},
        "images": record.get("images"),
        "missing": record.get("missing", {}),
        "declarations": shown | OF_THE_SCORE,
    }


def is_number(value: Any) -> bool:
    """Whether a value is one number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def varied(records: Sequence[Mapping[Any, Any]]) -> list[str]:
    """Return the further settings in which the cells of a study differ, without those that were tuned."""
    tuned = {key for record in records for key in record["tuned"]}
    return variants.axes([record["settings"] for record in records], tuned)


def merged(declarations: Iterable[Mapping[str, Declaration]]) -> dict[str, Declaration]:
    """Return all declarations by name; of two with the same name the first."""
    first: dict[str, Declaration] = {}
    for of_cell in declarations:
        for name, declaration in of_cell.items():
            first.setdefault(name, declaration)
    return first


def _check_cell(record: Any, study: str, cell: str) -> None:
    require(isinstance(record, dict), "", "the file", "is not a mapping")
    lacking = [name for name in (*NEEDED, *UNDECLARED, "declarations") if name not in record]
    require(not lacking, "", "the file", f"lacks {', '.join(lacking)}")
    own = f"{record['study']}/{record['cell']}"
    require(own == f"{study}/{cell}", "", "the file", f"belongs to {own}")
    require(isinstance(record["settings"], dict), "settings", record["settings"], "is not a mapping")


def _check_values(record: Mapping[str, Any], declarations: Mapping[str, Declaration]) -> None:
    lacking = [name for name in (*SCORES, *NEEDED) if name not in declarations]
    require(not lacking, "declarations", "(none)", f"{', '.join(lacking)} must be declared")
    for name, declaration in declarations.items():
        value = record.get(name)
        if value is not None or name in (*SCORES, *NEEDED):
            require(_fits(value, declaration), name, repr(value), "is not what its declaration says")
    for name in SCORES:
        require(math.isfinite(record[name]), name, record[name], "is not finite")
    missing = record.get("missing", {})
    reasons = isinstance(missing, dict) and all(isinstance(reason, str) for reason in missing.values())
    require(reasons, "missing", missing, "must be a mapping of names to reasons")


def _is_list(value: Any, declaration: Declaration) -> bool:
    """Whether it is a list; one that is missing has a unit, and no format."""
    return isinstance(value, list) or (value is None and bool(declaration.unit) and not declaration.format)


def _fits(value: Any, declaration: Declaration) -> bool:
    """Whether a value is a text, or a number, as its declaration says; lists are of either."""
    if isinstance(value, list):
        return True
    if not declaration.format:
        return isinstance(value, str)
    whole = declaration.format.endswith("d")
    return type(value) is int or (isinstance(value, float) and not whole)


def _check_units(record: Mapping[str, Any], declarations: Mapping[str, Declaration]) -> None:
    """Refuse a score without a unit, and units that are not of the file's own levels and dimensions."""
    units = {name: each.unit for name, each in declarations.items() if each.unit}
    bare = [name for name in SCORES if name not in units]
    require(not bare, "declarations", ", ".join(bare), "no unit is stored")
    own = (record["levels"], record["dimensions"], units[BITS_SCORE].split)
    odd = [name for name, unit in units.items() if (unit.levels, unit.dimensions, unit.split) != own]
    require(not odd, "unit", ", ".join(odd), f"not of the file's own levels, dimensions and split {own}")
