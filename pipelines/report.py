"""Write reports/ from evaluations/: the summary, the answer, the figures and the page.

python pipelines/report.py                          the default studies of params.yaml
python pipelines/report.py --study scratch          another one, in reports/scratch/
python pipelines/report.py --readme README.md       and the table in the README
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import OmegaConf

from vae_likelihoods import palette
from vae_likelihoods.errors import SettingError
from vae_likelihoods.report import charts, environments, page, ranking, recommend, summary, tables


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the report; return 0, or 1 after one line that says what is missing or damaged."""
    options = _options(arguments)
    try:
        write(options)
    except SettingError as error:
        print(f"report: {error}", file=sys.stderr)
        return 1
    return 0


def write(options: argparse.Namespace) -> None:
    """Collect, rank and write every file of the report."""
    if options.readme is not None:
        tables.readme_text(options.readme)  # refused before anything is written
    params = _params(options.params)
    studies = summary.study_axes(params, options.study)
    cells = summary.collect(options.evaluations, studies, params.get("optional") or ())
    found = ranking.answers(cells, options.evaluations)
    marks = palette.marks([*(name for names in studies.values() for name in names), *cells["likelihood"]])
    made = [recommend.recommend(each) for each in found]
    table, html = tables.markdown(made), page.render(cells, made, options.evaluations, marks)

    options.reports.mkdir(parents=True, exist_ok=True)
    summary.write_summary(cells, options.reports / "summary.csv")
    tables.write_headlines(found, options.reports / "metrics.json")
    tables.write_plots(made, options.reports / "plots")
    _write(options.reports / "table.md", table)
    _write(options.reports / "index.html", html)
    for each in found:
        _figures(each, cells[cells["study"] == each.study], marks, options.reports / "figures")
    results = {"train": options.runs, "evaluate": options.evaluations}
    known = environments.collect(cells, options.logs / "environments", results)
    environments.write(known, options.reports / "environment.json")
    if options.readme is not None:
        tables.update_readme(options.readme, table)
    for study, rows in cells.groupby("study", sort=False):
        if missing := summary.missing(rows):
            print(f"{study}: {missing}")
    print(f"{len(cells)} cells of {len(found)} studies: {(options.reports / 'index.html').as_posix()}")


def _figures(
    found: ranking.Answer, cells: pd.DataFrame, marks: dict[str, palette.Mark], folder: Path
) -> None:
    """Write <study>.svg and <study>-dark.svg: bits/dim against latent size."""
    folder.mkdir(parents=True, exist_ok=True)
    panels = charts.panels(cells, ranking.contenders(found), marks)
    title = f"{found.study}: {found.dataset} at {found.levels} levels (lower is better)"
    for scheme, ending in (("light", ""), ("dark", "-dark")):
        _write(folder / f"{found.study}{ending}.svg", charts.svg(panels, title, scheme))


def _params(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise SettingError("params", path.as_posix(), "no such file; run this where params.yaml is")
    params = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
    return {str(key): value for key, value in params.items()} if isinstance(params, dict) else {}


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Write reports/ from evaluations/.")
    parser.add_argument(
        "--study", nargs="+", default=[], metavar="NAME", help="these studies, in reports/<first of them>/"
    )
    parser.add_argument("--readme", type=Path, help="a file whose results section is to be replaced")
    for folder in ("runs", "evaluations", "reports", "logs"):
        parser.add_argument(f"--{folder}", type=Path, default=Path(folder), help=f"default: {folder}")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"), help="default: params.yaml")
    options = parser.parse_args(arguments)
    if options.study:  # the report of the default studies is in git: leave it as it is
        options.reports = options.reports / options.study[0]
    return options


if __name__ == "__main__":
    sys.exit(main())
