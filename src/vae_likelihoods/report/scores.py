"""The scores of every test image: `evaluations/<study>/<cell>/per_image.csv`, checked and by setting."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from vae_likelihoods.errors import SettingError
from vae_likelihoods.report.records import NATS_SCORE, PER_IMAGE
from vae_likelihoods.report.seeds import Floats
from vae_likelihoods.report.words import latents
from vae_likelihoods.units.declaration import Declaration
from vae_likelihoods.units.variants import VARIANT

EXACT, BOUND = "exact", "bound"
"""What a score is, as tables print it: log p(x) itself, or a lower bound on it."""

_ROUNDING = 1e-6  # per_image.csv holds 9 digits, so a mean of it is that of metrics.json to about as many


class Name(NamedTuple):
    """What is ranked: a likelihood with a latent size, and with the other settings in which cells differ.

    A model that gives p(x) without latents stands in the place of a likelihood; its latent size is 0.
    """

    likelihood: str
    latent_dim: int
    variant: str = ""  # see `variants`; empty where the study varies nothing else

    @classmethod
    def of(cls, row: Mapping[Any, Any]) -> Name:
        """Return the name of a cell from its row of the summary."""
        return cls(str(row["likelihood"]), int(row["latent_dim"]), str(row.get(VARIANT, "")))

    @property
    def family(self) -> str:
        """The likelihood and the variant: settings that differ in their latent sizes alone."""
        return f"{self.likelihood}, {self.variant}" if self.variant else self.likelihood

    @property
    def family_in_words(self) -> str:
        """The family in a sentence, the likelihood in backticks."""
        return f"`{self.likelihood}`{' with ' if self.variant else ''}{self.variant}"

    @property
    def in_words(self) -> str:
        """The name in a sentence, the likelihood in backticks."""
        further = f" and {self.variant}" if self.variant else ""
        return f"`{self.likelihood}` with {latents(self.latent_dim)}{further}"


@dataclass(frozen=True, eq=False)
class Evaluated:
    """One cell: its setting and seed, its values with their declarations, and the values of each image."""

    cell: str
    name: Name
    seed: int
    values: Mapping[str, Any]  # of metrics.json, without those that are missing
    declarations: Mapping[str, Declaration]
    per_image: pd.DataFrame  # a column for each number that per_image.csv has
    missing: Mapping[str, str]  # why a number is missing, by name
    settings: Mapping[str, Any]  # flat, as `units.variants` reads them

    @property
    def exact(self) -> bool:
        """Whether its score is log p(x) itself; if not, a lower bound."""
        return bool(self.values.get("score_is") == EXACT)

    @property
    def fits_itself(self) -> bool:
        """Whether the model was fitted without an optimiser, and so without steps."""
        return not any(key.partition(".")[0] == "optimizer" for key in self.settings)


def read(evaluations: Path, cells: pd.DataFrame) -> list[Evaluated]:
    """Read what was measured on the cells of one study, by setting and seed whatever the order of `cells`.

    Args:
        evaluations: the folder of `<study>/<cell>/`.
        cells: rows of `summary.collect`, which has checked that they have the same test images.

    Raises:
        SettingError: a file is missing or damaged, or does not agree with metrics.json.
    """
    evaluated = [
        _read(evaluations / str(row["study"]) / str(row["cell"]), row) for row in cells.to_dict("records")
    ]
    lengths = {len(each.per_image): each.cell for each in evaluated}
    if len(lengths) > 1:
        counts = ", ".join(f"{length} in {cell}" for length, cell in lengths.items())
        raise SettingError(PER_IMAGE, counts, "all cells of a study need the same test images")
    return sorted(evaluated, key=lambda each: (each.name, each.seed, each.cell))


def by_setting(cells: Sequence[Evaluated], column: str = NATS_SCORE) -> dict[Name, Floats]:
    """Return a number of every image for every setting that has it, [S, N]; nothing unless `shared`."""
    having = [cell for cell in cells if column in cell.per_image]
    groups: dict[Name, list[Floats]] = {}
    for cell in having if shared(cells, having) else ():
        groups.setdefault(cell.name, []).append(cell.per_image[column].to_numpy(np.float64))
    return {name: np.stack(rows) for name, rows in groups.items()}


def shared(cells: Sequence[Evaluated], having: Sequence[Evaluated]) -> bool:
    """Return whether a number that `having` have can be compared: no other of `cells` should have it too.

    A model without latents may lack it, for many numbers are of latents.
    """
    return bool(having) and all(cell in having or cell.name.latent_dim == 0 for cell in cells)


def _read(folder: Path, row: Mapping[Any, Any]) -> Evaluated:
    path = folder / PER_IMAGE
    try:
        per_image = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise _damaged(path, f"cannot be read ({type(error).__name__})") from None
    for fault in _faults(per_image, row):
        raise _damaged(path, fault)
    declarations = row["declarations"]
    values = {
        name: row[name] for name in declarations if row.get(name) is not None and row[name] == row[name]
    }
    cell, seed = str(row["cell"]), int(row["seed"])
    missing, settings = row.get("missing", {}), row["settings"]
    return Evaluated(cell, Name.of(row), seed, values, declarations, per_image, missing, settings)


def _faults(per_image: pd.DataFrame, row: Mapping[Any, Any]) -> Iterator[str]:
    """Yield why the rows are not those of the images that metrics.json describes."""
    if lacking := {"image", NATS_SCORE} - set(per_image):
        yield f"it has no column {', '.join(sorted(lacking))}"
        return
    if list(per_image["image"]) != list(range(len(per_image))) or per_image.empty:
        yield "its rows are not the images 0, 1, 2, ..."
        return
    if row.get("images") not in (None, len(per_image)):
        yield f"it has {len(per_image)} images, metrics.json {row['images']}"
    mean = per_image[NATS_SCORE].to_numpy(np.float64).mean()
    if not abs(mean - row[NATS_SCORE]) <= _ROUNDING * max(1.0, abs(row[NATS_SCORE])):
        yield f"its mean {NATS_SCORE} is {mean:.9g}, that of metrics.json {row[NATS_SCORE]:.9g}"


def _damaged(path: Path, fault: str) -> SettingError:
    return SettingError("per_image", path.as_posix(), f"{fault}; evaluate the cell again")
