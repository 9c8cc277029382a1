"""Tuning of a study of params.yaml: its race, and the file in which the choices are frozen."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from pydantic import Field, ValidationError
from tqdm import tqdm

from vae_likelihoods.cells.cell import Cell
from vae_likelihoods.cells.words import refused
from vae_likelihoods.errors import SettingError, require
from vae_likelihoods.files import write_json
from vae_likelihoods.search import space
from vae_likelihoods.search.choosing import asked, chosen
from vae_likelihoods.search.race import Race, Trial, rungs
from vae_likelihoods.search.workers import Workers
from vae_likelihoods.sweeps import studies
from vae_likelihoods.sweeps.choices import FOLDER, Choices
from vae_likelihoods.training.sections import Count, Section
from vae_likelihoods.units.variants import USUAL, text

_RISEN = 2  # times the steps of the learning rate's rise: earlier than that, nothing is compared


class Budget(Section):
    """What `tune` says of a study in params.yaml.

    Args:
        trials: of each likelihood; the first has the default settings.
        seed: of every trial and of what is tried; no seed of the study.
        finalists: at most so many settings are trained with the study's seeds; null: two more than there are
            likelihoods.
    """

    trials: Count = 9
    seed: Annotated[int, Field(ge=0)] = 0
    finalists: Count | None = None

    @classmethod
    def read(cls, study: str, content: Any) -> Budget:
        """Check what a study says; an empty `tune:` has the defaults (SettingError)."""
        require(
            content is None or isinstance(content, Mapping),
            f"studies.{study}.tune",
            content,
            "must be a mapping",
        )
        try:
            return cls.model_validate(dict(content or {}))
        except ValidationError as error:
            raise refused(error, list(cls.model_fields)).within(f"studies.{study}.tune") from None


def race_of(name: str, study: Mapping[str, Any], root: Path) -> tuple[Race, Budget]:
    """Return the race of a study that has `tune`, before it begins. What its `options` set is not searched.

    Raises:
        SettingError: if its settings cannot be composed, or a seed of the race is one of the study's.
    """
    budget = Budget.read(name, study.get("tune"))
    axes = {key: value for key, value in study.items() if key != "tune"}
    defaults = studies.grid(name, {**axes, "seed": budget.seed}, root)
    seeds = _seeds(study)
    reason = f"is a seed of the study too ({', '.join(map(str, seeds))}): choices need fresh seeds"
    require(budget.seed not in seeds, f"studies.{name}.tune.seed", budget.seed, reason)
    options = {"options": axes.get("options")}
    given = {
        each.key_or_group
        for each in OverridesParser.create().parse_overrides(studies.options_of(f"studies.{name}", options))
    }
    cells: dict[str, list[Cell]] = {}
    for cell in defaults:
        cells.setdefault(cell.settings.family, []).append(cell)
    training = defaults[0].settings.training
    steps = math.ceil(defaults[0].data.count("train") / training.batch_size)
    marks = rungs(budget.trials, training.epochs, math.ceil(_RISEN * training.warmup_steps / steps))
    trials: list[Trial] = []
    fixed: Mapping[str, Any]
    for likelihood, own in cells.items():
        latent_dims = sorted({cell.settings.latents for cell in own})
        middle = next(c for c in own if c.settings.latents == latent_dims[len(latent_dims) // 2])
        searched = space.space(middle.settings, latent_dims, marks[0])
        searched = {key: each for key, each in searched.items() if key not in given}
        flat = {**middle.settings.flat, "latent_dim": middle.settings.latents}
        default = {key: flat[key] for key in searched}
        tried = space.trials(searched, default, budget.trials, budget.seed)
        names = middle.settings.names
        fixed = {key: names[key] for key in ("model", "likelihood") if key in axes and key in names}
        unread = {key: _values(key, axes[key])[0] for key in USUAL}  # one of them, where the model reads none
        size = {"latent_dim": latent_dims[0]} if latent_dims[0] else {}
        words = studies.overrides(name, {**axes, **unread, **fixed, **size, "seed": budget.seed})
        jobs = [[*words, *(f"{key}={text(value)}" for key, value in each.items())] for each in tried]
        for place, each in enumerate(studies.composed(jobs, root)):
            # Trials lie in the store alone. One that is laid out, all the same, is no cell of the study.
            cell = Cell(each).named(f"{likelihood}-{place}", f"{name}-race")
            trials.append(Trial(likelihood, tried[place], cell, default=place == 0, fixed=fixed))
    for trial in trials:
        trial.cell.check()
    return Race(trials, marks), budget


def tune(name: str, study: Mapping[str, Any], root: Path, path: Path, again: bool = False) -> Choices | None:
    """Run the race of a study that has `tune`, and write what it chose; return that.

    Seconds are written to logs/tune/<name>.json: they differ from run to run, and the file in git does not.

    Args:
        name: of the study.
        study: what params.yaml says of it.
        root: the folder of data/ and of the store.
        path: the file of the choices. Those of the same race, if it has them, stay, and None is returned.
        again: run the race in any case.
    """
    race, budget = race_of(name, study, root)
    most = budget.finalists or len(race.likelihoods) + 2
    if not again and _frozen(path) == asked(race, most):
        return None
    with Workers(race.trials[0].cell.settings.runtime.parallel) as workers:
        with tqdm(desc=f"tune {name}", unit="epoch", disable=None) as bar:
            race.run(workers, _shown(bar))
        failed = [trial for trial in race.trials if trial.error]
        reason = (
            f"no trial came to its end; the first failed: {failed[0].error}" if failed else "no trial ran"
        )
        require(bool(race.finished), "tune", name, reason)
        choices = chosen(race, workers, most)
    choices.write(path)
    write_json(root / "logs" / FOLDER / f"{name}.json", log_of(race))
    return choices


def _frozen(path: Path) -> str | None:
    """Return what was asked of the race whose choices a file has; None if it has none."""
    try:
        return Choices.read(path).asked
    except SettingError:
        return None


def log_of(race: Race) -> dict[str, Any]:
    """Return every trial with its scores, and the seconds of each likelihood: what is in no file of git."""
    seconds: dict[str, float] = {}
    for trial in race.trials:
        seconds[trial.likelihood] = seconds.get(trial.likelihood, 0.0) + trial.seconds
    return {
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
        "trials": [
            {
                "likelihood": trial.likelihood,
                "settings": dict(trial.settings),
                "key": trial.cell.key,
                "scores": trial.scores,
                "error": trial.error,
            }
            for trial in race.trials
        ],
    }


def leading(race: Race) -> str:
    """Return the leader of a race in words."""
    leader = race.leader
    if leader is None:
        return "nothing yet"
    return f"{leader.likelihood} with {leader.cell.settings.latents} latents, {leader.score:.4f} bits/dim"


def _shown(bar: Any) -> Callable[[Race, int, int], None]:
    def show(race: Race, done: int, planned: int) -> None:
        bar.total = planned
        bar.set_postfix_str(f"leads: {leading(race)}", refresh=False)
        bar.update(done - bar.n)

    return show


def _values(key: str, axis: Any) -> list[Any]:
    """Return the values of an axis of a study."""
    (override,) = OverridesParser.create().parse_overrides([f"{key}={axis}"])
    return list(override.sweep_iterator()) if override.is_sweep_override() else [override.value()]


def _seeds(study: Mapping[str, Any]) -> Sequence[int]:
    try:
        return [int(str(value)) for value in _values("seed", study.get("seed", ""))]
    except ValueError:
        raise SettingError("seed", study.get("seed"), "must be whole numbers") from None
