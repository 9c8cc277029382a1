"""Which cells may stand in one table or ranking: those with the same units, measured on the same images."""

from __future__ import annotations

from typing import Any

import pandas as pd

from vae_likelihoods.units import Row, require_alike

COMPARED = (
    "study", "dataset", "test_sha256", "levels", "dimensions", "scale", "split", "importance_samples",
)  # fmt: skip
"""The columns that must hold one value; the units of all columns must be the same too."""


def require_comparable(cells: pd.DataFrame) -> None:
    """Refuse rows of `summary.collect` unless they are of one study, in the same units, on the same images.

    Raises:
        UnlikeUnits: naming what differs, the values, and a cell with each of them.
    """
    study = ", ".join(dict.fromkeys(map(str, cells["study"])))
    require_alike("study", study, [_row(cell) for cell in cells.to_dict("records")])


def _row(cell: dict[Any, Any]) -> Row:
    """Return what must be the same in all cells; pandas writes NaN for None."""
    facts = {name: None if pd.isna(cell[name]) else cell[name] for name in COMPARED}
    return Row(f"{cell['study']}/{cell['cell']}", facts, cell["units"])
