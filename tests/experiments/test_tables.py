"""Tables of made-up metrics: every number where it belongs, and findings that can be false."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from training_settings import training
from vae_likelihoods.errors import SettingError
from vae_likelihoods.experiments.base import ProtocolTable, PublishedProtocol, markdown, report
from vae_likelihoods.experiments.continuous_bernoulli import ContinuousBernoulliProtocol
from vae_likelihoods.experiments.dont_blame_the_elbo import DontBlameTheELBOProtocol
from vae_likelihoods.experiments.fashion_mnist import FashionMNISTProtocol
from vae_likelihoods.experiments.iwae import IWAEProtocol
from vae_likelihoods.experiments.page import check_page, write_page
from vae_likelihoods.experiments.sigma_vae import SigmaVAEProtocol, learned_sigma
from vae_likelihoods.files import PROJECT

FACTS = {
    "dataset": "mnist5k", "train_images": 4000, "test_images": 500, "epochs": 50, "batch_size": 20,
    "learning_rate": 2e-3, "importance_samples": 5000, "latent_dim": 50,
}  # fmt: skip
NATS = {("VAE", 1): 110.0, ("VAE", 5): 109.9, ("VAE", 50): 109.5, ("IWAE", 5): 108.0, ("IWAE", 50): 107.0}
UNITS = {("VAE", 1): 15, ("VAE", 5): 15, ("VAE", 50): 16, ("IWAE", 5): 18, ("IWAE", 50): 22}


def frame(rows: list[dict[str, Any]], **facts: Any) -> pd.DataFrame:
    return pd.DataFrame([{**FACTS, **facts, **row} for row in rows])


def iwae_cells(nats: dict[tuple[str, int], float] = NATS, **facts: Any) -> pd.DataFrame:
    rows = [
        {
            "model": model,
            "k": k,
            "seed": seed,
            "nll_nats": mean + (seed - 1) / 2,
            "elbo_nats": -mean - 5,
            "active_units": UNITS.get((model, k), 15),
            "informative": UNITS.get((model, k), 15) - 1,
        }
        for (model, k), mean in nats.items()
        for seed in (0, 1, 2)
    ]
    return frame(rows, **facts)


def test_iwae_stands_beside_the_paper() -> None:
    """Burda et al. 2016, table 1: 86.76, 85.54 and 84.78 nats with k = 1, 5 and 50."""
    table = IWAEProtocol().table(iwae_cells({**NATS, ("IWAE", 1): 110.0}))
    assert (
        "VAE",
        "1",
        "110.00 ± 0.50",
        "86.76",
        "115.00 ± 0.00",
        "15.0 ± 0.0",
        "19",
        "14.0 ± 0.0",
    ) in table.rows
    published = {row[:2]: (row[3], row[6]) for row in table.rows}
    assert published["IWAE", "5"] == ("85.54", "22")
    assert published["IWAE", "50"] == ("84.78", "25")
    assert published["IWAE", "1"] == published["VAE", "1"]


def test_iwae_findings_say_by_how_much() -> None:
    sentences = "\n".join(IWAEProtocol().findings(iwae_cells({**NATS, ("IWAE", 1): 110.02})))
    assert "-log p(x) falls from VAE to IWAE with k = 5 to IWAE with k = 50: in 3 of 3 seeds." in sentences
    assert "is better than the VAE by 2.00 ± 0.00 nats, k = 50 by another 1.00 ± 0.00" in sentences
    assert sentences.count("in 3 of 3 seeds") == 3
    assert "50 draws make the VAE better by 0.50 ± 0.00 nats" in sentences
    assert "the same model: 0.020 nats apart" in sentences


def test_iwae_findings_can_be_false() -> None:
    cells = iwae_cells()
    worse = (cells["model"] == "IWAE") & (cells["k"] == 50) & (cells["seed"] == 1)
    cells.loc[worse, ["nll_nats", "active_units"]] = [108.5, 17]
    sentences = IWAEProtocol().findings(cells)
    assert sentences[0].endswith("in 2 of 3 seeds.")
    assert sentences[2].endswith("in 2 of 3 seeds.")
    assert sentences[3].endswith("in 3 of 3 seeds.")


def test_iwae_with_one_draw_stands_in_for_the_vae() -> None:
    part = {("IWAE", 1): 110.0, ("IWAE", 5): 108.0, ("IWAE", 50): 107.0}
    assert IWAEProtocol().findings(iwae_cells(part))[0].endswith("in 3 of 3 seeds.")
    (sentence,) = IWAEProtocol().findings(iwae_cells({("IWAE", 5): 108.0}))
    assert sentence.startswith("Not all of")


@pytest.mark.parametrize(
    ("facts", "sentences", "absent"),
    [
        ({}, ["50 epochs, not 3280", "from 0.002 to a tenth", "mnist5k: 4000 images"], ["Batches", "k ="]),
        (
            {"epochs": 3280, "learning_rate": 1e-3, "dataset": "mnist", "batch_size": 100},
            ["Batches of 100 images, not 20"],
            ["epochs, not", "a tenth"],
        ),
        ({"importance_samples": 500}, ["k = 500 importance samples, not 5000"], []),
    ],
)
def test_iwae_says_what_differs(facts: dict[str, Any], sentences: list[str], absent: list[str]) -> None:
    text = "\n".join(IWAEProtocol().differences(iwae_cells(**facts)))
    assert all(words in text for words in sentences)
    assert not any(words in text for words in absent)


def linear_cells(live: list[int]) -> pd.DataFrame:
    row = {
        "sigma": 1.4, "above": 6, "expected": 6, "expected_rate_nats": 2.5, "next_above": 1.18,
        "next_below": 0.88, "rate_nats": 2.4,
    }  # fmt: skip
    return frame([{**row, "active_units": count, "seed": seed} for seed, count in enumerate(live)])


def test_live_latents_stand_beside_eigenvalues() -> None:
    (row,) = DontBlameTheELBOProtocol().table(linear_cells([6, 6, 6])).rows
    assert row == ("1.4", "1.960", "6", "1.180", "0.880", "6", "6", "2.500", "2.400 ± 0.000")
    assert DontBlameTheELBOProtocol().findings(linear_cells([6, 6, 6]))[0].endswith("in 3 of 3 seeds.")
    (row,) = DontBlameTheELBOProtocol().table(linear_cells([6, 7, 6])).rows
    assert row[6] == "6, 7, 6"
    assert DontBlameTheELBOProtocol().findings(linear_cells([6, 7, 6]))[0].endswith("in 2 of 3 seeds.")


def sigma_cells() -> pd.DataFrame:
    bits = {"fixed": 2.6, "learned, shared": 1.8, "learned, per pixel": 1.79}
    rows = [
        {
            "kind": kind,
            "start": 1.0,
            "trained_on": "mass",
            "seed": seed,
            "learned_sigma": 0.11 if kind == "learned, shared" else None,
            "bits_per_dim": value + 0.01 * seed,
            "squared_error": 0.01,
            "rate_nats": 30.0,
            "active_units": 12,
        }
        for kind, value in bits.items()
        for seed in (0, 1)
    ]
    return frame(rows)


def test_sigma_is_compared_at_the_same_start_and_training_score() -> None:
    table = SigmaVAEProtocol().table(sigma_cells())
    assert [row[:4] for row in table.rows] == [
        ("fixed", "1", "mass", ""),
        ("learned, shared", "1", "mass", "0.1100 ± 0.0000"),
        ("learned, per pixel", "1", "mass", ""),
    ]
    fixed, per_pixel = SigmaVAEProtocol().findings(sigma_cells())
    assert "fixed at 1: in 2 of 2 seeds. Difference in bits/dim: 0.800 ± 0.000." in fixed
    assert "per pixel that starts at 1: in 0 of 2 seeds. Difference in bits/dim: -0.010 ± 0.000." in per_pixel


def test_the_sigma_found_is_that_of_the_weights_kept(tmp_path: Path) -> None:
    history = tmp_path / "history.csv"
    history.write_text("epoch,best_epoch,scale\n1,1,0.3\n2,2,0.2\n3,2,0.1\n")
    assert learned_sigma(history, training(keep="best").kept_epoch) == 0.2
    assert learned_sigma(history, training(keep="last").kept_epoch) == 0.1


def grey_cells() -> pd.DataFrame:
    right, wrong = "minus the ELBO", "cross-entropy + KL (wrong)"
    rows = [
        {
            "likelihood": likelihood,
            "loss": loss,
            "seed": seed,
            "nll_nats": nats,
            "bits_per_dim": nats / 543.4,
            "rate_nats": rate,
            "squared_error": 0.01,
            "active_units": 12,
        }
        for likelihood, loss, nats, rate in (
            ("continuous_bernoulli", right, 1800.0, 160.0),
            ("binomial", right, 9000.0, 120.0),
            ("continuous_bernoulli", wrong, 3000.0, 16.0),
            ("binomial", wrong, 8000.0, 12.0),
        )
        for seed in (0, 1)
    ]
    return frame(rows)


def test_cross_entropy_stands_under_each_likelihood_that_it_may_stand_for() -> None:
    table = ContinuousBernoulliProtocol().table(grey_cells())
    assert [row[:3] for row in table.rows] == [
        ("`binomial`", "minus the ELBO", "9000.0 ± 0.0"),
        ("`binomial`", "cross-entropy + KL (wrong)", "8000.0 ± 0.0"),
        ("`continuous_bernoulli`", "minus the ELBO", "1800.0 ± 0.0"),
        ("`continuous_bernoulli`", "cross-entropy + KL (wrong)", "3000.0 ± 0.0"),
    ]
    continuous, binomial, _ = ContinuousBernoulliProtocol().findings(grey_cells())
    assert "in 2 of 2 seeds. Cross-entropy loses 1200.0 ± 0.0 nats" in continuous
    assert "its rate is 0.100 ± 0.000 times the right one" in continuous
    assert "in 0 of 2 seeds. Cross-entropy loses -1000.0 ± 0.0 nats" in binomial


each_experiment = pytest.mark.parametrize(
    ("experiment", "cells"),
    [
        (IWAEProtocol(), iwae_cells()),
        (DontBlameTheELBOProtocol(), linear_cells([6])),
        (SigmaVAEProtocol(), sigma_cells()),
        (ContinuousBernoulliProtocol(), grey_cells()),
    ],
    ids=lambda part: type(part).__name__,
)


@each_experiment
def test_the_page_of_results_is_worded_as_the_code_words_it(
    experiment: PublishedProtocol, cells: pd.DataFrame
) -> None:
    """Numbers apart: whoever changes a sentence changes it in the page, too."""
    text = (PROJECT / "docs" / "results.md").read_text(encoding="utf-8")
    page = without_numbers(re.sub(" +", " ", text))  # tables are padded with spaces
    columns = " | ".join(experiment.table(cells).columns)
    for line in (columns, *experiment.findings(cells), *experiment.differences(cells)):
        assert without_numbers(line) in page


def without_numbers(text: str) -> str:
    return re.sub(r"-?[\d.,]+", "#", text.replace("1 seed.", "1 seeds."))


@each_experiment
def test_a_report_is_a_table_findings_and_differences(
    experiment: PublishedProtocol, cells: pd.DataFrame
) -> None:
    table, text = experiment.table(cells), report(experiment, cells)
    assert all(len(row) == len(table.columns) for row in table.rows)
    assert text.startswith(markdown(table))
    assert experiment.paper in text
    assert "nan" not in text
    for line in (*experiment.findings(cells), *experiment.differences(cells)):
        assert f"\n* {line}" in text


def test_words_stand_left_and_numbers_right() -> None:
    assert markdown(ProtocolTable(["a", "b"], [("x", "1.50")], words=["a"])).splitlines() == [
        "| a   |    b |",
        "|:----|-----:|",
        "| x   | 1.50 |",
    ]


def test_a_report_replaces_what_stands_between_its_markers(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- experiment iwae -->\nold\n<!-- /experiment iwae -->\nb\n")
    check_page(page, "iwae")
    write_page(page, "iwae", "new")
    write_page(page, "iwae", "newer")
    assert page.read_text() == "a\n<!-- experiment iwae -->\nnewer\n<!-- /experiment iwae -->\nb\n"
    for missing in (page, tmp_path / "none.md"):
        with pytest.raises(SettingError, match="<!-- experiment sigma_vae -->"):
            check_page(missing, "sigma_vae")


def fashion_cells(vae_bits: float = 3.2) -> pd.DataFrame:
    usual = {"seed": 0, "multiply_adds": 1000, "multiply_adds_to_draw": 5000, "parameters": 12_000}
    usual |= {"latent_dim": 0, "exact": True, "importance_samples": None}
    rows: list[dict[str, Any]] = [
        {"family": "independent", "bits_per_dim": 4.9, "seconds": 3.0, "part": "fashion_mnist"},
        {"family": "pixelcnn-inflated", "bits_per_dim": 2.84, "seconds": 6600.0, "part": "fashion_pixelcnn"},
        {"family": "inflated", "bits_per_dim": vae_bits, "seconds": 60.0, "part": "fashion_vae"},
    ]
    rows[0] |= {"png_bits_per_dim": 5.17, "png_tiled_bits_per_dim": 4.16}
    rows[2] |= {"latent_dim": 48, "exact": False, "importance_samples": 256}
    return frame([{**usual, **row} for row in rows], dataset="fashion_mnist", train_images=55_000)


def test_fashion_mnist_is_ranked_with_codecs_and_published_figures() -> None:
    rows = FashionMNISTProtocol().table(fashion_cells()).rows
    scores = [float(row[1]) for row in rows]
    assert scores == sorted(scores)
    places = {(row[0], row[2]): place for place, row in enumerate(rows)}
    assert places["`pixelcnn-inflated`", "exact"] == 0
    assert places["`inflated`", "bound, k = 256"] == 1
    assert places["Sparse PC", "as printed"] == 2
    assert (
        places["PNG", "all in one file"]
        < places["`independent`", "exact"]
        < places["PNG", "each image a file"]
    )
    assert rows[0][3:] == ("", "12,000", "1,000", "5,000", "110.0", "1", "`experiment=fashion_pixelcnn`")
    assert rows[1][3] == "48"


def test_what_a_latent_variable_costs_follows_from_the_scores() -> None:
    said = "\n".join(FashionMNISTProtocol().findings(fashion_cells()))
    assert "directly is `pixelcnn-inflated`: 2.840 bits/dim." in said
    assert "with a latent variable is `inflated`: 3.200 bits/dim." in said
    assert "the latent variable costs 0.360 bits/dim here" in said
    assert "the latent variable saves 0.040 bits/dim here" in "\n".join(
        FashionMNISTProtocol().findings(fashion_cells(2.8))
    )
    assert "55000 images to train on" in "\n".join(FashionMNISTProtocol().differences(fashion_cells()))
