"""Every file of a report, written from the evaluations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import OmegaConf

from vae_likelihoods import palette
from vae_likelihoods.errors import SettingError
from vae_likelihoods.files import write_text
from vae_likelihoods.report import (
    charts,
    environments,
    evaluated,
    page,
    ranking,
    recommend,
    summary,
    tables,
    tuning,
)
from vae_likelihoods.report.words import counted


@dataclass(frozen=True)
class ReportFolders:
    """Where a report comes from, and where it goes."""

    runs: Path
    evaluations: Path
    logs: Path
    reports: Path


def write(params: Path, studies: Sequence[str], folders: ReportFolders, readme: Path | None) -> str:
    """Collect, rank and write every file of the report; return lines that say what was written.

    Args:
        params: the params.yaml.
        studies: what is reported; none: the default studies of `params`.
        folders: where the results are, and where the report goes.
        readme: a page whose results section is replaced; None: none.

    Raises:
        SettingError: if something is missing or damaged; then nothing was written.
    """
    if readme is not None:
        tables.readme_text(readme)  # refused before anything is written
    named = read_params(params)
    axes = summary.study_axes(named, studies)
    cells = summary.collect(folders.evaluations, axes, named.get("optional") or (), folders.runs)
    answers = ranking.answers(cells, folders.evaluations)
    marks = palette.marks([*(name for names in axes.values() for name in names), *cells["likelihood"]])
    recommendations = [
        recommend.recommend(answer, tuning.of_study(answer.study, params.parent, cells)) for answer in answers
    ]
    table, html = (
        tables.markdown(recommendations),
        page.render(cells, recommendations, folders.evaluations, marks),
    )

    reports = folders.reports
    reports.mkdir(parents=True, exist_ok=True)
    summary.write_summary(cells, reports / "summary.csv")
    tables.write_headlines(answers, reports / "metrics.json")
    tables.write_plots(recommendations, reports / "plots")
    write_text(reports / "table.md", table)
    write_text(reports / "index.html", html)
    for answer in answers:
        _figures(answer, cells[cells["study"] == answer.study], marks, reports / "figures")
    results = {"train": folders.runs, "evaluate": folders.evaluations}
    records = environments.collect(cells, folders.logs / "environments", results)
    environments.write(records, reports / "environment.json")
    if not studies:
        evaluated.keep(folders.evaluations, axes)
    else:
        known = {*(named.get("studies") or ()), *(named.get("optional") or ())}
        _ignore(reports, private=not known.issuperset(studies))
    if readme is not None:
        tables.update_readme(readme, table)
    partial = [
        f"{study}: {lack}"
        for study, rows in cells.groupby("study", sort=False)
        for lack in (summary.unevaluated(folders.runs, str(study), rows), summary.missing(rows))
        if lack
    ]
    counts = f"{counted(len(cells), 'cell')} of {counted(len(answers), 'study', 'studies')}"
    written = f"{counts}: {(reports / 'index.html').as_posix()}"
    return "\n".join([*partial, written])


def _ignore(reports: Path, private: bool) -> None:
    """Keep the report of a sweep that is in no params.yaml out of git; `git add reports` would take it."""
    path = reports / ".gitignore"
    if private:
        write_text(path, "*\n")
    else:
        path.unlink(missing_ok=True)


def _figures(
    answer: ranking.Answer, cells: pd.DataFrame, marks: dict[str, palette.Mark], folder: Path
) -> None:
    """Write <study>.svg and <study>-dark.svg: bits/dim against latent size."""
    folder.mkdir(parents=True, exist_ok=True)
    panels = charts.panels(cells, ranking.contenders(answer), marks, answer.baseline_scores)
    title = f"{answer.study}: {answer.dataset} at {answer.levels} levels (lower is better)"
    for scheme, ending in (("light", ""), ("dark", "-dark")):
        write_text(folder / f"{answer.study}{ending}.svg", charts.svg(panels, title, scheme))


def read_params(path: Path) -> dict[str, Any]:
    """Return what a params.yaml says.

    Raises:
        SettingError: if there is no such file.
    """
    if not path.is_file():
        raise SettingError("params", path.as_posix(), "no such file; run this where params.yaml is")
    params = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
    return {str(key): value for key, value in params.items()} if isinstance(params, dict) else {}
