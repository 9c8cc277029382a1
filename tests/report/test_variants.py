"""A setting is all that the cells of a study differ in but the seed, and is named wherever it is shown."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from vae_likelihoods import palette
from vae_likelihoods.errors import SettingError
from vae_likelihoods.report import page, ranking, recommend, summary, tables
from vae_likelihoods.units.variants import axes, variant
from vae_likelihoods.verify.contradictions import contradictions

RATES = {0.001: 0.0, 0.005: -0.1, 0.02: 0.3}
"""Learning rate -> what it adds to the bits/dim of every likelihood."""


@pytest.fixture
def rates(root: Path, study: Any) -> Path:
    """A study of 2 likelihoods x 3 learning rates x 2 seeds at one latent size."""
    for likelihood, bits in {"gaussian": 3.0, "binomial": 5.0}.items():
        for rate, more in RATES.items():
            for seed in (0, 1):
                cell = f"{likelihood}-4-{seed}-lr={rate}"
                found = bits + more + 0.004 * seed
                own = study.record(
                    "lrs", likelihood, 4, seed, found, cell=cell, settings={"optimizer.lr": rate}
                )
                study.save(root, own)
    return root


@pytest.fixture
def answer(rates: Path) -> ranking.Answer:
    return ranking.answer(cells_of(rates), rates / "evaluations")


def cells_of(root: Path) -> pd.DataFrame:
    return summary.collect(root / "evaluations", {"lrs": ["gaussian", "binomial"]})


def test_learning_rates_are_settings_and_no_seeds(answer: ranking.Answer) -> None:
    assert len(answer.settings) == 6
    assert {setting.seeds for setting in answer.settings} == {2}
    assert answer.best.name.in_words == "`gaussian` with 4 latents and optimizer.lr=0.005"
    assert answer.best.bits_per_dim == pytest.approx(2.902)


def test_the_answer_names_what_was_varied(answer: ranking.Answer) -> None:
    advice = recommend.recommend(answer)
    text = advice.paragraph.replace("\u00a0", " ")
    assert "`gaussian` with 4 latents and optimizer.lr=0.005 is best: 2.902" in text
    assert "over 2 seeds" in text
    assert "For `gaussian` with 4 latents, optimizer.lr=0.001 needs 0.100" in text
    assert "optimizer.lr=0.02 needs 0.400" in text
    assert "all had the same" not in text
    assert "what settings beyond the tried optimizer.lr give" in text
    assert advice.table.header[:3] == ("likelihood", "latents", "optimizer.lr")
    assert advice.table.rows[0][:3] == ("`gaussian`", "4", "0.005")


def test_summary_and_plots_have_a_column_and_follow_from_each_other(
    rates: Path, answer: ranking.Answer, tmp_path: Path
) -> None:
    summary.write_summary(cells_of(rates), tmp_path / "summary.csv")
    tables.write_plots([recommend.recommend(answer)], tmp_path)
    written, plots = (pd.read_csv(tmp_path / name) for name in ("summary.csv", "bits_per_dim.csv"))
    assert sorted(set(written["optimizer.lr"])) == sorted(RATES)
    assert set(plots["variant"]) == {f"optimizer.lr={rate}" for rate in RATES}
    assert len(plots) == 6
    headlines = tables.headlines([answer])
    assert headlines["lrs"]["variant"] == "optimizer.lr=0.005"
    assert contradictions(written, headlines, plots) == []


def test_every_table_and_the_page_have_a_row_for_each_variant(rates: Path, answer: ranking.Answer) -> None:
    advice = recommend.recommend(answer)
    markdown = tables.markdown([advice])
    assert all(
        f"`{name}` | {rate}" in re.sub(" +", " ", markdown)
        for name in ("gaussian", "binomial")
        for rate in RATES
    )
    cells = cells_of(rates)
    html = page.render(cells, [advice], rates / "evaluations", palette.marks(["gaussian", "binomial"]))
    assert "optimizer.lr" in html


def test_a_study_that_varies_nothing_else_is_as_before(root: Path) -> None:
    cells = summary.collect(root / "evaluations", {"grey": []})
    answer = ranking.answer(cells, root / "evaluations")
    assert "variant" not in cells
    assert {setting.name.variant for setting in answer.settings} == {""}
    assert "(all had the same)" in recommend.recommend(answer).paragraph


def test_the_same_run_under_two_names_does_not_count_twice(rates: Path, study: Any) -> None:
    twice = study.record(
        "lrs", "gaussian", 4, 0, 3.0, cell="gaussian-4-0-lr=1e-3", settings={"optimizer.lr": 0.001}
    )
    study.save(rates, twice)
    with pytest.raises(SettingError, match=r"lrs/gaussian-4-0-lr=1e-3: has the settings and the seed of"):
        cells_of(rates)


@pytest.mark.parametrize(
    ("left", "right", "keys"),
    [
        ({"seed": 0}, {"seed": 1}, []),
        ({"likelihood": "a", "likelihood.law": "b"}, {"likelihood": "c", "likelihood.scale": 1}, []),
        ({"likelihood": "a", "likelihood.scale": 1}, {"likelihood": "a", "likelihood.scale": 2},
         ["likelihood.scale"]),
        ({"network": "mlp", "network.hidden": [1]}, {"network": "conv", "network.width": 2}, ["network"]),
        ({"training.patience": None}, {"training.patience": 3}, ["training.patience"]),
        ({"binarize": "threshold"}, {"binarize": "stochastic"}, ["binarize"]),
    ],
)  # fmt: skip
def test_axes_are_what_cells_differ_in(left: dict[str, Any], right: dict[str, Any], keys: list[str]) -> None:
    assert axes([left, right]) == keys
    assert axes([left]) == []


def test_a_variant_leaves_out_what_a_cell_does_not_have() -> None:
    assert (
        variant({"network": "conv", "optimizer.lr": 0.01}, ["network.hidden", "optimizer.lr"])
        == "optimizer.lr=0.01"
    )


@pytest.mark.parametrize("change", ["trained again", "gone"])
def test_an_evaluation_of_other_weights_is_refused(root: Path, change: str) -> None:
    """Weights b'' have the sha256 that is noted for every cell."""
    weights = root / "runs/grey/gaussian-2-0/model.safetensors"
    for path in (root / "evaluations/grey").glob("*/metrics.json"):
        metrics = json.loads(path.read_text())
        metrics["weights_sha256"] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        path.write_text(json.dumps(metrics))
        folder = root / "runs/grey" / path.parent.name
        folder.mkdir(parents=True)
        (folder / weights.name).write_bytes(b"")
    runs, evaluations = root / "runs", root / "evaluations"
    cells = summary.collect(evaluations, {"grey": []}, runs=runs)
    assert summary.unevaluated(runs, "grey", cells) == ""
    if change == "gone":
        weights.unlink()
    else:
        weights.write_bytes(b"other")
    with pytest.raises(SettingError, match=f"cell=grey/gaussian-2-0: .*{change}"):
        summary.collect(evaluations, {"grey": []}, runs=runs)


def test_trained_cells_without_evaluation_are_named(root: Path) -> None:
    for cell in ("gaussian-2-0", "laplace-2-0"):
        (root / "runs/grey" / cell).mkdir(parents=True)
        (root / "runs/grey" / cell / "model.safetensors").write_bytes(b"")
    cells = summary.collect(root / "evaluations", {"grey": []})
    line = summary.unevaluated(root / "runs", "grey", cells)
    assert line == "laplace-2-0 is trained and not evaluated, and left out"
