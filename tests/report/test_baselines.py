"""Models without latents stand beside the ranking; if none is beaten, no winner is named."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import pytest

from vae_likelihoods import palette
from vae_likelihoods.errors import SettingError
from vae_likelihoods.report import best, charts, page, ranking, recommend, summary, tables
from vae_likelihoods.units.quantity import NATS, Quantity
from vae_likelihoods.verify.contradictions import contradictions

DIMENSIONS, IMAGES = 784, 50
BIT = DIMENSIONS * math.log(2)


@pytest.fixture
def answered(tmp_path: Path, study: Any) -> Any:
    """Return a function: bits/dim of the baseline and of the likelihoods -> their answer."""

    def answer(
        pixels: float, noise: float = 0.0, apart: Mapping[str, float] = MappingProxyType({}), **bits: float
    ) -> ranking.Answer:
        spread = np.random.default_rng(0).normal(size=IMAGES) * noise * BIT
        nats = pixels * BIT + spread - spread.mean()
        for likelihood, score in bits.items():
            for seed, moved in ((0, -apart.get(likelihood, 0)), (1, apart.get(likelihood, 0))):
                own = study.record("based", likelihood, 2, seed, score + moved)
                for name, words, value in (
                    ("uniform", "uniform", 8 * BIT),
                    ("independent_pixels", "independent pixels", pixels * BIT),
                ):
                    unit = Quantity(NATS, "mass")
                    own = study.add(own, f"{name}_nats", value, quantity=unit, baseline=words, header="")
                study.save(tmp_path, own, independent_pixels_nats=nats)
        cells = summary.collect(tmp_path / "evaluations", {"based": []})
        return ranking.answer(cells, tmp_path / "evaluations")

    return answer


def test_a_winner_beats_both_baselines_and_they_are_named(answered: Any) -> None:
    answer = answered(1.76, a=1.5, b=2.6)
    assert [(each.name, round(each.bits_per_dim, 9)) for each in answer.baselines] == [
        ("independent pixels", 1.76),
        ("uniform", 8.0),
    ]
    assert not answer.unbeaten
    advice = recommend.recommend(answer)
    assert "`a` with 2 latents is best: 1.500" in advice.paragraph
    assert "it would be 1.760 (independent pixels) and 8.000 (uniform)." in advice.paragraph
    first = [row[0] for row in advice.table.rows]
    assert first == ["`a`", "independent pixels", "`b`", "uniform"]
    assert "| independent pixels | 1.760 |" in " ".join(tables.markdown([advice]).split()).replace(" |", " |")


@pytest.mark.parametrize(("score", "noise"), [(9.2, 0.0), (1.9, 0.0), (1.755, 0.5)])
def test_no_winner_is_named_unless_the_baselines_are_beaten(
    answered: Any, score: float, noise: float
) -> None:
    """Worse than a uniform guess; worse than independent pixels; ahead of them by less than the noise."""
    answer = answered(1.76, noise, a=score, b=score + 1)
    advice = recommend.recommend(answer)
    (line, *_) = advice.lead
    assert "no model beats 1.760 (independent pixels)" in line
    assert ("8.000 (uniform)" in line) == (score > 8)
    assert "So nothing is recommended." in line
    assert " is best" not in advice.paragraph
    assert not tables.headlines([answer])["based"]["beats_baselines"]


@pytest.mark.parametrize(("score", "tied"), [(2.6, False), (1.9, True)])
def test_what_loses_to_a_baseline_with_every_seed_is_no_tie(answered: Any, score: float, tied: bool) -> None:
    """The interval of `b` has 0, for its seeds are far apart: 2.6 ± 0.7 is above 1.76, 1.9 ± 0.7 is not."""
    answer = answered(1.76, apart={"b": 0.7}, a=1.5, b=score)
    second = answer.runner_up
    assert second.interval.low < 0
    assert answer.tied(second) == tied
    paragraph = recommend.recommend(answer).paragraph
    assert ("`b` with 2 latents (" in paragraph.partition("indistinguishable")[0]) == tied
    assert ("`b` with 2 latents, needs " in paragraph) != tied


def test_charts_show_the_baselines_that_are_inside(answered: Any, tmp_path: Path) -> None:
    answer = answered(1.76, a=1.5, b=2.6)
    cells = summary.collect(tmp_path / "evaluations", {"based": []})
    marks = palette.marks(["a", "b"])
    scores = answer.baseline_scores
    near = charts.specification(charts.bits_against_latents(cells, marks, baselines=scores))
    all_of_them = charts.specification(charts.bits_against_latents(cells, marks, True, baselines=scores))
    assert ("independent pixels" in near, "uniform" in near) == (True, False)
    assert ("independent pixels" in all_of_them, "uniform" in all_of_them) == (True, True)
    html = page.render(cells, [recommend.recommend(answer)], tmp_path / "evaluations", marks)
    assert '<th scope="row">independent pixels</th>' in html


def test_reports_agree_on_what_is_beaten(answered: Any, tmp_path: Path) -> None:
    answer = answered(1.76, a=1.5, b=2.6)
    cells = summary.collect(tmp_path / "evaluations", {"based": []})
    summary.write_summary(cells, tmp_path / "summary.csv")
    tables.write_plots([recommend.recommend(answer)], tmp_path)
    written, plots = (pd.read_csv(tmp_path / name) for name in ("summary.csv", "bits_per_dim.csv"))
    assert dict(zip(plots["likelihood"], plots["beats_baselines"], strict=True)) == {"a": True, "b": False}
    headlines = json.loads(json.dumps(tables.headlines([answer])))
    assert contradictions(written, headlines, plots) == []
    headlines["based"]["beats_baselines"] = False
    assert len(contradictions(written, headlines, plots)) == 1


def test_a_study_whose_models_beat_no_baseline_has_no_best_model(answered: Any, tmp_path: Path) -> None:
    answered(1.76, a=1.5, b=2.6)
    found = best.of_study("based", tmp_path)
    assert found.cell == "a-2-0"
    assert "* Score: 1.500" in found.card.replace("\u00a0", " ")
    answered(1.4, a=1.5, b=2.6)
    with pytest.raises(SettingError, match="study=based: no model beats independent pixels"):
        best.of_study("based", tmp_path)
