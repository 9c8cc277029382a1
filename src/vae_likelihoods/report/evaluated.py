"""What was evaluated of the default studies, in one folder: the report's stage depends on it.

dvc.yaml cannot name the studies of params.yaml among the deps of one stage. The optional studies have no file
there: DVC would run them first.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from vae_likelihoods.errors import require
from vae_likelihoods.files import hashes, write_json

FOLDER = ".default"  # in evaluations/


def record(evaluations: Path, study: str) -> Path:
    """Write the sha256 of every file of a study's evaluations; return the file that has them.

    Raises:
        SettingError: if nothing of the study was evaluated.
    """
    files = hashes(evaluations / study)
    require(bool(files), "study", study, f"nothing is in {evaluations / study}; run evaluate@{study} first")
    path = evaluations / FOLDER / f"{study}.json"
    write_json(path, dict(sorted(files.items())))
    return path


def keep(evaluations: Path, studies: Collection[str]) -> None:
    """Remove the records of all but `studies`: a study that was removed from params.yaml leaves its own."""
    for path in (evaluations / FOLDER).glob("*.json"):
        if path.stem not in studies:
            path.unlink()
