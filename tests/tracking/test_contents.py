"""What is read from files for MLflow."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from vae_likelihoods.cells.cell import Cell
from vae_likelihoods.tracking.contents import (
    epochs,
    identifying,
    metrics,
    picture_name,
    scores,
    unit_tags,
    varied,
)
from vae_likelihoods.units.declaration import Declaration, to_plain
from vae_likelihoods.units.quantity import BITS, NATS, Quantity, Split

Make = Callable[..., Cell]


def number(name: str, split: Split, short: str = "", measure: str = NATS, exact: bool = False) -> Declaration:
    quantity = Quantity(measure).on(split, 64, 17)
    return Declaration(name, "a number", quantity, short=short, exact=exact)


COLUMNS = [
    Declaration("epoch", "a count", exact=True),
    Declaration("best_epoch", "a count"),
    number("train_loss", "train", "loss"),
    number("scale", "train"),
    number("val_elbo", "validation", "elbo"),
    number("val_bits_per_dim", "validation", "bpd", BITS),
]


def test_the_score_comes_first_and_what_has_no_unit_is_left_out() -> None:
    assert list(metrics({each.name: each for each in COLUMNS}).items()) == [
        ("val_bits_per_dim", "val/bpd"),
        ("train_loss", "train/loss"),
        ("scale", "train/scale"),
        ("val_elbo", "val/elbo"),
    ]


def test_an_epoch_waits_for_its_timing_while_the_cell_trains(tmp_path: Path) -> None:
    (tmp_path / "history.csv").write_text("epoch,val_elbo\n1,-3\n2,-2\n3,-1\n")
    (tmp_path / "columns.json").write_text(json.dumps(to_plain(COLUMNS)))
    timings = tmp_path / "timings.csv"
    timings.write_text("epoch,seconds,images_per_second\n1,2,50\n2,1,100\n2,4,25\n")
    assert epochs(tmp_path, timings, 1, ended=False) == {
        2: [("val/elbo", -2.0, 2), ("time/images_s", 100.0, 2)]
    }
    assert epochs(tmp_path, timings, 2, ended=True) == {3: [("val/elbo", -1.0, 3)]}
    assert epochs(tmp_path / "none", timings, 0, ended=True) == {}


def test_params_are_what_the_cells_differ_in_whatever_their_names(small_cell: Make) -> None:
    cells = [
        small_cell(f"network.hidden={hidden}", f"levels={levels}", "optimizer.lr=1e-3")
        for hidden in ("[8]", "[8,8]")
        for levels in (2, 17)
    ]
    assert varied(cells) == ["levels", "network.hidden"]
    assert varied([*cells, small_cell("optimizer.lr=1e-2")]) == ["levels", "network.hidden", "optimizer.lr"]
    assert varied(cells[:1]) == []
    assert identifying(cells[1], varied(cells))["network.hidden"] == "[8]"
    networks = [small_cell(f"network={name}") for name in ("mlp", "linear")]
    assert varied(networks) == ["network"]
    assert identifying(networks[1], varied(networks))["network"] == "linear"


def test_a_picture_has_one_name_and_runs_and_epochs_have_others() -> None:
    name = picture_name("samples-3", "run", 7)
    assert name == picture_name("samples-3", "run", 7)
    assert name.startswith("samples+step+3+timestamp+7+")
    assert name != picture_name("samples-3", "other", 7)


def test_every_measured_number_is_a_metric_under_its_short_name_or_its_own() -> None:
    declared = [
        number("frechet", "test"), number("kl_per_latent_nats", "test"), number("none", "test"),
        number("importance_samples", "test", exact=True), number("bits_per_dim", "test", "bpd", BITS),
        number("nll_nats", "test", "nll"), Declaration("epochs", "a count"),
    ]  # fmt: skip
    evaluation = {
        "frechet": 3.0, "kl_per_latent_nats": [1.0], "none": None, "importance_samples": 8,
        "bits_per_dim": 1.5, "nll_nats": 800.0, "epochs": 20, "images": 180,
        "declarations": to_plain(declared),
    }  # fmt: skip
    assert scores(evaluation) == [("test/bpd", 1.5, 0), ("test/frechet", 3.0, 0), ("test/nll", 800.0, 0)]


def test_the_unit_of_the_score_is_a_tag() -> None:
    assert unit_tags({each.name: each for each in COLUMNS}) == {
        "unit/val/bpd": "bits per dimension (validation, D=64, K=17)"
    }
    assert unit_tags({}) == {}
