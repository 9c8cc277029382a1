"""What was evaluated of the default studies, in one folder: the report's stage depends on it.

dvc.yaml cannot name the studies of params.yaml among the deps of one stage. The optional studies have no file
there: DVC would run them first.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from vae_likelihoods.errors import require
from vae_likelihoods.files import hashes, sha256, write_json

FOLDER = ".default"  # in evaluations/


def record(evaluations: Path, study: str, tune: Path | None = None) -> Path:
    """Write the sha256 of every file of a study's evaluations, and of what tuning chose for it.

    Args:
        evaluations: the folder of all evaluations.
        study: its name.
        tune: the folder of `<study>.yaml`; None, or without the file: the study was not tuned.

    Returns:
        the file that has them.

    Raises:
        SettingError: if nothing of the study was evaluated.
    """
    files = hashes(evaluations / study)
    chosen = None if tune is None else tune / f"{study}.yaml"
    require(bool(files), "study", study, f"nothing is in {evaluations / study}; run evaluate@{study} first")
    path = evaluations / FOLDER / f"{study}.json"
    tuned = {f"tune/{study}.yaml": sha256(chosen)} if chosen is not None and chosen.is_file() else {}
    write_json(path, dict(sorted(files.items())) | tuned)
    return path


def keep(evaluations: Path, studies: Collection[str]) -> None:
    """Remove the records of all but `studies`: a study that was removed from params.yaml leaves its own."""
    for path in (evaluations / FOLDER).glob("*.json"):
        if path.stem not in studies:
            path.unlink()
