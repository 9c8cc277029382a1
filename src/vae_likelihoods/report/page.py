"""One self-contained page: the answer, the charts, the pictures, every number. It loads nothing."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
import vl_convert as vlc
from markupsafe import Markup, escape
from PIL import Image

from vae_likelihoods import palette
from vae_likelihoods.report import charts, ranking, summary, tuning
from vae_likelihoods.report.recommend import Recommendation, Table
from vae_likelihoods.report.records import BITS_SCORE, PICTURES
from vae_likelihoods.report.resampling import REPLICATES
from vae_likelihoods.report.scores import Name
from vae_likelihoods.report.stability import Agreement
from vae_likelihoods.report.words import latents, signed, within

_NAMED = 3  # number of pairs that the page names; plots/stability.csv names all
_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Chart:
    """A chart of the page: its title, a text for those who cannot see it, and Vega-Lite JSON."""

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
        recommendations: of each of the studies.
        evaluations: the folder of `<study>/<cell>/{samples,reconstructions}.png`; they may be missing.
        marks: colour and shape of each likelihood.
    """
    loader = jinja2.FileSystemLoader(_TEMPLATES)
    environment = jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["code"] = _code
    environment.filters["breakable"] = _breakable
    page = environment.get_template("page.html.j2").render(
        studies=[_study(each, cells, evaluations, marks) for each in recommendations],
        declarations=summary.declared(cells).values(),
        shapes=palette.SHAPES,
        light=Markup(palette.css("light")),
        dark=Markup(palette.css("dark")),
        bundle=_bundle(),
        within=within,
        tuning_note=tuning.NOTE,
        replicates=REPLICATES,
        samples=sorted({each.answer.unit.importance_samples for each in recommendations} - {None}),
        title=_title(recommendations),
        sizes={setting.latent_dim for each in recommendations for setting in each.answer.settings},
        latents=latents,
        signed=signed,
    )
    return page.rstrip() + "\n"


def show_charts(
    answer: ranking.Answer, cells: pd.DataFrame, marks: Mapping[str, palette.Mark]
) -> list[Chart]:
    """Return the charts of one study: the best likelihoods close up, then all if there are more.

    There is no plane of rate and distortion where no model has a rate.
    """
    close = ranking.contenders(answer)
    near = cells[cells["likelihood"].isin(close)]
    all_close = len(close) == len(answer.per_likelihood)
    views = [("close", near, False)] if all_close else [("close", near, False), ("all", cells, True)]
    names = {"close": "" if all_close else ": the best", "all": ": all, logarithmic"}
    bits = partial(charts.bits_against_latents, baselines=answer.baseline_scores)
    drawn = [
        (f"{kind}-{view}", title + names[view], draw(rows, marks, log=log))
        for kind, title, draw, needed in (
            ("bits", "Bits per dimension", bits, BITS_SCORE),
            ("plane", "Rate and distortion", charts.rate_against_distortion, "rate_nats"),
        )
        for view, rows, log in views
        if needed in rows and rows[needed].notna().any()
    ]
    return [
        Chart(f"{slug(answer.study)}-{name}", title, _alt(title, answer), _json(charts.specification(chart)))
        for name, title, chart in drawn
    ]


def slug(text: str) -> str:
    """Return `text` as the name of an anchor."""
    return re.sub(r"[^\w-]+", "-", text)


def _study(
    recommendation: Recommendation,
    cells: pd.DataFrame,
    evaluations: Path,
    marks: Mapping[str, palette.Mark],
) -> dict[str, Any]:
    answer = recommendation.answer
    cells = cells[cells["study"] == answer.study]
    names = [setting.likelihood for setting in answer.per_likelihood]
    return {
        "name": answer.study,
        "slug": slug(answer.study),
        "answer": answer,
        "recommendation": recommendation,
        "stability": _stability(recommendation.agreements),
        "marks": {name: marks[name] for name in names},
        "close": ranking.contenders(answer),
        "charts": show_charts(answer, cells, marks),
        "sizes": sorted({setting.latent_dim for setting in answer.settings} - {0}) or [0],
        "direct": any(not setting.latent_dim for setting in answer.settings),
        "plane": "rate_nats" in cells and bool(cells["rate_nats"].notna().any()),
        "pictures": _pictures(answer, cells, evaluations / answer.study),
        "rows": [row | {"latent_dim": row["latent_dim"] or None} for row in cells.to_dict("records")],
        "columns": [each for each in summary.declared(cells).values() if each.header],
        "missing": summary.missing(cells),
    }


def _title(recommendations: Sequence[Recommendation]) -> str:
    models = any(each.answer.noun == "model" for each in recommendations)
    return "Which model, and how many latents?" if models else "Which likelihood, and how many latents?"


def _stability(agreements: Sequence[Agreement]) -> Table:
    """Return a row for two rankings each, with the first pairs whose order changes by more than noise."""
    header = (
        *("ranking at", "compared with", "Kendall's tau", "pairs", "in another order", "by more than noise"),
        "in another order by more than noise, as in the latter",
    )
    rows = tuple(
        (
            *(held.label, held.reference, f"{held.tau:.2f}"),
            *map(str, (held.pairs, len(held.flips), len(held.firm))),
            "; ".join(f"{first} before {second}" for first, second in held.firm[:_NAMED])
            + ("; ..." if len(held.firm) > _NAMED else ""),
        )
        for held in agreements
    )
    return Table(header, rows)


def _pictures(
    answer: ranking.Answer, cells: pd.DataFrame, evaluated: Path
) -> dict[tuple[str, str], dict[int, Pictures]]:
    """Return (likelihood, family) -> size -> the pictures of the lowest seed, the best family first."""
    first: dict[Name, str] = {}
    for row in cells.sort_values("seed", kind="stable").to_dict("records"):
        first.setdefault(Name.of(row), str(row["cell"]))
    pictures: dict[tuple[str, str], dict[int, Pictures]] = {}
    for setting in answer.settings:
        name, cell = setting.name, first[setting.name]
        pair = [_data_uri(evaluated / cell / picture) for picture in PICTURES]
        pictures.setdefault((name.likelihood, name.family), {})[name.latent_dim] = Pictures(cell, *pair)
    return pictures


def _data_uri(path: Path) -> str:
    """Return a picture as WebP (a fifth of the PNG: a study has dozens of them); empty if there is none."""
    if not path.is_file():
        return ""
    packed = io.BytesIO()
    with Image.open(path) as picture:
        picture.convert("RGB").save(packed, "WEBP", quality=80, method=6)
    return f"data:image/webp;base64,{base64.b64encode(packed.getvalue()).decode()}"


def _alt(title: str, answer: ranking.Answer) -> str:
    best = answer.best
    score = f"{best.bits_per_dim:.{answer.decimals}f} bits per dimension"
    lowest = f"{best.name.in_words.replace('`', '')}, {score}"
    return f"{title}, study {answer.study}. Best: {lowest}. The table below has every number."


def _breakable(name: str) -> Markup:
    """Escape a name, which may be broken after each of its words."""
    return Markup(re.sub(r"([-_])", r"\1<wbr>", str(escape(name))))


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
