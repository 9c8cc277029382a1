"""What reports/environment.json says of the cells of a report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from vae_likelihoods.files import sha256
from vae_likelihoods.report import environments

CELLS = pd.DataFrame({"study": ["grey"] * 3, "cell": ["a-2-0", "a-8-0", "b-2-0"]})
STAGES = ("train", "evaluate")


def save(root: Path, stage: str, cell: str, *places: dict[str, Any]) -> Path:
    """Write a result of each file, and the record that speaks of it; return the file."""
    path = root / stage / "grey" / cell / "result"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{stage} {cell}")
    record = root / "environments" / stage / "grey" / f"{cell}.json"
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text(json.dumps({"environments": places, "files": {"result": sha256(path)}}))
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for stage in STAGES:
        for cell in CELLS["cell"]:
            save(tmp_path, stage, cell, {"threads": 1})
    return tmp_path


def collect(root: Path) -> list[dict[str, Any]]:
    return environments.collect(CELLS, root / "environments", {stage: root / stage for stage in STAGES})


def test_one_environment_is_one_entry(root: Path) -> None:
    assert collect(root) == [{"trained": 3, "evaluated": 3, "environment": {"threads": 1}}]


def test_each_environment_has_the_number_of_its_cells_in_an_order_that_stays(root: Path) -> None:
    save(root, "train", "a-2-0", {"threads": 2})
    save(root, "train", "b-2-0", {"threads": 1}, {"threads": 2})  # went on elsewhere
    first = collect(root)
    assert first == [
        {"trained": 2, "evaluated": 3, "environment": {"threads": 1}},
        {"trained": 2, "evaluated": 0, "environment": {"threads": 2}},
    ]
    backwards = environments.collect(
        CELLS[::-1], root / "environments", {stage: root / stage for stage in STAGES}
    )
    assert backwards == first


def test_a_record_of_other_files_does_not_count(root: Path) -> None:
    """As after `dvc pull` in a folder where something else was computed before."""
    (root / "evaluate" / "grey" / "a-8-0" / "result").write_text("pulled")
    (root / "environments" / "train" / "grey" / "b-2-0.json").unlink()
    assert collect(root) == [
        {"trained": 1, "evaluated": 1, "environment": None},
        {"trained": 2, "evaluated": 2, "environment": {"threads": 1}},
    ]


def test_what_is_written_leaves_a_file_in_place_where_nothing_is_known(root: Path) -> None:
    path = root / "environment.json"
    environments.write(collect(root), path)
    written = path.read_text()
    assert json.loads(written) == collect(root)
    for record in (root / "environments").rglob("*.json"):
        record.unlink()
    assert [each["environment"] for each in collect(root)] == [None]
    environments.write(collect(root), path)
    assert path.read_text() == written
