"""One self-contained page: the answer, the charts, the pictures, every number; no network, no clock."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
import vl_convert as vlc
from markupsafe import Markup, escape
from PIL import Image

from vae_likelihoods import palette
from vae_likelihoods.report import charts, ranking
from vae_likelihoods.report.definitions import DEFINITIONS, Definition, of_further_metrics
from vae_likelihoods.report.recommend import Recommendation, Table
from vae_likelihoods.report.resampling import REPLICATES
from vae_likelihoods.report.stability import Agreement
from vae_likelihoods.report.words import within

_NAMED = 3  # flips that the page names; plots/stability.csv has all
_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Chart:
    """A chart of the page: title, what to look at, text for those who cannot see it, Vega-Lite JSON."""

    name: str
    title: str
    alt: str
    spec: Markup


@dataclass(frozen=True)
class Pictures:
    """The first seed's pictures of one setting, as data URIs; empty where a file is missing."""

    cell: str
    samples: str
    reconstructions: str


def render(
    cells: pd.DataFrame,
    recommendations: Sequence[Recommendation],
    evaluations: Path,
    marks: Mapping[str, palette.Mark],
) -> str:
    """Return the page as HTML.

    Args:
        cells: what `summary.collect` returned.
        recommendations: of each of its studies.
        evaluations: the folder of `<study>/<cell>/{samples,reconstructions}.png`; missing ones are left out.
        marks: colour and shape of each likelihood.
    """
    loader = jinja2.FileSystemLoader(_TEMPLATES)
    environment = jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["code"] = _code
    environment.filters["breakable"] = lambda name: escape(name).replace("_", Markup("_<wbr>"))
    page = environment.get_template("page.html.j2").render(
        studies=[_study(made, cells, evaluations, marks) for made in recommendations],
        definitions=[*DEFINITIONS, *of_further_metrics(cells)],
        shapes=palette.SHAPES,
        light=Markup(palette.css("light")),
        dark=Markup(palette.css("dark")),
        bundle=_bundle(),
        within=within,
        replicates=REPLICATES,
        samples=sorted({int(k) for k in cells["importance_samples"].dropna()}),
    )
    return page.rstrip() + "\n"


def show_charts(found: ranking.Answer, cells: pd.DataFrame, marks: Mapping[str, palette.Mark]) -> list[Chart]:
    """Return the charts of one study: the contenders close up, then everyone where that differs."""
    close = ranking.contenders(found)
    near = cells[cells["likelihood"].isin(close)]
    everyone = len(close) == len(found.per_likelihood)
    views = [("close", near, False)] if everyone else [("close", near, False), ("all", cells, True)]
    names = {"close": "" if everyone else ": the contenders", "all": ": everyone, logarithmic"}
    made = [
        (f"{kind}-{view}", title + names[view], draw(rows, marks, log=log))
        for kind, title, draw in (
            ("bits", "Bits per dimension", charts.bits_against_latents),
            ("plane", "Rate and distortion", charts.rate_against_distortion),
        )
        for view, rows, log in views
    ]
    return [
        Chart(f"{slug(found.study)}-{name}", title, _alt(title, found), _json(charts.specification(chart)))
        for name, title, chart in made
    ]


def slug(text: str) -> str:
    """Return `text` as the name of an anchor."""
    return re.sub(r"[^\w-]+", "-", text)


def _study(
    made: Recommendation, cells: pd.DataFrame, evaluations: Path, marks: Mapping[str, palette.Mark]
) -> dict[str, Any]:
    found, cells = made.answer, cells[cells["study"] == made.answer.study]
    names = [setting.likelihood for setting in found.per_likelihood]
    return {
        "name": found.study,
        "slug": slug(found.study),
        "found": found,
        "made": made,
        "held": _held(made.agreements),
        "marks": {name: marks[name] for name in names},
        "close": ranking.contenders(found),
        "charts": show_charts(found, cells, marks),
        "sizes": sorted({setting.latent_dim for setting in found.settings}),
        "pictures": _pictures(cells, evaluations / found.study, names),
        "rows": cells.to_dict("records"),
        "columns": [*(column for column in DEFINITIONS if column.in_table), *of_further_metrics(cells)],
        "cell": _cell,
    }


def _held(agreements: Sequence[Agreement]) -> Table:
    """Return a row a pair of rankings, with the first firm flips by name."""
    header = (
        "ranking at",
        "held against",
        "Kendall's tau",
        "pairs",
        "flips",
        "firm",
        "firm flips, as they stand in the latter",
    )
    rows = tuple(
        (
            one.label, one.reference, f"{one.tau:.2f}", *map(str, (one.pairs, len(one.flips), len(one.firm))),
            "; ".join(f"{first} before {second}" for first, second in one.firm[:_NAMED])
            + ("; ..." if len(one.firm) > _NAMED else ""),
        )
        for one in agreements
    )  # fmt: skip
    return Table(header, rows)


def _pictures(cells: pd.DataFrame, evaluated: Path, names: Sequence[str]) -> dict[str, dict[int, Pictures]]:
    """Return likelihood -> latent size -> the pictures of the lowest seed."""
    first = cells.sort_values("seed", kind="stable").drop_duplicates(["likelihood", "latent_dim"])
    found: dict[str, dict[int, Pictures]] = {name: {} for name in names}
    for row in first[["likelihood", "latent_dim", "cell"]].itertuples(index=False):
        folder = evaluated / str(row.cell)
        pair = (_data_uri(folder / "samples.png"), _data_uri(folder / "reconstructions.png"))
        found[str(row.likelihood)][int(str(row.latent_dim))] = Pictures(str(row.cell), *pair)
    return found


def _data_uri(path: Path) -> str:
    """Return a picture as WebP (a fifth of the PNG: a study has dozens of them); empty if there is none."""
    if not path.is_file():
        return ""
    packed = io.BytesIO()
    with Image.open(path) as picture:
        picture.convert("RGB").save(packed, "WEBP", quality=80, method=6)
    return f"data:image/webp;base64,{base64.b64encode(packed.getvalue()).decode()}"


def _cell(column: Definition, value: Any) -> str:
    """Return `value` as the table prints it; a dash where the metric does not exist for this model."""
    return "–" if value is None or value != value else format(value, column.format)


def _alt(title: str, found: ranking.Answer) -> str:
    best = found.best
    score = f"{best.bits_per_dim:.{found.decimals}f} bits per dimension"
    lowest = f"{best.likelihood} with {best.latent_dim} latents, {score}"
    return f"{title}, study {found.study}. Best: {lowest}. The table below has every number."


def _code(text: str) -> Markup:
    """Escape `text` and set what stands in backticks as code."""
    return Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", str(escape(text))))


def _json(text: str) -> Markup:
    return Markup(text.replace("<", "\\u003c"))  # nothing in a chart may end its script element


@cache
def _bundle() -> Markup:
    """Return Vega, Vega-Lite and vega-embed as one script, shared by every chart of the page."""
    script = vlc.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=charts.VEGA_LITE)
    return Markup(script.replace("</script", "<\\/script"))
