"""Studies of models with latents, scored by a bound, and of models that give p(x) itself, in one report."""

from __future__ import annotations

import json
import math
import re
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from vae_likelihoods.cells.cell import Cell
from vae_likelihoods.palette import marks as looks
from vae_likelihoods.report import best, charts, page, ranking, recommend, stability, summary, tables, tuning
from vae_likelihoods.report.recommend import Recommendation
from vae_likelihoods.report.resampling import compare
from vae_likelihoods.report.seeds import uneven
from vae_likelihoods.sweeps.stages import STAGES
from vae_likelihoods.units.quantity import BITS, NATS, Quantity

REPOSITORY = Path(__file__).parents[2]
BIT = 784 * math.log(2)
PIXELS = 1.76  # bits/dim of the baseline of independent pixels

Advise = Callable[..., Recommendation]


@pytest.fixture
def saved(root: Path, study: Any) -> Callable[..., None]:
    """Save a study `both`: bits/dim of likelihoods at 2 and 8 latents, and of models without latents.

    A model has the same score in both seeds, as one that does not depend on the seed.
    """

    def save(vae: dict[str, float], direct: dict[str, float], change: Any = lambda record: record) -> None:
        cells = [
            *((name, size, seed, bits + 0.1 * (size == 2) + 0.002 * seed)
              for name, bits in vae.items() for size in (2, 8) for seed in (0, 1)),
            *((name, 0, seed, bits) for name, bits in direct.items() for seed in (0, 1)),
        ]  # fmt: skip
        for name, size, seed, bits in cells:
            own = study.record("both", name, size, seed, bits)
            for unit, value in ((NATS, PIXELS * BIT), (BITS, PIXELS)):
                number = f"independent_pixels_{'nats' if unit == NATS else 'bits_per_dim'}"
                pixels = {"quantity": Quantity(unit, "mass"), "baseline": "independent pixels", "header": ""}
                own = study.add(own, number, value, **pixels)
            study.save(root, change(own))

    return save


@pytest.fixture
def advised(root: Path, saved: Callable[..., None]) -> Advise:
    """Save such a study, and return its recommendation."""

    def advise(*arguments: Any) -> Recommendation:
        saved(*arguments)
        return recommend.recommend(ranking.answer(cells_of(root), root / "evaluations"))

    return advise


def cells_of(root: Path) -> pd.DataFrame:
    return summary.collect(root / "evaluations", {"both": []})


def plain(text: str) -> str:
    return text.replace("\u00a0", " ")


def rows(advice: Recommendation) -> dict[str, dict[str, str]]:
    """Return the first row of each name in the table, by column."""
    table = advice.table
    found: dict[str, dict[str, str]] = {}
    for row in table.rows:
        found.setdefault(row[0].strip("`"), dict(zip(table.header, row, strict=True)))
    return found


# In words


def test_an_exact_winner_is_not_said_to_beat_a_bound(advised: Advise) -> None:
    text = plain(advised({"a": 1.4, "b": 1.5}, {"direct": 1.2}).paragraph)
    assert text.startswith("On mnist5k at 256 levels, `direct` with no latents is best: 1.200 ± 0.0")
    assert "The runner-up, `a` with 8 latents, needs 0.201 [" in text
    assert (
        "Its score is exact, that of `a` with 8 latents is a bound, which may be loose: "
        "that model is not proven worse."
    ) in text
    assert (
        "how far the bounds lie above -log p(x): of k = 128 samples 11.2 are effective for `a` with 8" in text
    )
    assert "For `direct`" not in text  # it has no other sizes


def test_a_bound_that_wins_may_be_better_still(advised: Advise) -> None:
    text = plain(advised({"a": 1.2}, {"direct": 1.4}).paragraph)
    assert "`a` with 8 latents is best" in text
    assert (
        "Its score is a bound, that of `direct` with no latents is exact: the best may be better still."
        in text
    )
    assert "11.2 are effective for the best" in text


@pytest.mark.parametrize(("vae", "direct"), [({"a": 1.2, "b": 1.3}, {}), ({}, {"one": 1.2, "other": 1.3})])
def test_of_scores_of_one_kind_nothing_is_said_of_it(
    advised: Advise, vae: dict[str, float], direct: dict[str, float]
) -> None:
    text = advised(vae, direct).paragraph
    assert "Its score is" not in text
    assert ("how far the scores lie above -log p(x)" in text) == bool(vae)
    assert ("or at another k (not measured)" in text) == bool(vae)


def test_the_best_with_latents_is_named_too(advised: Advise) -> None:
    text = plain(advised({"a": 1.5, "b": 1.6}, {"one": 1.2, "other": 1.3}).paragraph)
    assert "The runner-up, `other` with no latents, needs 0.100 [" in text
    assert "The best with latents, `a` with 8 latents, needs 0.301 [" in text


def test_what_no_model_with_latents_is_compared_by_is_not_asked(advised: Advise) -> None:
    """Neither faults of a posterior or of training, nor the order at other sizes, is judged."""
    advice = advised({}, {"direct": 1.2})
    assert "findings" not in advice.table.header
    assert "ESS" not in advice.table.header
    assert advice.agreements == ()
    assert "But: " not in advice.paragraph
    assert "what other seeds give" not in advice.paragraph  # they give the same
    assert str(advice.answer.unit) == "bits per dimension (mass, test, D=784, K=256)"


def test_other_seeds_are_unknown_where_they_differ(advised: Advise) -> None:
    assert "what other seeds give (each setting has 2)" in advised({"a": 1.3}, {"direct": 1.2}).paragraph


def test_a_purpose_that_needs_latents_is_judged_among_those_that_have_them(
    advised: Advise, study: Any
) -> None:
    def probed(record: dict[str, Any]) -> dict[str, Any]:
        size, seed = record["latent_dim"], 0.001 * record["seed"]
        accuracy = {"a": 0.6, "b": 0.8}.get(record["likelihood"], 0.0) + 0.0125 * size + seed
        declared = {"better": "higher", "purpose": "representation", "header": "accuracy"}
        number = study.add(record, "accuracy", accuracy if size else None, **declared)
        return number if size else {**number, "missing": number["missing"] | {"accuracy": "no q(z|x)"}}

    advice = advised({"a": 1.4, "b": 1.5}, {"direct": 1.2}, probed)
    assert (
        "For representation, which `direct` with no latents does not give, prefer `b` with 8 latents "
        "(accuracy 0.9005 against 0.7005 of `a` with 8 latents)."
    ) in advice.paragraph
    assert (
        "For reconstructions, which `direct` with no latents does not give, the first that does, "
        "`a` with 8 latents, is the best too (squared error 0.01235)."
    ) in advice.paragraph
    assert {name: row["accuracy"] for name, row in rows(advice).items()} == {
        "direct": "–", "a": "0.7005", "b": "0.9005", "independent pixels": "",
    }  # fmt: skip


def test_drawing_is_a_cost_where_it_takes_more_than_scoring(advised: Advise) -> None:
    def slow(record: dict[str, Any]) -> dict[str, Any]:
        return record if record["latent_dim"] else record | {"multiply_adds_to_draw": 784_000_000}

    advice = advised({"a": 1.4}, {"direct": 1.2}, slow)
    assert "takes 654,321 multiply-adds an image, and 784,000,000 to draw one." in advice.paragraph
    assert rows(advice)["a"]["multiply-adds to draw"] == "321"
    assert "multiply-adds to draw" not in advised({"a": 1.4}, {"direct": 1.2}).table.header


# The baselines


def test_a_model_that_is_a_baseline_neither_beats_it_nor_is_worse(advised: Advise) -> None:
    """Its score differs in the last digits alone."""
    advice = advised({"a": 1.9}, {"pixels": PIXELS * (1 - 3e-8)})
    answer = advice.answer
    assert [each.name for each in answer.unbeaten] == ["independent pixels"]
    assert "no model beats 1.760 (independent pixels)" in advice.paragraph
    assert "the best of 3 settings is `pixels` with no latents, 1.760" in plain(advice.paragraph)
    assert rows(advice)["pixels"]["findings"] == ""
    assert rows(advice)["a"]["findings"] == "worse than a baseline"
    assert rows(advice)["independent pixels"]["behind the best"] == "+0.000"
    slightly = advised({"a": 1.7}, {"pixels": PIXELS})
    assert not slightly.answer.unbeaten
    assert not slightly.answer.beats(slightly.answer.settings[-1], slightly.answer.baselines[0])


@pytest.mark.parametrize(("bits", "worse"), [(2.4364328132, False), (2.4365, True)])
def test_the_finding_asks_for_more_than_rounding(bits: float, worse: bool) -> None:
    measured = {"bits_per_dim": bits, "independent_pixels_bits_per_dim": 2.4364328073}
    assert [found.name for found in recommend.diagnose(measured)] == ["worse than a baseline"] * worse


def test_a_model_that_fits_itself_in_one_pass_is_not_called_undertrained(advised: Advise, study: Any) -> None:
    def trained(record: dict[str, Any]) -> dict[str, Any]:
        number = study.add(record, "best_epoch", record["epochs"], quantity=None, format="d")
        return study.add(number, "warmup_share", 0.5, quantity=None)

    advice = advised({"a": 1.4}, {"direct": 1.2}, trained)
    assert rows(advice)["direct"]["findings"] == ""
    assert rows(advice)["a"]["findings"] == "long warm-up"


# How sure


def test_seeds_that_give_the_same_leave_the_images_alone(advised: Advise) -> None:
    answer = advised({}, {"one": 1.2, "other": 1.3}).answer
    assert all(answer.steady(setting) for setting in answer.settings)
    assert answer.uneven == ()
    second = answer.runner_up
    assert second is not None
    assert second.interval is not None
    own = answer.nats[second.name][0] - answer.nats[answer.best.name][0]
    half = 2 * own.std(ddof=1) / math.sqrt(len(own)) / BIT  # as of one seed
    assert second.interval.low == pytest.approx(0.1 - half, abs=0.3 * half)
    assert second.interval.high == pytest.approx(0.1 + half, abs=0.3 * half)


@pytest.mark.parametrize("seeds", [2, 3, 5, 7])
def test_equal_seeds_are_not_uneven_by_rounding(seeds: int) -> None:
    images = np.random.default_rng(0).normal(100, 30, (4, 1, 60))
    assert uneven([np.repeat(each, seeds, 0) for each in images], ["a", "a", "b", "b"]) == []
    shifted = [np.repeat(each, seeds, 0) + 1e-6 * np.eye(seeds)[:, :1] for each in images]
    assert uneven(shifted, ["a", "a", "b", "b"]) == []


def test_one_model_under_two_names_shares_the_first_place() -> None:
    images = np.random.default_rng(0).normal(100, 30, (1, 60))
    twice, other = np.repeat(images, 2, 0), np.repeat(images + 50, 2, 0)
    compared = compare([other, twice, twice.astype(np.float32).astype(np.float64)], list("abc"))
    assert compared.best_share() == pytest.approx([0, 0.5, 0.5])
    interval = compared.interval(1, 2)
    assert interval is not None
    assert interval.low <= 0 <= interval.high


def test_an_exact_score_is_the_same_at_every_k(advised: Advise, study: Any, root: Path) -> None:
    """The bounds of `a` are above `direct` at k = 50 and below it at k = 1."""

    def curve(record: dict[str, Any]) -> dict[str, Any]:
        for k in (1, 50):
            if record["latent_dim"]:
                record = study.add(record, f"nll_k{k}_nats", 0.0, point=("samples", k))
        return record

    advice = advised({"a": 1.2}, {"direct": 1.4}, curve)
    for path in (root / "evaluations/both").glob("a-*/per_image.csv"):
        images = pd.read_csv(path)
        nats = images["nll_nats"]
        images.assign(nll_k50_nats=nats, nll_k1_nats=nats + 0.5 * BIT).to_csv(path, index=False)
    answer = ranking.answer(cells_of(root), root / "evaluations")
    assert advice.answer.best.name == answer.best.name
    (held,) = stability.agreements(answer)
    assert (held.reference, held.label, held.ranked) == ("k = 50", "k = 1", 3)
    assert {worse for _, worse in held.flips} == {"`direct` with no latents"}


# Tables, page, files


def test_tables_say_what_is_exact_and_leave_latents_empty(
    advised: Advise, root: Path, tmp_path: Path
) -> None:
    advice = advised({"a": 1.4}, {"direct": 1.2})
    assert advice.table.header[:5] == ("model", "latents", "bits/dim", "score", "behind the best")
    found = rows(advice)
    assert {name: (row["latents"], row["score"]) for name, row in found.items()} == {
        "direct": ("", "exact"), "a": ("8", "bound"), "independent pixels": ("", "exact"),
    }  # fmt: skip
    text = re.sub(" +", " ", plain(tables.markdown([advice])))
    assert "| model | no latents | 2 latents | 8 latents |" in text
    assert re.search(r"\| `direct` \| \*\*1\.200 ± 0\.0\d+\*\* \| \| \|", text)
    assert "| independent pixels | 1.760 | | |" in text
    assert "A score is exact, or it is a bound" in text
    tables.write_plots([advice], tmp_path)
    plots = pd.read_csv(tmp_path / "bits_per_dim.csv")
    assert set(zip(plots["likelihood"], plots["latent_dim"], plots["score"], strict=True)) == {
        ("a", 2, "bound"), ("a", 8, "bound"), ("direct", 0, "exact"),
    }  # fmt: skip
    headline = tables.headlines([advice.answer])["both"]
    assert (headline["likelihood"], headline["latent_dim"], headline["runner_up"]) == ("direct", 0, "a")
    summary.write_summary(cells_of(root), tmp_path / "summary.csv")
    written = pd.read_csv(tmp_path / "summary.csv").set_index("cell")
    assert written.loc["direct-0", ["latent_dim", "score_is"]].tolist() == [0, "exact"]
    assert written.loc["a-2-0", "score_is"] == "lower bound"
    assert written.loc["direct-0", ["elbo_nats", "importance_samples", "active_units"]].isna().all()
    assert "kl_per_latent_nats" not in written  # a list of others


def test_a_model_without_latents_is_a_line_across_the_chart(advised: Advise, root: Path) -> None:
    answer = advised({"a": 1.4}, {"direct": 1.2}).answer
    cells, marks = cells_of(root), looks(["a", "direct"])
    for log in (False, True):
        spec = json.loads(charts.specification(charts.bits_against_latents(cells, marks, log=log)))
        data = [(layer["mark"]["type"], spec["datasets"][layer["data"]["name"]]) for layer in spec["layer"]]
        (rule,) = [shown for kind, shown in data if kind == "rule"]
        assert [(row["family"], round(row["bits_per_dim"], 9)) for row in rule] == [("direct", 1.2)]
        assert {row["family"] for kind, shown in data if kind == "text" for row in shown} == {"direct"}
        (points,) = [shown for kind, shown in data if kind == "point"]
        assert {row["likelihood"] for row in points} == {"a"}
        across = [layer["encoding"]["x"] for layer in spec["layer"] if "x" in layer["encoding"]]
        ends = [x["scale"]["domain"] for x in across if x.get("field") == "latent_dim"]
        assert len(ends) == 2
        assert all(0 < low < 2 for low, _ in ends)
    drawn = page.show_charts(answer, cells, marks)
    assert [chart.title for chart in drawn] == ["Bits per dimension", "Rate and distortion"]
    text = charts.svg(charts.panels(cells, ["a", "direct"], marks, answer.baseline_scores), "both", "light")
    assert all(f">{name}<" in text for name in ("direct", "a"))
    assert "NaN" not in text


def test_without_any_latents_there_is_one_chart_and_no_axis_of_them(advised: Advise, root: Path) -> None:
    advice = advised({}, {"one": 1.2, "other": 1.3})
    cells, marks = cells_of(root), looks(["one", "other"])
    (chart,) = page.show_charts(advice.answer, cells, marks)
    assert "latent_dim" not in str(chart.spec)
    html = page.render(cells, [advice], root / "evaluations", marks)
    assert "Models that give the probability of an image." in " ".join(html.split())
    assert '<th scope="col">no latents</th>' in html


def test_the_card_of_the_best_says_what_it_is(advised: Advise, root: Path) -> None:
    advised({"a": 1.4}, {"direct": 1.2})
    card = best.of_study("both", root).card
    assert "* What it is: `direct`, a model that gives p(x) without latents." in card
    assert "(lower is better; exact)." in card
    advised({"a": 1.1}, {})
    card = best.of_study("both", root).card
    assert "* What it is: a variational autoencoder, `a` with 8 latents." in card
    assert "(lower is better; a bound: the model may be better)." in card


def test_what_tuning_chose_for_models_is_read_by_their_names(tmp_path: Path) -> None:
    scores = {"default_bits_per_dim": 1.5, "tuned_bits_per_dim": 1.4, "epochs": 9, "failed": 0}
    chosen = {"validation_bits_per_dim": 1.4}
    content = {
        "choices": [
            {"model": "vae", "likelihood": "gaussian", "latent_dim": 8, "optimizer.lr": 0.01, **chosen},
            {"model": "pixelcnn", "likelihood": "gaussian", "optimizer.lr": 0.02, **chosen},
            {"model": "independent", "model.smoothing": 0.25, **chosen},
        ],
        "race": {
            "trials": 3, "rungs": [9], "seed": 0, "validation_images": 50,
            "likelihoods": dict.fromkeys(("gaussian", "pixelcnn-gaussian", "independent"), scores),
        },
    }  # fmt: skip
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content))
    tuned = tuning.read(tmp_path / "mine.yaml")
    assert tuned is not None
    assert {row[0]: row[-1] for row in tuned.rows()} == {
        "`gaussian`": "latent_dim 8, lr 0.01",
        "`pixelcnn-gaussian`": "lr 0.02",
        "`independent`": "smoothing 0.25",
    }
    (sentence,) = tuned.sentences("model")
    assert sentence.startswith(
        "Each model was tuned on the validation images (3 trials of each model over latent_dim, "
    )


# Trained models


def test_the_report_of_trained_models_of_both_kinds(
    tiny_root: Path, small_cell: Callable[..., Cell], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    for seed in (0, 1):
        settings = ("model=independent", "study=tiny", "levels=17", f"seed={seed}")
        baselines = "metric=[bound,latents,reconstruction,baselines]"
        cell = small_cell(*settings, baselines, "metric.bound.samples=8", root=tiny_root)
        for stage in STAGES.values():
            stage.perform(cell, lambda record: None)
    monkeypatch.chdir(tiny_root)
    main = runpy.run_path(str(REPOSITORY / "pipelines/report.py"))["main"]
    assert main([]) == 0
    printed = capsys.readouterr().out
    assert "are missing in 2 of 4 cells (the score is exact: the model has no posterior q(z|x))" in printed
    reports = tiny_root / "reports"
    written = pd.read_csv(reports / "summary.csv").set_index("cell")
    assert written.loc[["independent-0", "independent-1"], "latent_dim"].tolist() == [0, 0]
    assert written["score_is"].value_counts().to_dict() == {"exact": 2, "lower bound": 2}
    table = plain((reports / "table.md").read_text(encoding="utf-8"))
    assert "no model beats" in table
    assert re.search(r"\| `independent` +\| +\| +\d\.\d+ ± 0\.\d+ \| +exact \| +best \|", table)
    assert "| model " in table
    html = (reports / "index.html").read_text(encoding="utf-8")
    assert "Which model, and how many latents?" in html
    specs = [json.loads(text) for text in re.findall(r'application/json">(\{.*?\})</script>', html)]
    kinds = [{layer["mark"]["type"] for layer in spec["layer"]} for spec in specs]
    assert any("rule" in each for each in kinds)
    assert "≤ " in html
    assert html.count("Samples of independent-0") == 1
