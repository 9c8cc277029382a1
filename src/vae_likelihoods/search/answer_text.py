"""What an answer says: at its end, and where it is stopped."""

from __future__ import annotations

import math
import shlex
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vae_likelihoods.errors import SettingError
from vae_likelihoods.report import best, printing
from vae_likelihoods.report.writing import read_params
from vae_likelihoods.search.race import Race, Trial
from vae_likelihoods.search.request import Request
from vae_likelihoods.search.tuning import leading, log_of
from vae_likelihoods.sweeps.choices import FOLDER, Choices
from vae_likelihoods.sweeps.stages import TrainingStage

AGAIN = "the same command goes on where it stopped"


def finished(request: Request, race: Race, card: Mapping[str, Any]) -> str:
    """Return the answer, what it cost, and where everything is.

    Args:
        request: that was answered.
        race: its race.
        card: the facts of the data card.
    """
    name, root = request.name, request.root
    lines = [
        printing.recommendation(name, root, read_params(root / "params.yaml")),
        "",
        "What tuning chose:",
        *_tuned(root / FOLDER / f"{name}.yaml"),
        "",
        _costs(race, card["counts"]["train"]),
        "",
        f"report:  {root / 'reports' / name / 'index.html'}",
        f"images:  {root / 'data' / 'prepared' / name / 'contact_sheet.png'}",
        *_model(name, root),
    ]
    if request.study:
        lines.append("again:   dvc repro reproduces it: data set, study and choices are in the project")
    else:
        lines.append(f"runs:    vae-likelihoods ui --root {shlex.quote(str(root))}")
    return "\n".join(lines)


def interrupted(race: Race | None) -> str:
    """Return the best answer so far, and how to go on; a model that is trained to its end is laid out."""
    if race is None or race.leader is None:
        return f"stopped before anything could be compared; {AGAIN}"
    lines = [f"stopped. So far, on the validation images: {leading(race)}."]
    best_of: dict[str, Trial] = {}
    for trial in sorted(race.trials, key=lambda trial: trial.score):
        if math.isfinite(trial.score):
            best_of.setdefault(trial.likelihood, trial)
    for name, trial in best_of.items():
        trained = f"{race.rungs[len(trial.scores) - 1]} of {race.rungs[-1]} epochs"
        lines.append(f"  {trial.score:8.4f}  {name}, {trial.cell.settings.latents} latents, {trained}")
    if absent := [name for name in race.likelihoods if name not in best_of]:
        lines.append(f"not tried yet: {', '.join(absent)}")
    if race.finished:
        trial = race.finished[0]
        TrainingStage().take(trial.cell)
        whole = "its model" if trial is race.leader else f"the best model that is whole, {trial.likelihood}"
        lines.append(f"{whole}: vae_likelihoods.load({str(trial.cell.run_folder)!r})")
    return "\n".join([*lines, AGAIN])


def _tuned(path: Path) -> list[str]:
    """Return what tuning chose for each setting beyond likelihood and latent size."""
    return [
        f"  {each.settings['likelihood']}, {each.settings['latent_dim']} latents: "
        + ", ".join(f"{key}={each.settings[key]}" for key in each.tuned)
        for each in Choices.read(path).choices
    ]


def _costs(race: Race, train: int) -> str:
    """Return the steps and seconds of each likelihood in the race."""
    steps = math.ceil(train / race.trials[0].cell.settings.training.batch_size)
    parts = []
    for name, seconds in log_of(race)["seconds"].items():
        epochs = sum(trial.epochs for trial in race.trials if trial.likelihood == name)
        parts.append(f"{name} {epochs * steps:,} steps in {seconds:,.0f} s")
    return textwrap.fill(f"The race, on one worker each: {'; '.join(parts)}.", printing.WIDTH)


def _model(name: str, root: Path) -> list[str]:
    """Return where the best model and its samples are; nothing if no model is recommended."""
    try:
        cell = best.of_study(name, root).cell
    except SettingError:
        return []
    return [
        f"samples: {root / 'evaluations' / name / cell / 'samples.png'}",
        f"model:   vae_likelihoods.load({str(root / 'runs' / name / cell)!r})",
    ]
