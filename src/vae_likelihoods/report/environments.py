"""Where the reported cells were computed: reports/environment.json, from what was recorded beside them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from vae_likelihoods.files import sha256

COUNTS = {"train": "trained", "evaluate": "evaluated"}  # stage -> what its cells are called in the file


def collect(cells: pd.DataFrame, records: Path, results: Mapping[str, Path]) -> list[dict[str, Any]]:
    """Return each distinct environment with the number of cells that were trained and evaluated there.

    A cell that went on elsewhere counts in each of its environments. Those whose environment is not known
    are counted beside `environment: null`: nobody recorded it, or the files are not those of the record.

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


def write(found: list[dict[str, Any]], path: Path) -> None:
    """Write `found` as JSON; leave the file that is there if no environment is known.

    Results that came with `dvc pull` were computed where the file in git says.
    """
    if any(one["environment"] is not None for one in found):
        path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8", newline="\n")


def _of_stage(cells: pd.DataFrame, records: Path, results: Path) -> Iterator[str]:
    for study, cell in zip(cells["study"], cells["cell"], strict=True):
        found = _recorded(records / study / f"{cell}.json", results / study / cell)
        yield from (json.dumps(environment, sort_keys=True) for environment in found)


def _recorded(record: Path, result: Path) -> list[dict[str, Any] | None]:
    """Return the environments of one result; a None alone if they are not known."""
    try:
        found = json.loads(record.read_text(encoding="utf-8"))
        same = all(sha256(result / name) == hashed for name, hashed in found["files"].items())
    except (OSError, ValueError):
        return [None]
    return found["environments"] if same else [None]
