"""What MLflow shows of a cell: read from its files and settings, without MLflow."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vae_likelihoods.cells.cell import Cell
from vae_likelihoods.cells.run_files import COLUMNS, GRIDS, HISTORY, METRICS
from vae_likelihoods.files import read_csv
from vae_likelihoods.units.declaration import Declaration, from_plain
from vae_likelihoods.units.variants import axes, text

Value = tuple[str, float, int]  # metric, value, step

SPLITS = {"train": "train", "validation": "val", "test": "test"}
"""The split that a number was measured on -> the first part of its name in MLflow."""

VALIDATION_SCORE, TEST_SCORE = "val/bpd", "test/bpd"


def epochs(folder: Path, timings: Path, after: int, ended: bool) -> dict[int, list[Value]]:
    """Return what every epoch later than `after` measured, in the order in which it is declared.

    While a cell trains, the timing of an epoch is written after its row, so the last row may have to wait.
    An epoch that was trained again after a kill has several timings. The first one counts, since MLflow may
    have it already.

    Args:
        folder: that of history.csv and columns.json.
        timings: timings.csv, which may be missing: it stays where the cell was trained.
        after: the last epoch that is not wanted.
        ended: whether training has ended, so that no row waits for its timing.
    """
    numbers = metrics(columns(folder))
    speeds: dict[int, float] = {}
    for row in read_csv(timings):
        speeds.setdefault(int(row["epoch"]), float(row["images_per_second"]))
    values: dict[int, list[Value]] = {}
    for row in read_csv(folder / HISTORY):
        epoch = int(row["epoch"])
        if epoch > after and (ended or epoch in speeds):
            measured = [(metric, float(row[name]), epoch) for name, metric in numbers.items() if name in row]
            timing = [("time/images_s", speeds[epoch], epoch)] if epoch in speeds else []
            values[epoch] = measured + timing
    return values


def columns(folder: Path) -> dict[str, Declaration]:
    """Return the declarations of the columns of a history.csv; an older version wrote none."""
    path = folder / COLUMNS
    return from_plain(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def scores(evaluation: Mapping[str, Any]) -> list[Value]:
    """Return the numbers of a metrics.json as metrics, in the order in which they are declared."""
    numbers = metrics(declarations(evaluation))
    values = ((metric, evaluation.get(name)) for name, metric in numbers.items())
    return [(metric, float(value), 0) for metric, value in values if isinstance(value, int | float)]


def weights_of(evaluation: Path) -> str:
    """Return the sha256 of the weights that were evaluated in this folder; an older version noted none."""
    metrics = json.loads((evaluation / METRICS).read_text(encoding="utf-8"))
    return str(metrics.get("weights_sha256", ""))


def declarations(evaluation: Mapping[str, Any]) -> dict[str, Declaration]:
    """Return the declarations of a metrics.json; an older version wrote none."""
    return from_plain(evaluation.get("declarations", {}))


def metrics(declared: Mapping[str, Declaration]) -> dict[str, str]:
    """Return name -> metric in MLflow, of every number that was measured; the score comes first.

    MLflow's compare page preselects the first one.
    """
    names = {
        name: f"{SPLITS[each.unit.split]}/{each.short or name}"
        for name, each in declared.items()
        if each.unit and not each.exact
    }
    return dict(sorted(names.items(), key=lambda item: item[1] not in (VALIDATION_SCORE, TEST_SCORE)))


def unit_tags(declared: Mapping[str, Declaration]) -> dict[str, str]:
    """Return a tag with the unit of the score."""
    names = {metric: name for name, metric in metrics(declared).items()}
    scored = [metric for metric in (VALIDATION_SCORE, TEST_SCORE) if metric in names]
    return {f"unit/{metric}": str(declared[names[metric]].unit) for metric in scored}


def identifying(cell: Cell, extra: Iterable[str] = ()) -> dict[str, str]:
    """Return the few params that tell a cell from the others of its grid: every picture shows all of them."""
    settings = cell.settings
    params = {
        "likelihood": settings.family,
        "latent_dim": str(settings.latents),
        "seed": str(settings.seed),
    }
    flat = settings.flat
    return params | {key: text(flat[key]) for key in extra if key in flat}


def varied(cells: Iterable[Cell]) -> list[str]:
    """Return the keys in which `cells` differ beyond likelihood, latent size and seed."""
    listed = list(cells)
    tuned = {key for cell in listed for key in cell.settings.tuned}
    return axes([cell.settings.flat for cell in listed], tuned)


def constants(cells: Sequence[Cell]) -> dict[str, str]:
    """Return what all cells of a grid share, as params of their parent."""
    shared: dict[str, str] = {}
    for name in ("dataset", "network", "objective"):
        names = {cell.settings.names.get(name) for cell in cells} - {None}
        shared[name] = ",".join(sorted(map(str, names)))
    shared["levels"] = ",".join(sorted({str(cell.settings.levels) for cell in cells}))
    return {**shared, "epochs": ",".join(sorted({str(cell.settings.training.epochs) for cell in cells}))}


def data_profile(cell: Cell) -> str:
    """Return counts and shape of the cell's data set as MLflow keeps them."""
    counts = {split: cell.data.count(split) for split in ("train", "validation", "test")}
    return json.dumps({**counts, "shape": cell.data.shape, "levels": cell.settings.levels})


def grids(folder: Path) -> dict[str, Path]:
    """Return the pictures of a cell over epochs: `<kind>-<epoch>` -> the file."""
    paths = sorted((folder / GRIDS).glob("[!.]*-[0-9]*.png"))
    return {f"{path.stem.rpartition('-')[0]}-{int(path.stem.rpartition('-')[2])}": path for path in paths}


def picture_name(mark: str, run_id: str, start_time: int) -> str:
    """Return the name under which the UI finds a picture: kind+step+7+timestamp+...+uuid.

    MLflow's own `log_image` uses a new timestamp and uuid each time. These stay the same, so a picture that
    is logged again replaces the old one.
    """
    kind, _, step = mark.rpartition("-")
    return f"{kind}+step+{step}+timestamp+{start_time}+{uuid.uuid5(uuid.NAMESPACE_OID, run_id + mark)}"
