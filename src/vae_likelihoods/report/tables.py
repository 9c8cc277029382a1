"""The answer as text: Markdown for the README, numbers for `dvc metrics show`, a CSV for `dvc plots show`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pandas as pd

from vae_likelihoods.errors import require
from vae_likelihoods.files import write_json, write_text, write_whole
from vae_likelihoods.report import recommend, tuning
from vae_likelihoods.report.ranking import Answer, Baseline, Setting
from vae_likelihoods.report.recommend import Recommendation, Table
from vae_likelihoods.report.summary import significant
from vae_likelihoods.report.words import amount, latents
from vae_likelihoods.units.variants import VARIANT

_INTERVALS = (
    "The best setting of each {noun}, and all that may be the best. In brackets the 95 % interval of the "
    "paired difference, over images and seeds, corrected for all comparisons; if it contains 0, it is a tie."
)
_KINDS = " A score is exact, or it is a bound, and the model may be better than that."
_NOTE = (
    "Every setting: bits/dim on the test split ± standard error, lower is better; bold: the best setting, "
    "and those that are indistinguishable from it. The last rows are models without latents and training."
)
_OPEN, _CLOSE = "<!-- results -->", "<!-- /results -->"
_STABILITY = (
    *("study", "axis", "reference", "ranking", "ranked", "kendall_tau"),
    *("pairs", "flips", "firm_flips"),
)


def markdown(recommendations: Sequence[Recommendation]) -> str:
    """Return, for each study, its answer in words, its table, and bits/dim of every setting."""
    return "\n\n".join(_study(each) for each in recommendations) + "\n"


def update_readme(readme: Path, table: str) -> bool:
    """Replace the text between the results markers of `readme` by `table`; return whether it changed.

    Raises:
        SettingError: `readme` does not exist or lacks one of the markers.
    """
    old = readme_text(readme)
    head, _, rest = old.partition(_OPEN)
    tail = rest.partition(_CLOSE)[2]
    new = f"{head}{_OPEN}\n{table.strip()}\n{_CLOSE}{tail}"
    if new != old:
        write_text(readme, new)
    return new != old


def readme_text(readme: Path) -> str:
    """Return the text of `readme`; raises SettingError where `update_readme` would."""
    require(readme.is_file(), "readme", readme.as_posix(), "no such file")
    text = readme.read_text(encoding="utf-8")
    reason = f"it needs the markers {_OPEN} and {_CLOSE}, in this order"
    require(_CLOSE in text.partition(_OPEN)[2], "readme", readme.as_posix(), reason)
    return text


def headlines(answers: Sequence[Answer]) -> dict[str, dict[str, str | int | float | bool | None]]:
    """Return a few numbers of each study: the best setting, the runner-up, and whether they differ.

    What too few images cannot tell is None. `unit` is that of every number but the latent sizes.
    """
    return {answer.study: _headline(answer) for answer in answers}


def write_headlines(answers: Sequence[Answer], path: Path) -> None:
    """Write `headlines` as JSON."""
    write_json(path, headlines(answers))


def write_plots(recommendations: Sequence[Recommendation], folder: Path) -> None:
    """Write bits_per_dim.csv (a row for each setting) and stability.csv (a row for each pair of rankings)."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = pd.DataFrame([row for each in recommendations for row in _settings(each.answer)])
    if not any(settings[VARIANT]):
        del settings[VARIANT]
    _write_csv(settings, folder / "bits_per_dim.csv")
    pairs = [row for each in recommendations for row in _agreements(each)]
    _write_csv(pd.DataFrame(pairs, columns=_STABILITY), folder / "stability.csv")


def _settings(answer: Answer) -> list[dict[str, str | int | float | None]]:
    return [
        {
            "study": answer.study,
            "likelihood": setting.likelihood,
            "latent_dim": setting.latent_dim,
            VARIANT: setting.name.variant,
            "bits_per_dim": significant(setting.bits_per_dim),
            "standard_error": significant(setting.uncertainty),
            "score": setting.score_is,
            "behind": significant(answer.behind(setting)),
            "behind_low": significant(setting.interval and setting.interval.low),
            "behind_high": significant(setting.interval and setting.interval.high),
            "best_share": significant(setting.best_share),
            "beats_baselines": all(answer.beats(setting, each) for each in answer.baselines),
            "unit": str(answer.unit),
        }
        for setting in sorted(answer.settings, key=lambda s: s.name)
    ]


def _agreements(recommendation: Recommendation) -> list[tuple[str | int | float, ...]]:
    return [
        (
            *(recommendation.answer.study, held.axis, held.reference, held.label, held.ranked),
            *(significant(held.tau), held.pairs, _pairs(held.flips), _pairs(held.firm)),
        )
        for held in recommendation.agreements
    ]


def _pairs(flips: Sequence[tuple[str, str]]) -> str:
    """Return flips in the order of the reference: the better one first."""
    return "; ".join(f"{better} before {worse}" for better, worse in flips)


def _headline(answer: Answer) -> dict[str, str | int | float | bool | None]:
    best, second = answer.best, answer.runner_up
    headline: dict[str, str | int | float | bool | None] = {
        "likelihood": best.likelihood,
        "latent_dim": best.latent_dim,
        **({VARIANT: best.name.variant} if answer.varied else {}),
        "bits_per_dim": significant(best.bits_per_dim),
        "standard_error": significant(best.uncertainty),
        "best_share": significant(best.best_share),
        "beats_baselines": not answer.unbeaten,
        "unit": str(answer.unit),
    }
    if second is not None:
        headline |= {
            "runner_up": second.likelihood,
            "difference": significant(answer.behind(second)),
            "difference_low": significant(second.interval and second.interval.low),
            "difference_high": significant(second.interval and second.interval.high),
            "distinguishable": None if second.interval is None else second.interval.low > 0,
        }
    return headline


def _study(recommendation: Recommendation) -> str:
    answer = recommendation.answer
    sizes = sorted({setting.latent_dim for setting in answer.settings})
    families = {setting.name.family: setting for setting in reversed(answer.settings)}
    best_first = sorted(families.values(), key=answer.settings.index)
    rows = tuple(_row(answer, setting, sizes) for setting in best_first)
    rows += tuple(_baseline_row(answer, baseline, sizes) for baseline in answer.baselines)
    every = Table((answer.noun, *answer.varied, *map(latents, sizes)), rows)
    text = f"**{answer.study}**: {recommendation.paragraph}"
    best = recommend.markdown(recommendation.table)
    tuned = [recommend.markdown(recommendation.tuning), tuning.NOTE] if recommendation.tuning else []
    intervals = _INTERVALS.format(noun=answer.noun)
    intervals += _KINDS if answer.any_exact and answer.any_bound else ""
    return "\n\n".join([text, best, intervals, recommend.markdown(every), _NOTE, *tuned])


def _row(answer: Answer, first: Setting, sizes: Sequence[int]) -> tuple[str, ...]:
    """Return the row of a likelihood and variant, whose best setting is `first`; size 0 is no latents."""
    by_size = {s.latent_dim: s for s in answer.settings if s.name.family == first.name.family}
    entries = (_entry(answer, by_size.get(size)) for size in sizes)
    return (f"`{first.likelihood}`", *answer.variant(first), *entries)


def _baseline_row(answer: Answer, baseline: Baseline, sizes: Sequence[int]) -> tuple[str, ...]:
    """Return the row of a baseline, under no latents; without that column, the same score in all."""
    score = f"{baseline.bits_per_dim:.{answer.decimals}f}"
    entries = ("" if size and 0 in sizes else score for size in sizes)
    return (baseline.name, *("" for _ in answer.varied), *entries)


def _entry(answer: Answer, setting: Setting | None) -> str:
    if setting is None:
        return ""
    text = amount(setting.bits_per_dim, setting.uncertainty, answer.decimals)
    return f"**{text}**" if answer.tied(setting) else text  # the best is tied with itself


def _write_csv(table: pd.DataFrame, path: Path) -> None:
    write_whole(path, partial(table.to_csv, index=False, lineterminator="\n"))
