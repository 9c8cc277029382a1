"""The best model of an evaluated study, with what one must know of it before one uses it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vae_likelihoods.errors import require
from vae_likelihoods.files import PROJECT
from vae_likelihoods.report import prose, ranking, recommend, stability, summary, tuning
from vae_likelihoods.report.words import listed, within


@dataclass(frozen=True)
class Best:
    """One cell.

    Args:
        cell: its name: of the best setting, the lowest seed.
        card: what it was trained on, its score and interval, and its limits, as Markdown.
    """

    cell: str
    card: str


def of_study(study: str, root: Path) -> Best:
    """Return the best cell of a study.

    Args:
        study: its name.
        root: the folder of evaluations/ and runs/.

    Raises:
        SettingError: nothing of it was evaluated, its cells cannot be compared, or no model beats the
            baselines.
    """
    evaluations = root / "evaluations"
    cells = summary.collect(evaluations, {study: []}, runs=root / "runs")
    answer = ranking.answer(cells, evaluations)
    names = listed([each.name for each in answer.unbeaten]) if answer.unbeaten else ""
    require(not answer.unbeaten, "study", study, f"no model beats {names}: name a folder of runs/{study}")
    of_best = [cell for cell in answer.cells if cell.name == answer.best.name]
    cell = min(of_best, key=lambda each: (each.seed, each.cell)).cell
    return Best(cell, _card(answer, cell, tuning.of_study(study, root, cells)))


def root_of(name: str) -> Path:
    """Return the folder of results that has `name`: where this is called, or else the project's."""
    return next((root for root in (Path.cwd(), PROJECT) if (root / name).exists()), Path.cwd())


def _card(answer: ranking.Answer, cell: str, tuned: tuning.Tuning | None) -> str:
    """Return the model card of a study's best cell."""
    second, decimals = answer.runner_up, answer.decimals
    score = prose.score_of_best(answer)
    kind = "exact" if answer.best.exact else "a bound: the model may be better"
    lines = [
        f"# {answer.study}/{cell}",
        "",
        f"* What it is: {_kind(answer.best)}.",
        f"* Trained on: the train split of {answer.dataset} at {answer.levels} levels.",
        f"* Score: {score}, on {answer.images:,} test images (lower is better; {kind}).",
    ]
    if second is not None:
        lines.append(
            f"* The runner-up, {second.name.in_words}, needs {answer.behind(second):+.{decimals}f} "
            f"{within(second.interval, decimals)} bits/dim more (95 % interval)."
        )
    lines += [
        f"* Why this one: it has the lowest seed of the study's best setting. {prose.sentences(answer)[0]}",
        f"* Not known: {'; '.join(recommend.unknown(answer, stability.agreements(answer), tuned))}.",
        "* Limits: it is a model of such images alone. Images of another kind, size or number of levels are "
        "refused, or scored as unlikely.",
    ]
    return "\n".join(lines) + "\n"


def _kind(setting: ranking.Setting) -> str:
    """Return what a model is: what it has latents for, or what it gives without."""
    if setting.latent_dim:
        return f"a variational autoencoder, {setting.name.in_words}"
    return f"`{setting.likelihood}`, a model that gives p(x) without latents"
