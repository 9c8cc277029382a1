"""The answer as text: Markdown for the README, numbers for `dvc metrics show`, a CSV for `dvc plots show`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from vae_likelihoods.errors import require
from vae_likelihoods.report import recommend
from vae_likelihoods.report.ranking import Answer, Setting
from vae_likelihoods.report.recommend import Recommendation
from vae_likelihoods.report.summary import significant

_INTERVALS = (
    "The best setting of each likelihood, and all that may be the best. In brackets the 95 % interval of the "
    "paired difference, over images and seeds, corrected for all comparisons; if it contains 0, it is a tie."
)
_NOTE = (
    "Every setting: bits/dim on the test split ± standard error, lower is better; bold: the best, and what "
    "cannot be told apart from it."
)
_OPEN, _CLOSE = "<!-- results -->", "<!-- /results -->"


def markdown(found: Sequence[Recommendation]) -> str:
    """Return, for each study, its answer in words, its table, and bits/dim of every setting."""
    return "\n\n".join(_study(each) for each in found) + "\n"


def update_readme(readme: Path, table: str) -> bool:
    """Replace what stands between the results markers of `readme` by `table`; say whether it changed.

    Raises:
        SettingError: `readme` does not exist or lacks one of the markers.
    """
    old = readme_text(readme)
    head, _, rest = old.partition(_OPEN)
    tail = rest.partition(_CLOSE)[2]
    new = f"{head}{_OPEN}\n{table.strip()}\n{_CLOSE}{tail}"
    if new != old:
        readme.write_text(new, encoding="utf-8", newline="\n")
    return new != old


def readme_text(readme: Path) -> str:
    """Return the text of `readme`; raises SettingError where `update_readme` would."""
    require(readme.is_file(), "readme", readme.as_posix(), "no such file")
    text = readme.read_text(encoding="utf-8")
    reason = f"it needs the markers {_OPEN} and {_CLOSE}, in this order"
    require(_CLOSE in text.partition(_OPEN)[2], "readme", readme.as_posix(), reason)
    return text


def headlines(found: Sequence[Answer]) -> dict[str, dict[str, str | int | float | bool]]:
    """Return a few numbers a study: the best setting, the runner-up, and whether they can be told apart.

    `unit` is that of every number that is no latent size.
    """
    return {each.study: _headline(each) for each in found}


def write_headlines(found: Sequence[Answer], path: Path) -> None:
    """Write `headlines` as JSON."""
    path.write_text(json.dumps(headlines(found), indent=2) + "\n", encoding="utf-8", newline="\n")


def write_plots(found: Sequence[Recommendation], folder: Path) -> None:
    """Write bits_per_dim.csv (a row a setting) and stability.csv (a row a pair of rankings)."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [row for each in found for row in _plotted(each.answer)]
    pd.DataFrame(rows).to_csv(folder / "bits_per_dim.csv", index=False, lineterminator="\n")
    held = [row for each in found for row in _held(each)]
    pd.DataFrame(held, columns=_STABILITY).to_csv(folder / "stability.csv", index=False, lineterminator="\n")


_STABILITY = (
    "study",
    "axis",
    "reference",
    "ranking",
    "ranked",
    "kendall_tau",
    "pairs",
    "flips",
    "firm_flips",
)


def _plotted(found: Answer) -> list[dict[str, str | int | float]]:
    return [
        {
            "study": found.study,
            "likelihood": setting.likelihood,
            "latent_dim": setting.latent_dim,
            "bits_per_dim": significant(setting.bits_per_dim),
            "standard_error": significant(setting.uncertainty),
            "behind": significant(found.behind(setting)),
            "behind_low": significant(setting.interval.low),
            "behind_high": significant(setting.interval.high),
            "best_share": significant(setting.best_share),
            "unit": str(found.unit),
        }
        for setting in sorted(found.settings, key=lambda s: (s.likelihood, s.latent_dim))
    ]


def _held(made: Recommendation) -> list[tuple[str | int | float, ...]]:
    return [
        (
            made.answer.study, one.axis, one.reference, one.label, one.ranked,
            significant(one.tau), one.pairs, _pairs(one.flips), _pairs(one.firm),
        )
        for one in made.agreements
    ]  # fmt: skip


def _pairs(flips: Sequence[tuple[str, str]]) -> str:
    """Return flips as they stand in the reference: the better one first."""
    return "; ".join(f"{better} before {worse}" for better, worse in flips)


def _headline(found: Answer) -> dict[str, str | int | float | bool]:
    best, second = found.best, found.runner_up
    line: dict[str, str | int | float | bool] = {
        "likelihood": best.likelihood,
        "latent_dim": best.latent_dim,
        "bits_per_dim": significant(best.bits_per_dim),
        "standard_error": significant(best.uncertainty),
        "best_share": significant(best.best_share),
        "unit": str(found.unit),
    }
    if second is not None:
        line |= {
            "runner_up": second.likelihood,
            "difference": significant(found.behind(second)),
            "difference_low": significant(second.interval.low),
            "difference_high": significant(second.interval.high),
            "distinguishable": not found.tied(second),
        }
    return line


def _study(made: Recommendation) -> str:
    found = made.answer
    sizes = sorted({setting.latent_dim for setting in found.settings})
    head = ["likelihood", *(f"{size} latent{'s' if size != 1 else ''}" for size in sizes)]
    rules = ["---", *("---:" for _ in sizes)]
    rows = [_row(found, likelihood.likelihood, sizes) for likelihood in found.per_likelihood]
    lines = [f"| {' | '.join(row)} |" for row in (head, rules, *rows)]
    said, table = f"**{found.study}**: {made.paragraph}", recommend.markdown(made.table)
    return "\n".join([said, "", table, "", _INTERVALS, "", *lines, "", _NOTE])


def _row(found: Answer, likelihood: str, sizes: Sequence[int]) -> list[str]:
    by_size = {s.latent_dim: s for s in found.settings if s.likelihood == likelihood}
    return [f"`{likelihood}`", *(_entry(found, by_size.get(size)) for size in sizes)]


def _entry(found: Answer, setting: Setting | None) -> str:
    if setting is None:
        return ""
    places = found.decimals
    text = f"{setting.bits_per_dim:.{places}f} ± {setting.uncertainty:.{places}f}"
    return f"**{text}**" if found.tied(setting) else text  # the best is tied with itself
