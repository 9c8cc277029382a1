"""What is read from files for MLflow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vae_likelihoods.cells.cell import Cell
from vae_likelihoods.tracking.contents import (
    epochs,
    identifying,
    in_order,
    picture_name,
    scores,
    varied,
)

Make = Callable[..., Cell]


def test_the_headline_is_logged_first_and_constants_are_not() -> None:
    row = dict.fromkeys(
        ["epoch", "learning_rate", "train_loss", "val_elbo", "val_bits_per_dim", "scale"], "1"
    )
    assert in_order(row) == ["val_bits_per_dim", "val_elbo", "train_loss", "scale"]


def test_an_epoch_waits_for_its_timing_while_the_cell_trains(tmp_path: Path) -> None:
    history, timings = tmp_path / "history.csv", tmp_path / "timings.csv"
    history.write_text("epoch,val_elbo\n1,-3\n2,-2\n3,-1\n")
    timings.write_text("epoch,seconds,images_per_second\n1,2,50\n2,1,100\n2,4,25\n")
    assert epochs(history, timings, 1, ended=False) == {
        2: [("val/elbo", -2.0, 2), ("time/images_s", 100.0, 2)]
    }
    assert epochs(history, timings, 2, ended=True) == {3: [("val/elbo", -1.0, 3)]}
    assert epochs(tmp_path / "none.csv", timings, 0, ended=True) == {}


def test_params_that_a_sweep_varied_are_found_again_from_names(small_cell: Make) -> None:
    cells = [
        small_cell(f"network.hidden={hidden}", f"levels={levels}", "optimizer.lr=1e-3").named(
            f"b-8-0-levels={levels}-hidden={hidden[1:-1]}"
        )
        for hidden in ("[8]", "[8,8]")
        for levels in (2, 17)
    ]
    other = small_cell("optimizer.lr=1e-2")
    assert varied(cells[0], [*cells, other]) == ["levels", "network.hidden"]
    assert varied(other, [*cells, other]) == []
    assert identifying(cells[1], varied(cells[1], cells))["network.hidden"] == "[8]"
    networks = [small_cell(f"network={name}").named(f"b-8-0-network={name}") for name in ("mlp", "linear")]
    assert varied(networks[0], networks) == ["network"]


def test_a_picture_has_one_name_and_runs_and_epochs_have_others() -> None:
    name = picture_name("samples-3", "run", 7)
    assert name == picture_name("samples-3", "run", 7)
    assert name.startswith("samples+step+3+timestamp+7+")
    assert name != picture_name("samples-3", "other", 7)


def test_what_a_further_metric_measured_follows_under_its_own_name() -> None:
    metrics = {
        "bits_per_dim": 1.5,
        "nll_nats": 800.0,
        "frechet": 3.0,
        "kl_per_latent_nats": [1.0],
        "none": None,
    }
    units = {name: {} for name in ("bits_per_dim", "frechet", "kl_per_latent_nats", "none")}
    assert scores({**metrics, "importance_samples": 8, "units": {**units, "importance_samples": {}}}) == [
        ("test/bpd", 1.5, 0),
        ("test/nll", 800.0, 0),
        ("test/frechet", 3.0, 0),
    ]
