"""`vae-likelihoods experiment`: what it refuses, and a small experiment from nothing, twice."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from vae_likelihoods.cli.app import main

PROJECT = Path(__file__).parents[2]
SMALL = (
    "dataset=digits", "seed=0,1", "latent_dim=3", "training.epochs=1", "training.grid_epochs=1",
    "metric.bound.samples=2", "runtime.device=cpu", "tracking=none", "likelihood.scale=2.0,0.3",
)  # fmt: skip


def test_what_is_no_experiment_is_one_line_with_the_choices(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["experiment", "nonsense"]) == 1
    assert capsys.readouterr().err.startswith("experiment: experiment=nonsense: there is no such")


def test_a_page_without_a_place_is_refused_before_anything_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["experiment", "iwae", "--output", str(tmp_path / "none.md")]) == 1
    assert "<!-- experiment iwae -->" in capsys.readouterr().err


def test_a_table_of_what_was_not_evaluated_names_the_cell(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["experiment", "dont_blame_the_elbo", "--table", "seed=0", f"runtime.root={tmp_path}"]
    assert main(arguments) == 1
    message = (
        "cell=dont_blame_the_elbo/gaussian-20-0-scale=2.4: was not evaluated; "
        "run `.venv/bin/vae-likelihoods experiment dont_blame_the_elbo`"
    )
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_an_experiment_trains_evaluates_and_prints_and_again_takes_all_from_the_store(
    prepared_root: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("VAE_LIKELIHOODS_STORE", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(PROJECT / "src"))
    shutil.copytree(prepared_root / "data", tmp_path / "data")
    page = tmp_path / "page.md"
    begin, end = (f"<!-- {mark}experiment dont_blame_the_elbo -->" for mark in ("", "/"))
    page.write_text(f"before\n{begin}\n{end}\nafter\n")
    arguments = [
        "experiment",
        "dont_blame_the_elbo",
        *SMALL,
        f"runtime.root={tmp_path}",
        "--output",
        str(page),
    ]
    assert main(arguments) == 0
    printed = capfd.readouterr().out
    assert "train dont_blame_the_elbo: 4 done" in printed
    assert re.search(r"\| +sigma \| +sigma² \| +eigenvalues above \|", printed)
    written = page.read_text()
    assert "1437 images to train on" in written
    assert main(arguments) == 0
    assert capfd.readouterr().out.count("4 taken from the store") == 2
    assert page.read_text() == written
