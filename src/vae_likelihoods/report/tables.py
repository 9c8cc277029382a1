"""The answer as text: Markdown for the README, numbers for `dvc metrics show`, a CSV for `dvc plots show`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from vae_likelihoods.errors import require
from vae_likelihoods.report.ranking import Answer, Setting, sentences
from vae_likelihoods.report.summary import significant

_OPEN, _CLOSE = "<!-- results -->", "<!-- /results -->"


def markdown(found: Sequence[Answer]) -> str:
    """Return, for each study, its answer in words and bits/dim of every setting (mean ± uncertainty)."""
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


def write_plots(found: Sequence[Answer], folder: Path) -> None:
    """Write bits_per_dim.csv (one row a setting) for `dvc plots show`."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {
            "study": each.study,
            "likelihood": setting.likelihood,
            "latent_dim": setting.latent_dim,
            "bits_per_dim": significant(setting.bits_per_dim),
            "unit": str(each.unit),
        }
        for each in found
        for setting in sorted(each.settings, key=lambda s: (s.likelihood, s.latent_dim))
    ]
    pd.DataFrame(rows).to_csv(folder / "bits_per_dim.csv", index=False, lineterminator="\n")


def _headline(found: Answer) -> dict[str, str | int | float | bool]:
    best, second = found.best, found.runner_up
    line: dict[str, str | int | float | bool] = {
        "likelihood": best.likelihood,
        "latent_dim": best.latent_dim,
        "bits_per_dim": significant(best.bits_per_dim),
        "uncertainty": significant(best.uncertainty),
        "unit": str(found.unit),
    }
    if second is not None:
        line |= {
            "runner_up": second.likelihood,
            "difference": significant(found.behind(second)),
            "difference_uncertainty": significant(found.doubt(second)),
            "distinguishable": not found.tied(second),
        }
    return line


def _study(found: Answer) -> str:
    sizes = sorted({setting.latent_dim for setting in found.settings})
    head = ["likelihood", *(f"{size} latent{'s' if size != 1 else ''}" for size in sizes)]
    rules = ["---", *("---:" for _ in sizes)]
    rows = [_row(found, likelihood.likelihood, sizes) for likelihood in found.per_likelihood]
    lines = [f"| {' | '.join(row)} |" for row in (head, rules, *rows)]
    title = f"**{found.study}**: {' '.join(sentences(found))}"
    note = (
        "Bits/dim on the test split, lower is better; bold: the best, and what cannot be told apart from it."
    )
    return "\n".join([title, "", *lines, "", note])


def _row(found: Answer, likelihood: str, sizes: Sequence[int]) -> list[str]:
    by_size = {s.latent_dim: s for s in found.settings if s.likelihood == likelihood}
    return [f"`{likelihood}`", *(_entry(found, by_size.get(size)) for size in sizes)]


def _entry(found: Answer, setting: Setting | None) -> str:
    if setting is None:
        return ""
    places = found.decimals
    text = f"{setting.bits_per_dim:.{places}f} ± {setting.uncertainty:.{places}f}"
    return f"**{text}**" if found.tied(setting) else text  # the best is tied with itself
