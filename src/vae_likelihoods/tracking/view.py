"""How a study looks in the MLflow UI: the prepared view and the colours of runs.

The format of a shared view is MLflow's own and undocumented. After pinning another MLflow, look at the view
in a browser (`make ui`).
"""

from __future__ import annotations

import colorsys
import json
import time
from collections.abc import Sequence
from typing import Any

from vae_likelihoods.files import PROJECT
from vae_likelihoods.palette import SCHEMES, marks
from vae_likelihoods.tracking.contents import TEST_SCORE, VALIDATION_SCORE

VIEW = "study"  # name of the prepared view in the experiment's tags
RATE, DISTORTION = "test/rate", "test/distortion"
METRICS = [TEST_SCORE, "test/nll", RATE, "test/active"]  # the columns of the table
TABLE = [f"metrics.`{metric}`" for metric in METRICS]
AXES = ("likelihood", "latent_dim", "seed")


def run_colour(likelihood: str, latent_dim: int) -> str:
    """Return #rrggbb: the hue is the likelihood's, the lightness falls with the latent size."""
    names = sorted(path.stem for path in (PROJECT / "conf" / "likelihood").glob("*.yaml"))
    colour = SCHEMES["light"][f"hue-{marks([*names, likelihood])[likelihood].hue}"]
    red, green, blue = (int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5))
    hue, _, saturation = colorsys.rgb_to_hls(red, green, blue)
    lightness = max(0.3, 0.72 - 0.07 * latent_dim.bit_length())
    mixed = colorsys.hls_to_rgb(hue, lightness, saturation)
    return "#" + "".join(f"{round(255 * part):02x}" for part in mixed)


def shared_view(last_epoch: int, varied: Sequence[str] = ()) -> str:
    """Return the prepared view as MLflow keeps it in a tag.

    Args:
        last_epoch: whose pictures are shown.
        varied: the settings that the study varies beyond the usual axes; each has a column.
    """
    axes = [f"params.`{key}`" for key in (*AXES, *varied)]
    state: dict[str, Any] = {
        "searchFilter": "tags.kind = 'train'",
        "orderByKey": f"metrics.`{TEST_SCORE}`",
        "orderByAsc": True,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": [*axes, *TABLE],
        "columnOrder": [*axes, *TABLE],
        "runsHiddenMode": "SHOW_ALL",
        "hideEmptyCharts": True,
        "isAccordionReordered": False,
        "compareRunSections": [
            _section("scores", "Bits and nats", columns=2, height=360),
            _section("grids", "Samples and reconstructions", columns=1, height=640),
        ],
        "compareRunCharts": [
            _line(VALIDATION_SCORE, "validation bits/dim"),
            _bar(TEST_SCORE, "test bits/dim"),
            _scatter(RATE, DISTORTION, "rate against distortion"),
            _images(["samples", "reconstructions"], last_epoch),
        ],
        "groupBy": None,
    }
    stamp = int(time.time() * 1000)
    return json.dumps({"name": VIEW, "createdAt": stamp, "updatedAt": stamp, "state": json.dumps(state)})


def same_view(stored: str | None, view: str) -> bool:
    """Whether two views are the same but for their time stamps."""
    return stored is not None and json.loads(stored).get("state") == json.loads(view)["state"]


def _chart(kind: str, section: str, title: str, **rest: Any) -> dict[str, Any]:
    shown = {"deleted": False, "isGenerated": False, "runsCountToCompare": 100}
    return {"uuid": title, "type": kind, "metricSectionId": section, "displayName": title, **shown, **rest}


def _bar(metric: str, title: str) -> dict[str, Any]:
    return _chart("BAR", "scores", title, metricKey=metric)


def _line(metric: str, title: str) -> dict[str, Any]:
    return _chart(
        "LINE",
        "scores",
        title,
        metricKey=metric,
        selectedMetricKeys=[metric],
        xAxisKey="step",
        yAxisScale="linear",
        xAxisScaleType="linear",
        lineSmoothness=0,
        range={},
    )


def _scatter(x: str, y: str, title: str) -> dict[str, Any]:
    axes = {"xaxis": {"key": x, "type": "METRIC"}, "yaxis": {"key": y, "type": "METRIC"}}
    return _chart("SCATTER", "scores", title, **axes)


def _images(keys: list[str], step: int) -> dict[str, Any]:
    return _chart("IMAGE", "grids", "samples and reconstructions", imageKeys=keys, step=step)


def _section(identifier: str, name: str, columns: int, height: int) -> dict[str, Any]:
    shown = {"display": True, "isReordered": False, "isGenerated": False}
    return {"uuid": identifier, "name": name, "columns": columns, "cardHeight": height, **shown}
