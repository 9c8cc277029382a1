"""What a race chose: the best of every likelihood, and what validation cannot tell from the leader."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats

from vae_likelihoods.cells.build import build_model
from vae_likelihoods.cells.cell import Cell
from vae_likelihoods.cells.identity import key_of
from vae_likelihoods.cells.run_files import WEIGHTS
from vae_likelihoods.datasets.quantise import levels_of
from vae_likelihoods.errors import require
from vae_likelihoods.inference.bounds import scored
from vae_likelihoods.recipes.cpu import prepare_cpu
from vae_likelihoods.search.race import Race, Trial
from vae_likelihoods.search.workers import Workers
from vae_likelihoods.seeding import generator
from vae_likelihoods.sweeps.choices import Choice, Choices
from vae_likelihoods.training.checkpoints import load_weights

_LEVEL = 0.05
_DRAWS = 8  # of z for each image
_ROUNDING = 1e-9  # of a difference: what varies by less is the same in every image
_AT_ONCE = 1024  # images decoded together


def chosen(race: Race, workers: Workers, most: int) -> Choices:
    """Return what the race chose, the best first.

    That is the best trial of every likelihood. Then, until there are `most`: further latent sizes that the
    validation images cannot tell from the leader, by a paired t-test at 5 % over all that are compared.

    Args:
        race: a race that is over.
        workers: what scores the trials on the validation images.
        most: of settings; there is one of each likelihood in any case.
    """
    finished = race.finished
    of_setting: dict[tuple[str, int], Trial] = {}
    for trial in finished:
        of_setting.setdefault(trial.setting, trial)
    best: dict[str, Trial] = {}
    for trial in finished:
        best.setdefault(trial.likelihood, trial)
    further = [trial for trial in of_setting.values() if best[trial.likelihood] is not trial]
    tied = _tied(finished[0], further, workers) if further and len(best) < most else []
    taken = [*best.values(), *tied][: max(most, len(best))]
    choices = [_choice(trial) for trial in sorted(taken, key=lambda trial: trial.score)]
    return Choices(choices, summary(race), asked(race, most))


def asked(race: Race, most: int) -> str:
    """Return a hash of what is asked of a race: trials, rungs, data, and how many settings it chooses.

    Neither code nor machine is in it: what was chosen is frozen, and is trained wherever the study is.
    """
    content = {
        "trials": [trial.cell.settings.learned for trial in race.trials],
        "rungs": list(race.rungs),
        "data": race.trials[0].cell.data.sha256,
        "finalists": most,
    }
    return key_of(content)


def summary(race: Race) -> dict[str, Any]:
    """Return what the report says of a race: how much was tried, and what it changed for each likelihood."""
    likelihoods = {}
    for name in race.likelihoods:
        own = [trial for trial in race.trials if trial.likelihood == name]
        best = min(own, key=lambda trial: (-len(trial.scores), trial.score))
        default = race.default(name)
        likelihoods[name] = {
            "default_bits_per_dim": _rounded(default.score),
            "tuned_bits_per_dim": _rounded(best.score),
            "epochs": sum(trial.epochs for trial in own),
            "failed": sum(trial.error is not None for trial in own),
        }
    cell = race.trials[0].cell
    return {
        "trials": len(race.trials) // len(race.likelihoods),
        "rungs": list(race.rungs),
        "seed": cell.settings.seed,
        "validation_images": cell.data.count("validation"),
        "likelihoods": likelihoods,
    }


def _choice(trial: Trial) -> Choice:
    latents = trial.cell.settings.latent_dim
    settings = {**trial.fixed, **({} if latents is None else {"latent_dim": latents})}
    tuned = {key: trial.settings[key] for key in sorted(trial.settings)}
    return Choice(settings | tuned, _six_digits(trial.score))


def _rounded(score: float) -> float | None:
    return _six_digits(score) if np.isfinite(score) else None


def _six_digits(score: float) -> float:
    return float(f"{score:.6g}")


def _tied(leader: Trial, others: Sequence[Trial], workers: Workers) -> list[Trial]:
    """Return which of the others the validation images cannot tell from the leader, the best first.

    Raises:
        SettingError: a trial that was trained to its end cannot be scored.
    """
    trials = [leader, *others]
    scores: dict[int, NDArray[np.float64]] = {}
    for index, outcome in workers.map(validation_scores, [(trial.cell,) for trial in trials]):
        name = trials[index].cell.name
        require(
            outcome.error is None, "race", name, f"cannot be scored on validation images: {outcome.error}"
        )
        scores[index] = outcome.value
    tied = []
    for index, trial in enumerate(trials[1:], 1):
        difference = scores[index] - scores[0]
        constant = difference.std() <= _ROUNDING * np.abs(difference).max()
        p = float(not difference.any()) if constant else stats.ttest_1samp(difference, 0.0).pvalue
        if p > _LEVEL / len(others):
            tied.append(trial)
    return tied


@torch.no_grad()
def validation_scores(cell: Cell) -> NDArray[np.float64]:
    """Return minus the ELBO of every validation image in nats [M], for a cell trained in the store."""
    settings, device = cell.settings, cell.settings.runtime.torch_device
    prepare_cpu(settings.runtime.threads)
    torch.set_float32_matmul_precision("highest")  # scores are computed with all bits
    model = build_model(settings, cell.data.shape)
    load_weights(cell.trained.folder / WEIGHTS, model)
    model = model.to(device).eval()
    levels = levels_of(cell.data, "validation", settings.levels, settings.binarize).to(device).images
    noise = generator(settings.seed, "race", device=device)
    batches = levels.split(max(1, _AT_ONCE // _DRAWS))
    bounds = [scored(model, batch, _DRAWS, noise, _AT_ONCE) for batch in batches]
    return -torch.cat([each.elbo for each in bounds]).cpu().numpy()
