"""Where too few images were scored, or one decides: the numbers stand alone in every report."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from vae_likelihoods import palette
from vae_likelihoods.report import page, ranking, recommend, summary, tables
from vae_likelihoods.report.recommend import Recommendation
from vae_likelihoods.verify.contradictions import contradictions

CLAIMS = re.compile(r"indistinguishable|bootstrap samples|\btie\b|more than noise")


def recommended(root: Path) -> tuple[pd.DataFrame, Recommendation]:
    """The cells of the study `few`, and what it recommends."""
    cells = summary.collect(root / "evaluations", {"few": []})
    return cells, recommend.recommend(ranking.answer(cells, root / "evaluations"))


def reports(
    root: Path, cells: pd.DataFrame, advice: Recommendation
) -> tuple[pd.DataFrame, dict[str, object]]:
    """Write and read the reports, and require that they do not contradict each other."""
    tables.write_plots([advice], root / "plots")
    tables.write_headlines([advice.answer], root / "metrics.json")
    summary.write_summary(cells, root / "summary.csv")
    plots, table = (pd.read_csv(root / name) for name in ("plots/bits_per_dim.csv", "summary.csv"))
    headlines = json.loads((root / "metrics.json").read_text(encoding="utf-8"))
    assert contradictions(table, headlines, plots) == []
    html = page.render(cells, [advice], root / "evaluations", palette.marks(["a", "b", "c"]))
    assert "too few images" in html
    assert "nan" not in re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL).lower()
    return plots, headlines["few"]


@pytest.fixture
def twelve_images(root: Path, study: SimpleNamespace) -> Path:
    """A study of three likelihoods, two sizes of one and two seeds, with a test split of 12 images."""
    for name, latent_dim, bits in (("a", 8, 1.0), ("a", 2, 1.1), ("b", 8, 1.2), ("c", 8, 3.0)):
        for seed in (0, 1):
            metrics = study.record("few", name, latent_dim, seed, bits + 0.001 * seed, images=12)
            path = study.save(root, metrics).with_name("per_image.csv")
            scores = pd.read_csv(path)[:12]
            scores["nll_nats"] += metrics["nll_nats"] - scores["nll_nats"].mean()
            scores["squared_error"] = metrics["squared_error"] - 0.001 * (name == "b")
            scores.to_csv(path, index=False, float_format="%.9g")
    return root


def test_with_fewer_than_20_images_nothing_but_the_numbers_is_given(twelve_images: Path) -> None:
    cells, advice = recommended(twelve_images)
    text = advice.paragraph.replace("\u00a0", " ")
    assert "`a` with 8 latents is best: 1.000 bits/dim over 2 seeds." in text
    assert "How sure that is cannot be said: 12 test images are too few, it takes 20." in text
    assert "The runner-up is `b` with 8 latents: 1.200, +0.200 [too few images]." in text
    assert "For `a`, 2 latents: +0.100 [too few images]." in text
    assert "is ahead; too few images to say whether by more than noise." in text
    assert not CLAIMS.search(text.replace("whether by more than noise", ""))
    gaps = ["best", "+0.200 [too few images]", "+2.000 [too few images]"]
    assert [row[3] for row in advice.table.rows] == gaps
    for row in advice.table.rows:
        assert row[4:6] == ("", "")
        assert "±" not in row[2]
    plots, headline = reports(twelve_images, cells, advice)
    unknown = plots[["standard_error", "best_share"]]
    assert unknown.isna().all(axis=None)
    behind = plots[plots["behind"] > 0]
    assert behind[["behind_low", "behind_high"]].isna().all(axis=None)
    assert headline["difference"] == pytest.approx(0.2)
    assert headline["difference_low"] is headline["distinguishable"] is headline["best_share"] is None


def test_a_setting_of_which_one_image_decides_stands_alone(root: Path, study: SimpleNamespace) -> None:
    """The others keep their intervals."""
    for name, bits in (("a", 1.0), ("b", 1.2), ("c", 1.4)):
        metrics = study.record("few", name, 8, 0, bits)
        path = study.save(root, metrics).with_name("per_image.csv")
        if name == "c":
            scores = pd.read_csv(path)
            scores.loc[3, "nll_nats"] += 9_000
            scores["nll_nats"] += metrics["nll_nats"] - scores["nll_nats"].mean()
            scores.to_csv(path, index=False, float_format="%.9g")
    cells, advice = recommended(root)
    text = advice.paragraph.replace("\u00a0", " ")
    assert (
        "A few images make up the difference to `c` with 8 latents: too few images for an interval." in text
    )
    assert re.search(r"The runner-up, `b` with 8 latents, needs 0\.200 \[0\.\d+, 0\.\d+\] more", text)
    assert "Of 3 settings it is the best in" in text
    plots, headline = reports(root, cells, advice)
    assert plots.set_index("likelihood")["behind_low"].isna().to_dict() == {"a": False, "b": False, "c": True}
    assert headline["distinguishable"] is True


def test_seeds_that_cannot_be_normal_are_said(root: Path, study: SimpleNamespace) -> None:
    draws = np.random.default_rng(0)
    for latent_dim in (2, 4, 8, 16):
        for seed in range(3):
            bits = 1 + 0.001 * draws.normal() + 0.2 * (latent_dim == 4 and seed == 1)
            study.save(root, study.record("few", "a", latent_dim, seed, bits))
    _, advice = recommended(root)
    assert "Some seed of `a` with 4 latents lies too far from the others" in advice.paragraph
    assert "more than 5 % of studies may call the setting that is truly best worse." in advice.paragraph
