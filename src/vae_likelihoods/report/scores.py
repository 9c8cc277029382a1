"""The scores of every test image: `evaluations/<study>/<cell>/per_image.csv`, checked and by setting."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from vae_likelihoods.errors import SettingError
from vae_likelihoods.report.resampling import Floats

SCORE = "nll_nats"
_ROUNDING = 1e-6  # per_image.csv holds 9 digits, so a mean of it is that of metrics.json to about as many


class Name(NamedTuple):
    """What is ranked: a likelihood with a latent size."""

    likelihood: str
    latent_dim: int


@dataclass(frozen=True, eq=False)
class Evaluated:
    """One cell: its setting, its seed, all of its metrics.json and a column of per_image.csv a number."""

    cell: str
    name: Name
    seed: int
    numbers: Mapping[str, Any]
    per_image: pd.DataFrame


def read(evaluations: Path, cells: pd.DataFrame) -> list[Evaluated]:
    """Read what was measured on the cells of one study, by setting and seed whatever the order of `cells`.

    Args:
        evaluations: the folder of `<study>/<cell>/`.
        cells: rows of `summary.collect`; that they are of the same test images was checked there.

    Raises:
        SettingError: a file is missing or damaged, or says something else than metrics.json.
    """
    found = [
        _read(evaluations / str(row["study"]) / str(row["cell"]), row) for row in cells.to_dict("records")
    ]
    lengths = {len(one.per_image): one.cell for one in found}
    if len(lengths) > 1:
        said = ", ".join(f"{length} in {cell}" for length, cell in lengths.items())
        raise SettingError("per_image.csv", said, "the cells of a study have as many test images")
    return sorted(found, key=lambda one: (one.name, one.seed, one.cell))


def by_setting(cells: Sequence[Evaluated], column: str = SCORE) -> dict[Name, Floats]:
    """Return a number of every image under every setting, [S, N]; nothing unless all cells have it."""
    if not all(column in one.per_image for one in cells):
        return {}
    groups: dict[Name, list[Floats]] = {}
    for one in cells:
        groups.setdefault(one.name, []).append(one.per_image[column].to_numpy(np.float64))
    return {name: np.stack(rows) for name, rows in groups.items()}


def _read(folder: Path, row: Mapping[Any, Any]) -> Evaluated:
    path = folder / "per_image.csv"
    try:
        numbers = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        per_image = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise _damaged(path, f"cannot be read ({type(error).__name__})") from None
    for fault in _faults(per_image, row, numbers.get("images")):
        raise _damaged(path, fault)
    name = Name(str(row["likelihood"]), int(row["latent_dim"]))
    return Evaluated(str(row["cell"]), name, int(row["seed"]), numbers, per_image)


def _faults(per_image: pd.DataFrame, row: Mapping[Any, Any], images: int | None) -> Iterator[str]:
    """Yield what keeps a row an image from being the images that metrics.json speaks of."""
    if missing := {"image", SCORE} - set(per_image):
        yield f"it has no column {', '.join(sorted(missing))}"
        return
    if list(per_image["image"]) != list(range(len(per_image))) or per_image.empty:
        yield "its rows are not the images 0, 1, 2, ..."
        return
    if images not in (None, len(per_image)):
        yield f"it has {len(per_image)} images, metrics.json {images}"
    score = per_image[SCORE].to_numpy(np.float64)
    if not abs(score.mean() - row[SCORE]) <= _ROUNDING * max(1.0, abs(row[SCORE])):
        yield f"its mean {SCORE} is {score.mean():.9g}, that of metrics.json {row[SCORE]:.9g}"


def _damaged(path: Path, fault: str) -> SettingError:
    return SettingError("per_image", path.as_posix(), f"{fault}; evaluate the cell again")
