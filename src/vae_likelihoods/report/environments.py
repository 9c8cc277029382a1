"""Where the reported cells were computed: reports/environment.json, from the records beside the results."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from vae_likelihoods.files import sha256, write_json

COUNTS = {"train": "trained", "evaluate": "evaluated"}  # stage -> the name of its count in the file


def collect(cells: pd.DataFrame, records: Path, results: Mapping[str, Path]) -> list[dict[str, Any]]:
    """Return each distinct environment with the number of cells that were trained and evaluated there.

    A cell that was continued elsewhere counts in each of its environments. Cells whose environment is unknown
    are counted beside `environment: null`: it was not recorded, or the files are not those of the record.

    Args:
        cells: the reported cells, with columns `study` and `cell`.
        records: the folder of `<stage>/<study>/<cell>.json`.
        results: stage -> the folder of `<study>/<cell>/`.
    """
    counts = {stage: Counter(_of_stage(cells, records / stage, results[stage])) for stage in COUNTS}
    texts = sorted({text for counter in counts.values() for text in counter})
    return [
        {**{COUNTS[stage]: counts[stage][text] for stage in COUNTS}, "environment": json.loads(text)}
        for text in texts
    ]


def write(counted: list[dict[str, Any]], path: Path) -> None:
    """Write what `collect` returned as JSON; leave an existing file as it is if no environment is known.

    Results that came with `dvc pull` were computed where the file in git says.
    """
    if any(each["environment"] is not None for each in counted):
        write_json(path, counted)


def _of_stage(cells: pd.DataFrame, records: Path, results: Path) -> Iterator[str]:
    for study, cell in zip(cells["study"], cells["cell"], strict=True):
        for environment in _recorded(records / study / f"{cell}.json", results / study / cell):
            yield json.dumps(environment, sort_keys=True)


def _recorded(path: Path, result: Path) -> list[dict[str, Any] | None]:
    """Return the environments of one result; a None alone if they are not known."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        same = all(sha256(result / name) == digest for name, digest in record["files"].items())
    except (OSError, ValueError):
        return [None]
    return record["environments"] if same else [None]
