"""How a study looks in MLflow's UI."""

from __future__ import annotations

import json

from mlflow_names import EPOCH_METRICS, TEST_METRICS
from vae_likelihoods.tracking.view import run_colour, same_view, shared_view


def test_the_prepared_view_fits_in_a_tag_and_colours_tell_likelihoods_apart() -> None:
    assert len(shared_view(20)) < 20_000
    state = json.loads(json.loads(shared_view(20))["state"])
    assert state["searchFilter"] == "tags.kind = 'train'"
    colours = {run_colour(name, size) for name in ("gaussian", "binomial") for size in (2, 8, 32)}
    assert len(colours) == 6


def test_the_prepared_view_shows_metrics_that_exist() -> None:
    state = json.loads(json.loads(shared_view(20))["state"])
    columns = [column for column in state["selectedColumns"] if column.startswith("metrics")]
    charts = [chart for chart in state["compareRunCharts"] if chart["type"] != "IMAGE"]
    in_charts = {chart.get(key) for chart in charts for key in ("metricKey",)}
    in_charts |= {chart[axis]["key"] for chart in charts for axis in ("xaxis", "yaxis") if axis in chart}
    shown = {column.removeprefix("metrics.`").removesuffix("`") for column in columns} | in_charts - {None}
    assert len(columns) == 4
    assert len(charts) == 3
    assert shown <= {*EPOCH_METRICS.values(), *TEST_METRICS.values()}
    assert state["orderByKey"] == "metrics.`test/bpd`"


def test_a_view_is_the_same_whenever_it_was_made() -> None:
    later = json.dumps({**json.loads(shared_view(20)), "createdAt": 1})
    assert same_view(later, shared_view(20))
    assert not same_view(later, shared_view(21))
    assert not same_view(None, shared_view(20))
