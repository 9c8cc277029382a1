"""Write a study into the project, so that `dvc repro` reproduces it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from vae_likelihoods.errors import SettingError
from vae_likelihoods.files import PROJECT, write_text

_DATASETS = re.compile(r"^datasets: \[(.*)\]$", re.MULTILINE)
_STUDIES = re.compile(r"^studies:\n", re.MULTILINE)


def join_project(name: str, study: Mapping[str, Any], params: Path = PROJECT / "params.yaml") -> None:
    """Add a study, and its data set of the same name, to params.yaml; comments there stay.

    A study of this name is replaced if it is the same but for its seeds, which follow from the time.

    Raises:
        SettingError: another study has this name, or the file is not written as expected; it is unchanged.
    """
    old = params.read_text(encoding="utf-8")
    content = yaml.safe_load(old)
    place = "optional" if name in (content.get("optional") or {}) else "studies"
    there = (content.get(place) or {}).get(name)
    if there is not None and {**there, "seed": None} != {**study, "seed": None}:
        raise SettingError("--study", name, f"{params} has another study of this name")
    if there is not None:
        new = old.replace(_block(name, there), _block(name, study))
    else:
        new = _STUDIES.sub(lambda match: match.group() + _block(name, study), old, count=1)
    if name not in (content.get("datasets") or []):
        new = _DATASETS.sub(lambda match: f"datasets: [{match.group(1)}, {name}]", new, count=1)
    wanted = {
        **content,
        "datasets": list(dict.fromkeys([*(content.get("datasets") or []), name])),
        place: {**(content.get(place) or {}), name: dict(study)},
    }
    if yaml.safe_load(new) != wanted:
        raise SettingError("--study", name, f"{params} is not written as expected; add the study by hand")
    write_text(params, new)


def _block(name: str, study: Mapping[str, Any]) -> str:
    """Return the lines of a study in params.yaml."""
    lines = yaml.safe_dump({name: dict(study)}, sort_keys=False, width=10**6).splitlines()
    return "".join(f"  {line}\n" for line in lines)
