"""Run one of the optional studies of params.yaml, and first what it needs, through DVC.

.venv/bin/python pipelines/study.py likelihoods
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from omegaconf import OmegaConf

from vae_likelihoods.errors import SettingError, require
from vae_likelihoods.files import PROJECT


def main(arguments: Sequence[str] | None = None) -> None:
    """Become `dvc repro` of the study's report; exit with one line if there is no such study."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("study", help="a study that params.yaml names under optional:")
    parser.add_argument("--params", type=Path, default=PROJECT / "params.yaml")
    options = parser.parse_args(arguments)
    try:
        check(options.study, options.params)
    except SettingError as error:
        sys.exit(f"study: {error}")
    os.chdir(PROJECT)
    dvc = [sys.executable, "-m", "dvc", "repro", f"optional/dvc.yaml:report@{options.study}"]
    os.execv(sys.executable, dvc)


def check(study: str, params: Path) -> None:
    """Refuse what is no optional study of `params`.

    Raises:
        SettingError: naming the choices.
    """
    named = OmegaConf.load(params)
    choices = list(named.get("optional") or ())
    default = study in (named.get("studies") or ())
    reason = "runs with `make repro`" if default else "is not among the optional studies of params.yaml"
    require(study in choices, "study", study or "(none)", f"{reason}; make study STUDY=<name>", choices)


if __name__ == "__main__":
    main()
