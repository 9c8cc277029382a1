"""The stage `tune` for one study of a params.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from vae_likelihoods.errors import SettingError, require
from vae_likelihoods.sweeps.choices import FOLDER, Choices


def tune_study(name: str, params: Path, root: Path, again: bool = False) -> str:
    """Run the race of a study; return a line that says what was chosen.

    The choices go to the folder `tune` beside `params`. Those of the same race that are there already stay,
    unless it is to be run `again`. A study without `tune` gets a file that says so, and costs no more than
    that: nothing slow is imported.

    Raises:
        SettingError: there is no such study, or its race cannot be run.
    """
    if not params.is_file():
        raise SettingError("params", params, "no such file")
    content: Any = OmegaConf.to_container(OmegaConf.load(params), resolve=True)
    studies = {**(content.get("studies") or {}), **(content.get("optional") or {})}
    require(name in studies, "study", name, f"is not in {params}", studies)
    study, folder = studies[name], params.parent / FOLDER
    path = folder / f"{name}.yaml"
    if "tune" not in study:
        Choices([]).write(path)
        return f"{name}: not tuned, as params.yaml has no `tune` for it ({path})"

    from vae_likelihoods.search.tuning import tune

    choices = tune(name, study, root, path, again)
    if choices is None:
        return f"{name}: what was chosen stays ({path}); --again runs the race again"
    first = choices.choices[0]
    return f"{name}: {len(choices.choices)} settings chosen, first {' '.join(first.words)} ({path})"
