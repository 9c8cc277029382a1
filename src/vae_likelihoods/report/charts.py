"""The charts, as Vega-Lite specifications: drawn by the browser on the page, by vl-convert for the README."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd
import vl_convert as vlc

from vae_likelihoods.palette import Mark, resolve
from vae_likelihoods.report import axes
from vae_likelihoods.report.scores import Name

VEGA_LITE = ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
"""The version of Vega-Lite that Altair writes, as vl-convert names it."""

_SCREEN = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif"
_PRINT = "Arial, 'Liberation Sans', Helvetica, sans-serif"
_HEIGHT = 320  # pixels
_NAMES = 0.25  # of the width: room for the names of models that have no latent size
_LINE = ["likelihood", "family"]  # a line joins the latent sizes of a likelihood and variant
_SHOWN = "focus == '' || datum.likelihood == focus"


def bits_against_latents(
    cells: pd.DataFrame,
    marks: Mapping[str, Mark],
    log: bool = False,
    labels: bool = False,
    baselines: Mapping[str, float] | None = None,
) -> alt.LayerChart:
    """Bits per dimension against latent size: a point for each seed, a line through the means.

    Dashed lines across the chart are the scores of models without latents, means over seeds, and those of
    baselines; a linear axis leaves out baselines beyond its ends. If no model has latents, there is no axis
    of their sizes.

    Args:
        cells: rows of one study.
        marks: colour and shape of each likelihood.
        log: logarithmic bits, for likelihoods that are far apart.
        labels: write each likelihood's name at the end of its line.
        baselines: bits per dimension by name.
    """
    table = _rows(cells, ["cell", "likelihood", "latent_dim", "seed", "bits_per_dim"])
    by = [*_LINE, "latent_dim"]
    means = table.groupby(by, as_index=False, sort=False)[["bits_per_dim"]].mean()
    means, across = means[means["latent_dim"] > 0], means[means["latent_dim"] == 0]
    levels = pd.Series(baselines or {}, dtype=float)
    domain = axes.domain_of(pd.concat([table["bits_per_dim"], levels]) if log else table["bits_per_dim"], log)
    left = 0.0 if across.empty else _NAMES
    layers = _across(across, levels[levels.between(domain[0], domain[1])], marks, domain, log)
    if not means.empty:
        x, y = axes.latent_axis(means["latent_dim"], left), _bits(domain, log)
        line = alt.Chart(means).mark_line(strokeWidth=2).encode(x, y, **_look(marks, shape=False))
        tips = ["cell", "likelihood", "latent_dim", "seed", alt.Tooltip("bits_per_dim:Q", format=".4f")]
        sized = table[table["latent_dim"] > 0]
        dots = alt.Chart(sized).mark_point(filled=True, size=55).encode(x, y, tooltip=tips, **_look(marks))
        layers += [line, dots, *([_line_ends(means, x, marks, domain, log)] if labels else [])]
    return _finish(layers)


def rate_against_distortion(
    cells: pd.DataFrame, marks: Mapping[str, Mark], log: bool = False
) -> alt.LayerChart:
    """Rate-distortion plane (Alemi et al. 2018, Fixing a Broken ELBO): the two parts of each cell's ELBO.

    A line joins the means over seeds from the smallest to the largest latent size. Grey diagonals join points
    of equal ELBO = -(rate + distortion); they are left out when distortion is logarithmic. Cells without a
    rate have no place.
    """
    columns = ["cell", "likelihood", "latent_dim", "rate_nats", "distortion_nats", "elbo_nats"]
    table = _rows(cells, columns).dropna(subset=["rate_nats", "distortion_nats"])
    log = log and bool((table["distortion_nats"] > 0).all())
    right, domain = (
        1.08 * float(table["rate_nats"].max() or 1.0),
        axes.domain_of(table["distortion_nats"], log),
    )
    x = alt.X(
        "rate_nats:Q",
        title="rate, nats per image",
        scale=axes.scale([0.0, right], False),
        axis=alt.Axis(tickCount=6, grid=False, labelFlush=False),
    )
    y = alt.Y(
        "distortion_nats:Q",
        title="distortion, nats per image",
        scale=axes.scale(domain, log),
        axis=axes.ticks(domain, log, grid=log),
    )
    by = [*_LINE, "latent_dim"]
    means = table.groupby(by, as_index=False)[["rate_nats", "distortion_nats"]].mean()
    path = (
        alt.Chart(means)
        .mark_line(strokeWidth=1.2)
        .encode(x, y, order="latent_dim:Q", **_look(marks, shape=False))
    )
    sizes = sorted(set(table["latent_dim"]))
    size = alt.Size(
        "latent_dim:O",
        title="latents",
        # Vega makes no symbol of a range with one entry.
        scale=alt.Scale(
            domain=sizes, range=[40 + 130 * i / max(1, len(sizes) - 1) for i in range(max(2, len(sizes)))]
        ),
        legend=alt.Legend(orient="top", symbolFillColor="var(--muted)", symbolStrokeWidth=0),
    )
    tips = ["cell", *(alt.Tooltip(f"{name}:Q", format=",.1f") for name in columns[3:])]
    dots = alt.Chart(table).mark_point(filled=True).encode(x, y, size=size, tooltip=tips, **_look(marks))
    return _finish([*([] if log else _diagonals([0.0, right], domain)), path, dots])


def specification(chart: alt.TopLevelMixin) -> str:
    """Return `chart` as JSON with sorted keys, for a page that fills the width it has."""
    spec = _plain(chart.to_dict()) | {"width": "container", "config": _config(_SCREEN)}
    return json.dumps(spec, sort_keys=True, allow_nan=False, separators=(",", ":"))


def svg(panels: Mapping[str, alt.LayerChart], title: str, scheme: str) -> str:
    """Return `panels` (title -> chart) side by side as an SVG in the colours of `scheme`."""
    sized = [panel.properties(width=270, height=300, title=name) for name, panel in panels.items()]
    chart = alt.hconcat(*sized, spacing=28, title=alt.TitleParams(title, fontSize=15, offset=14))
    spec = _plain(chart.to_dict()) | {
        "config": _config(_PRINT) | {"background": "var(--paper)"},
        "padding": 14,
    }
    picture: str = vlc.vegalite_to_svg(
        resolve(json.dumps(spec, sort_keys=True), scheme), vl_version=VEGA_LITE
    )
    return picture.rstrip() + "\n"


def panels(
    cells: pd.DataFrame, close: Sequence[str], marks: Mapping[str, Mark], baselines: Mapping[str, float]
) -> dict[str, alt.LayerChart]:
    """Return the panels of the README's figure: the likelihoods `close`, and all if there are more."""
    contenders = cells[cells["likelihood"].isin(close)]
    near = bits_against_latents(contenders, marks, labels=True, baselines=baselines)
    if set(close) == set(cells["likelihood"]):
        return {"": near}
    return {
        "the best": near,
        "all, logarithmic": bits_against_latents(cells, marks, True, labels=True, baselines=baselines),
    }


def _rows(cells: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Return these columns of the cells, and `family`, which has a line of its own."""
    families = [Name.of(row).family for row in cells.to_dict("records")]
    return cells[columns].reset_index(drop=True).assign(family=families)


def _look(marks: Mapping[str, Mark], shape: bool = True) -> dict[str, Any]:
    names = list(marks)
    hues = alt.Scale(domain=names, range=[mark.colour for mark in marks.values()])
    look: dict[str, Any] = {
        "color": alt.Color("likelihood:N", scale=hues, legend=None),
        "opacity": alt.condition(_SHOWN, alt.value(0.95), alt.value(0.12)),
    }
    if shape:
        shapes = alt.Scale(domain=names, range=[mark.shape for mark in marks.values()])
        look["shape"] = alt.Shape("likelihood:N", scale=shapes, legend=None)
    else:
        look["detail"] = "family:N"
    return look


def _line_ends(
    means: pd.DataFrame, x: alt.X, marks: Mapping[str, Mark], domain: Sequence[float], log: bool
) -> alt.Chart:
    """Write the names to the right of the lines, moved apart where they would overlap."""
    last = means.loc[means.groupby("family", sort=False)["latent_dim"].idxmax()]
    text = alt.Chart(_placed(last, domain, log)).mark_text(align="left", dx=10, fontSize=11.5, clip=False)
    labels: alt.Chart = text.encode(
        x,
        alt.Y("place:Q", scale=axes.scale(domain, log)),
        text="family:N",
        color=_look(marks, shape=False)["color"],
    )
    return labels


def _across(
    models: pd.DataFrame, baselines: pd.Series, marks: Mapping[str, Mark], domain: Sequence[float], log: bool
) -> list[alt.Chart]:
    """Return dashed lines across the chart, each with its name at the left end.

    Args:
        models: without latents, the means of each family.
        baselines: bits per dimension by name.
        marks: colour and shape of each likelihood.
        domain: the ends of the axis of bits.
        log: whether it is logarithmic.
    """
    columns = [*_LINE, "bits_per_dim"]
    rows = [("", name, bits) for name, bits in baselines.items()]
    rows += models[columns].itertuples(index=False, name=None)
    if not rows:
        return []
    table = _placed(pd.DataFrame(rows, columns=columns), domain, log)
    own = table["likelihood"] != ""
    parts = (
        (table[~own], {"color": alt.value("var(--muted)")}),
        (table[own], _look(marks, shape=False)),
    )
    tip = [alt.Tooltip("family:N", title="score of"), alt.Tooltip("bits_per_dim:Q", format=".4f")]
    place = alt.Y("place:Q", scale=axes.scale(domain, log))
    rules, halos, names = [], [], []
    for part, look in parts:
        if len(part):
            rule = alt.Chart(part).mark_rule(strokeDash=[6, 4], strokeWidth=1.5)
            rules.append(rule.encode(y=_bits(domain, log), tooltip=tip, **look))
            text = alt.Chart(part).encode(y=place, x=alt.value(0), text="family:N")
            name: dict[str, Any] = {"align": "left", "dx": 4, "dy": -6, "fontSize": 10}
            halos.append(text.mark_text(**name, stroke="var(--paper)", strokeWidth=4))
            names.append(text.mark_text(**name).encode(**look))
    return [*rules, *halos, *names]


def _bits(domain: Sequence[float], log: bool) -> alt.Y:
    """Return the axis of bits per dimension."""
    scale, axis = axes.scale(domain, log), axes.ticks(domain, log)
    return alt.Y("bits_per_dim:Q", title="bits per dimension", scale=scale, axis=axis)


def _placed(names: pd.DataFrame, domain: Sequence[float], log: bool) -> pd.DataFrame:
    """Return names with their bits per dimension, and a `place` for each so that they do not overlap."""
    ordered = names.sort_values("bits_per_dim", kind="stable")
    turn, back = (math.log, math.exp) if log else (float, float)
    low, high = turn(domain[0]), turn(domain[1])
    shares = [(turn(value) - low) / (high - low) for value in ordered["bits_per_dim"]]
    places = axes.spread_apart(shares, gap=14 / 300)
    return ordered.assign(place=[back(low + place * (high - low)) for place in places])


def _diagonals(across: Sequence[float], up: Sequence[float]) -> list[alt.Chart]:
    """Return lines of equal rate + distortion, labelled at their left ends."""
    step = axes.round_step((up[1] - up[0] + across[1]) / 5)
    totals = [step * n for n in range(math.ceil(up[0] / step), math.floor((up[1] + across[1]) / step) + 1)]
    ends = [(t, r, t - r) for t in totals for r in (max(0.0, t - up[1]), across[1])]
    table = pd.DataFrame(ends, columns=["total", "rate_nats", "distortion_nats"])
    left = [t for t in totals if t <= up[1]]
    labels = table.iloc[: 2 * len(left) : 2].assign(label=[f"ELBO −{t:,g}" for t in left])
    x, y = alt.X("rate_nats:Q"), alt.Y("distortion_nats:Q")
    line = alt.Chart(table).mark_line(
        clip=True, color="var(--muted)", strokeWidth=0.7, opacity=0.6, strokeDash=[3, 4]
    )
    name = alt.Chart(labels).mark_text(
        align="left", dx=5, dy=-5, fontSize=10, color="var(--muted)", clip=True
    )
    return [line.encode(x, y, detail="total:N"), name.encode(x, y, text="label:N")]


def _finish(layers: Sequence[alt.Chart]) -> alt.LayerChart:
    layered = alt.LayerChart(layer=list(layers), height=_HEIGHT)
    return layered.add_params(alt.param(name="focus", value=""))


def _plain(spec: dict[str, Any]) -> dict[str, Any]:
    """Drop what only tools read. All parameters here have a name, so none gets one from Altair's counter."""
    return {key: value for key, value in spec.items() if key not in ("$schema", "config")}


def _config(font: str) -> dict[str, Any]:
    ink, muted, grid = "var(--ink)", "var(--muted)", "var(--grid)"
    text = {
        "labelColor": muted,
        "titleColor": muted,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": 400,
    }
    return {
        "font": font,
        "background": "transparent",
        "view": {"stroke": None},
        "axis": text | {"gridColor": grid, "domain": False, "tickColor": grid, "titlePadding": 10},
        "axisX": {"domain": True, "domainColor": muted, "tickColor": muted},
        "legend": text,
        "title": {"color": ink, "anchor": "start", "fontSize": 13, "fontWeight": 600},
    }
