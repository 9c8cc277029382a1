"""What MLflow shows of a cell: read from its files and settings, without MLflow."""

from __future__ import annotations

import csv
import json
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vae_likelihoods.cells.cell import Cell, differences
from vae_likelihoods.units import Unit

Value = tuple[str, float, int]  # metric, value, step

# Column of history.csv -> metric. The headline comes first: MLflow's compare page preselects it.
EPOCH_METRICS = {
    "val_bits_per_dim": "val/bpd",
    "val_elbo": "val/elbo",
    "val_distortion": "val/distortion",
    "val_rate": "val/rate",
    "train_loss": "train/loss",
    "train_elbo": "train/elbo",
    "train_distortion": "train/distortion",
    "train_rate": "train/rate",
}
SKIPPED = {"epoch", "rate_weight", "best_epoch", "learning_rate"}
TEST_METRICS = {
    "bits_per_dim": "test/bpd",
    "bits_per_dim_se": "test/bpd_se",
    "nll_nats": "test/nll",
    "elbo_nats": "test/elbo",
    "rate_nats": "test/rate",
    "distortion_nats": "test/distortion",
    "active_units": "test/active",
    "squared_error": "test/sq_error",
    "effective_sample_size": "test/ess",
}
HEADLINES = {"val_bits_per_dim": "val/bpd", "bits_per_dim": "test/bpd"}  # a tag says their unit


def epochs(history: Path, timings: Path, after: int, ended: bool) -> dict[int, list[Value]]:
    """Return what every epoch later than `after` measured.

    While a cell trains, an epoch's timing is written after its row: such an epoch is left for the next time.
    An epoch that was trained again after a kill has several. The first counts: MLflow may have it already.

    Args:
        history: history.csv.
        timings: timings.csv, which need not be there: it stays where the cell was trained.
        after: the last epoch that is not wanted.
        ended: whether the files are what they will be.
    """
    found = {int(row["epoch"]): row for row in rows(history)}
    speeds: dict[int, float] = {}
    for row in rows(timings):
        speeds.setdefault(int(row["epoch"]), float(row["images_per_second"]))
    new = [epoch for epoch in sorted(found) if epoch > after and (ended or epoch in speeds)]
    values: dict[int, list[Value]] = {}
    for epoch in new:
        row = found[epoch]
        values[epoch] = [
            (EPOCH_METRICS.get(key, f"train/{key}"), float(row[key]), epoch) for key in in_order(row)
        ]
        if epoch in speeds:
            values[epoch].append(("time/images_s", speeds[epoch], epoch))
    return values


def in_order(row: Mapping[str, str]) -> list[str]:
    """Return the columns of a history row that become metrics, the headline first."""
    rest = [key for key in row if key not in EPOCH_METRICS and key not in SKIPPED]
    return [*(key for key in EPOCH_METRICS if key in row), *rest]


def rows(path: Path) -> list[dict[str, str]]:
    """Read a CSV file; one that is not there has no rows."""
    try:
        with path.open() as handle:
            return list(csv.DictReader(handle))
    except FileNotFoundError:
        return []


def scores(metrics: Mapping[str, Any]) -> list[Value]:
    """Return the test metrics of a metrics.json: the usual ones by short names, then the others."""
    usual = [(name, float(metrics[key]), 0) for key, name in TEST_METRICS.items() if key in metrics]
    further = sorted({*metrics.get("units", {})} - {*TEST_METRICS, "importance_samples"})
    numbers = [(name, metrics[name]) for name in further if isinstance(metrics.get(name), int | float)]
    return usual + [(f"test/{name}", float(value), 0) for name, value in numbers]


def unit_tags(units: Mapping[str, Any]) -> dict[str, str]:
    """Return tags that say the units of the headline metrics; what an older version wrote has none."""
    return {
        f"unit/{metric}": str(Unit.from_dict(units[number]))
        for number, metric in HEADLINES.items()
        if isinstance(units.get(number), dict)
    }


def identifying(cell: Cell, extra: Iterable[str] = ()) -> dict[str, str]:
    """Return the few params that tell a cell from its siblings; every image card prints all of them."""
    settings = cell.settings
    params: dict[str, Any] = {
        "likelihood": settings.names["likelihood"],
        "latent_dim": settings.latent_dim,
        "seed": settings.seed,
    }
    whole = settings.model_dump()
    for key in extra:
        value: Any = whole
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        params[key] = settings.names.get(key, value)
    return {key: str(value) for key, value in params.items()}


def varied(cell: Cell, cells: Iterable[Cell]) -> list[str]:
    """Return the keys that a sweep varied beyond the axes: `cells` differ in them, the name has them."""
    named = set(re.findall(r"-([a-z_]+)=", cell.name))
    if not named:
        return []
    mine = cell.settings
    keys = {
        key
        for other in (one.settings for one in cells)
        for key, _, _ in differences(mine.learned, other.learned) + differences(mine.names, other.names)
    }
    return sorted(key for key in keys if key.rpartition(".")[2] in named)


def constants(cells: Sequence[Cell]) -> dict[str, str]:
    """Return what all cells of a grid share, as params of their parent."""
    shared: dict[str, str] = {}
    for name in ("dataset", "network", "objective"):
        shared[name] = ",".join(sorted({cell.settings.names[name] for cell in cells}))
    shared["levels"] = ",".join(sorted({str(cell.settings.levels) for cell in cells}))
    return {**shared, "epochs": ",".join(sorted({str(cell.settings.training.epochs) for cell in cells}))}


def data_profile(cell: Cell) -> str:
    """Return counts and shape of the cell's data set as MLflow keeps them."""
    counts = {split: cell.data.count(split) for split in ("train", "validation", "test")}
    return json.dumps({**counts, "shape": cell.data.shape, "levels": cell.settings.levels})


def grids(folder: Path) -> dict[str, Path]:
    """Return the pictures of a cell over epochs: kind and step, and the file."""
    paths = sorted((folder / "grids").glob("[!.]*-[0-9]*.png"))
    return {f"{path.stem.rpartition('-')[0]}-{int(path.stem.rpartition('-')[2])}": path for path in paths}


def picture_name(mark: str, run_id: str, start_time: int) -> str:
    """Return the name under which the UI finds a picture: kind+step+7+timestamp+...+uuid.

    MLflow's own `log_image` draws timestamp and uuid anew. These are the same each time, so that a picture
    which is logged again replaces itself.
    """
    kind, _, step = mark.rpartition("-")
    return f"{kind}+step+{step}+timestamp+{start_time}+{uuid.uuid5(uuid.NAMESPACE_OID, run_id + mark)}"
