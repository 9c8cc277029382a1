"""A published protocol from its name to its table: its grid trained, evaluated and reported."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from vae_likelihoods.experiments.base import report
from vae_likelihoods.experiments.collecting import collect, experiment_of
from vae_likelihoods.experiments.page import check_page, write_page
from vae_likelihoods.files import PROJECT


def compute(name: str, overrides: Sequence[str]) -> int:
    """Train and evaluate every cell of an experiment that the store does not have; return an exit code.

    Raises:
        SettingError: if there is no such experiment.
    """
    parts = (name, *experiment_of(name).parts)
    runs = ((stage, part) for stage in ("train", "evaluate") for part in parts)
    return next((code for stage, part in runs if (code := run(stage, part, overrides)) != 0), 0)


def run(stage: str, part: str, overrides: Sequence[str]) -> int:
    """Run a stage for the grid of a YAML in conf/experiment; return its exit code."""
    script = str(PROJECT / "pipelines" / f"{stage}.py")
    return subprocess.run(
        [sys.executable, script, "-m", f"experiment={part}", *overrides], check=False
    ).returncode


def table(name: str, overrides: Sequence[str], page: Path | None) -> str:
    """Return the report of an evaluated experiment; write it to `page`, too, if one is given.

    Raises:
        SettingError: if a cell was not evaluated, or the page has no place for the report.
    """
    text = report(experiment_of(name), collect(name, overrides))
    if page is not None:
        write_page(page, name, text)
    return text


def check(name: str, page: Path | None) -> None:
    """Refuse an unknown experiment, and a page that has no place for it (SettingError)."""
    experiment_of(name)
    if page is not None:
        check_page(page, name)
