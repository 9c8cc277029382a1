from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from itertools import pairwise

import pytest

from vae_likelihoods import palette
from vae_likelihoods.report import axes, charts, summary


@pytest.fixture
def cells(root):
    return summary.collect(root / "evaluations", {"grey": []})


@pytest.fixture
def marks(cells):
    return palette.marks(list(cells["likelihood"]))


def test_a_likelihood_has_one_look_and_no_two_share_it():
    looks = palette.marks([f"l{i}" for i in range(40)])
    assert len({(mark.hue, mark.shape) for mark in looks.values()}) == 40
    assert palette.marks(["a", "b", "a"]) == palette.marks(["a", "b"])


def contrast(one: str, other: str) -> float:
    """WCAG 2.2 contrast ratio of two #rrggbb colours."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_stand_out(scheme):
    colours = palette.SCHEMES[scheme]
    assert all(contrast(colours[name], colours["paper"]) >= 3 for name in colours if name.startswith("hue"))
    assert all(contrast(colours[name], colours["paper"]) >= 4.5 for name in ("ink", "muted"))


def drawn(chart) -> dict[str, list[dict]]:
    """Return the rows that the points of a chart show."""
    spec = json.loads(charts.specification(chart))
    points = next(layer for layer in spec["layer"] if layer["mark"]["type"] == "point")
    return spec["datasets"][points["data"]["name"]]


@pytest.mark.parametrize("draw", [charts.bits_against_latents, charts.rate_against_distortion])
@pytest.mark.parametrize("log", [False, True])
def test_every_cell_is_a_point(draw, log, cells, marks):
    assert {row["cell"] for row in drawn(draw(cells, marks, log=log))} == set(cells["cell"])


@pytest.mark.parametrize("rows", [slice(0, 1), slice(0, 2)])
def test_a_single_setting_can_be_drawn(rows, cells, marks):
    few = cells[rows]
    for chart in (charts.bits_against_latents(few, marks), charts.rate_against_distortion(few, marks)):
        assert len(drawn(chart)) == len(few)


def test_a_model_without_latents_has_no_place_in_the_plane(cells, marks):
    without = cells.assign(rate_nats=cells["rate_nats"].where(cells["likelihood"] != "binomial"))
    assert "binomial" not in {
        row["likelihood"] for row in drawn(charts.rate_against_distortion(without, marks))
    }


def test_specifications_do_not_depend_on_what_was_drawn_before(cells, marks):
    first = charts.specification(charts.rate_against_distortion(cells, marks))
    charts.bits_against_latents(cells, marks)
    assert charts.specification(charts.rate_against_distortion(cells, marks)) == first


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_svg_names_every_likelihood_and_has_no_css_variable(scheme, cells, marks):
    panels = charts.panels(cells, ["beta_binomial", "gaussian_learned"], marks, {})
    text = charts.svg(panels, "grey", scheme)
    words = {element.text for element in ElementTree.fromstring(text).iter() if element.text}
    assert set(marks) <= words
    assert "var(" not in text
    assert palette.SCHEMES[scheme]["hue-0"] in text
    assert charts.svg(panels, "grey", scheme) == text


@pytest.mark.parametrize("places", [[0.0, 0.0, 0.0], [0.5, 0.5, 0.52, 0.9], [0.1, 0.9]])
def test_labels_do_not_overlap(places):
    apart = axes.spread_apart(places, gap=0.1)
    assert all(b - a >= 0.1 - 1e-9 for a, b in pairwise(apart))
    assert apart[0] >= 0.05
    assert max(abs(a - b) for a, b in zip(apart, places, strict=True)) <= 0.1 * len(places)


def test_points_of_a_study_with_one_latent_size_are_drawn(cells, marks):
    one = cells[cells["latent_dim"] == cells["latent_dim"].min()]
    drawn = charts.svg({"": charts.rate_against_distortion(one, marks)}, "one size", "light")
    assert "NaN" not in drawn
