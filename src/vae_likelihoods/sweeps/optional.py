"""An optional study of params.yaml, run through DVC together with what it needs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

from omegaconf import OmegaConf

from vae_likelihoods.errors import require
from vae_likelihoods.files import PROJECT


def repro(study: str, params: Path) -> NoReturn:
    """Replace this process by `dvc repro` of the study's report.

    Raises:
        SettingError: if there is no such optional study.
    """
    check(study, params)
    os.chdir(PROJECT)
    os.environ["SHELL"] = "/bin/sh"  # for DVC, which runs the stages with the user's shell, whatever that is
    target = f"optional/dvc.yaml:report@{study}"
    os.execv(sys.executable, [sys.executable, "-m", "dvc", "repro", target])


def check(study: str, params: Path) -> None:
    """Refuse a name that is not an optional study of `params`.

    Raises:
        SettingError: naming the choices.
    """
    config = OmegaConf.load(params)
    choices = list(OmegaConf.select(config, "optional") or ())
    default = study in (OmegaConf.select(config, "studies") or ())
    reason = "runs with `make repro`" if default else "is not among the optional studies of params.yaml"
    require(study in choices, "study", study or "(none)", f"{reason}; make study STUDY=<name>", choices)
