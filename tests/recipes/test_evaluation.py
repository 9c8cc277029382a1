"""Evaluating a cell on the digits' test split: numbers that must agree with each other and with counting."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image
from safetensors.torch import load_file

from vae_likelihoods.cells.build import build_metrics, build_model
from vae_likelihoods.cells.cell import Cell
from vae_likelihoods.cells.run_files import EVALUATION_RESULTS
from vae_likelihoods.datasets.quantise import levels_of
from vae_likelihoods.errors import SettingError
from vae_likelihoods.files import PROJECT
from vae_likelihoods.metrics.base import Measured
from vae_likelihoods.recipes.evaluation import evaluate, multiply_adds
from vae_likelihoods.recipes.measuring import Trained
from vae_likelihoods.recipes.training import make_trainer, train
from vae_likelihoods.seeding import generator
from vae_likelihoods.sweeps.stages import STAGES
from vae_likelihoods.units.declaration import from_plain

MakeCell = Callable[..., Cell]
LEARNS = ("study=evaluated", "training.epochs=5", "optimizer.lr=0.01", "training.warmup_steps=0")


def laid_out(cell: Cell) -> Cell:
    """Train straight into runs/, where evaluation looks."""
    cell.run_folder.mkdir(parents=True, exist_ok=True)
    if not (cell.run_folder / "model.safetensors").exists():
        train(cell, cell.run_folder, lambda record: None)
        OmegaConf.save(OmegaConf.create(cell.description()), cell.run_folder / "config.yaml")
    return cell


@pytest.fixture
def cell(small_cell: MakeCell) -> Cell:
    return laid_out(small_cell(*LEARNS))


@pytest.fixture
def metrics(cell: Cell, tmp_path: Path) -> dict[str, Any]:
    evaluate(cell, tmp_path)
    contents: dict[str, Any] = json.loads((tmp_path / "metrics.json").read_text())
    return contents


def test_it_writes_exactly_the_files_it_returns(cell: Cell, tmp_path: Path) -> None:
    assert evaluate(cell, tmp_path) == list(EVALUATION_RESULTS)
    assert {path.name for path in tmp_path.iterdir()} == set(EVALUATION_RESULTS)


def test_numbers_agree_with_each_other(metrics: dict[str, Any]) -> None:
    assert metrics["elbo_nats"] == -(metrics["rate_nats"] + metrics["distortion_nats"])
    assert metrics["bits_per_dim"] == pytest.approx(metrics["nll_nats"] / (64 * math.log(2)), rel=1e-12)
    assert metrics["nll_nats"] <= -metrics["elbo_nats"]
    assert sum(metrics["kl_per_latent_nats"]) == pytest.approx(metrics["rate_nats"], rel=1e-4)
    assert len(metrics["kl_per_latent_nats"]) == metrics["latent_dim"]
    assert 0 <= metrics["active_units"] <= metrics["latent_dim"]
    assert 1 <= metrics["effective_sample_size"] <= metrics["importance_samples"] == 8
    assert 0 < metrics["bits_per_dim"] < math.log2(17)  # better than no model at all
    assert 0 < metrics["squared_error"] < 1


def test_it_says_what_was_measured(cell: Cell, metrics: dict[str, Any]) -> None:
    expected = {
        "study": "evaluated",
        "cell": "beta_binomial-8-0",
        "dataset": "digits",
        "levels": 17,
        "likelihood": "beta_binomial",
        "latent_dim": 8,
        "seed": 0,
        "trained_on": "mass",
        "epochs": 5,
        "dimensions": 64,
    }
    assert {name: metrics[name] for name in expected} == expected
    test = levels_of(cell.data, "test", 17)
    assert metrics["images"] == 180
    assert metrics["test_sha256"] == test.sha256
    assert metrics["weights_sha256"] == cell.weights
    assert metrics["settings"] == cell.settings.flat


def test_every_value_is_declared_and_every_measured_number_has_a_unit(metrics: dict[str, Any]) -> None:
    """The rest says which images were measured."""
    declared = from_plain(metrics["declarations"])
    others = ["images", "test_sha256", "weights_sha256", "settings", "tuned", "declarations"]
    assert list(metrics) == [*declared, *others]
    names = {"study", "cell", "dataset", "model", "likelihood", "trained_on", "score_is"}
    counts = {"levels", "latent_dim", "seed", "parameters", "multiply_adds", "epochs", "dimensions"}
    counts |= {"multiply_adds_to_draw"}
    units = {name: each.unit for name, each in declared.items() if each.unit}
    of_training = {"best_epoch", "late_gain_bits", "validation_rise_bits", "warmup_share"}
    counts |= {*of_training, "one_image_share"}
    assert units.keys() == declared.keys() - names - counts
    assert {(unit.split, unit.dimensions, unit.levels) for unit in units.values()} == {("test", 64, 17)}
    assert str(units["bits_per_dim"]) == "bits per dimension (mass, test, D=64, K=17, k=8)"
    assert str(units["rate_nats"]) == "nats per image (test, D=64, K=17)"
    assert {name for name, each in declared.items() if not each.format} - {"kl_per_latent_nats"} == names
    varying = {name for name in names | counts if not declared[name].exact}
    assert varying == {"epochs", *of_training, "one_image_share"} - {"warmup_share"}


def test_what_two_metrics_measure_follows_the_order_of_their_declarations(metrics: dict[str, Any]) -> None:
    """First which cell it is, then the numbers of each metric, then how it was trained and what it costs."""
    names = list(metrics["declarations"])
    assert names[:2] == ["study", "cell"]
    some = ("seed", "bits_per_dim", "active_units", "squared_error", "epochs")
    places = [names.index(name) for name in some]
    assert places == sorted(places)


def test_the_columns_of_per_image_have_the_units_of_their_names(
    metrics: dict[str, Any], tmp_path: Path
) -> None:
    header = (tmp_path / "per_image.csv").read_text().splitlines()[0].split(",")
    assert header == [
        *("image", "nll_nats", "rate_nats", "distortion_nats", "effective_sample_size"),
        *("squared_error", "ssim"),
    ]
    assert all("unit" in metrics["declarations"][name] for name in header[1:])


def test_parameters_and_multiply_adds_are_counted(metrics: dict[str, Any]) -> None:
    """8x8 pixels, hidden [16], 8 latents, 2 outputs a pixel."""
    weights = 64 * 16 + 16 * 16 + 8 * 16 + 16 * 128
    assert metrics["multiply_adds"] == weights
    assert metrics["multiply_adds_to_draw"] == 8 * 16 + 16 * 128
    assert metrics["parameters"] == weights + 16 + 16 + 16 + 128


def test_multiply_adds_of_convolutions(small_cell: MakeCell) -> None:
    cell = small_cell("network=conv", "network.widths=[3]", "network.hidden=5")
    model = build_model(cell.settings, (1, 8, 8))
    encoder = 4 * 4 * 3 * 9 + 48 * 5 + 5 * 16
    decoder = 8 * 5 + 5 * 48 + 8 * 8 * 3 * 3 * 9 + 8 * 8 * 3 * 2 * 9
    assert multiply_adds(model, (1, 8, 8)) == (encoder + decoder, decoder)


def test_one_row_for_every_test_image(metrics: dict[str, Any], tmp_path: Path) -> None:
    with (tmp_path / "per_image.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert [row["image"] for row in rows] == [str(index) for index in range(180)]
    columns = ("nll_nats", "rate_nats", "distortion_nats", "effective_sample_size", "squared_error")
    for name in columns:
        assert np.mean([float(row[name]) for row in rows]) == pytest.approx(metrics[name], rel=1e-6)
    bits = np.array([float(row["nll_nats"]) for row in rows]) / (64 * math.log(2))
    assert metrics["bits_per_dim_se"] == pytest.approx(bits.std(ddof=1) / math.sqrt(180), rel=1e-6)


def test_evaluated_again_gives_the_same_bytes(cell: Cell, tmp_path: Path) -> None:
    for name in ("first", "again"):
        (tmp_path / name).mkdir()
        evaluate(cell, tmp_path / name)
    for name in EVALUATION_RESULTS:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_a_metric_has_noise_of_its_own(small_cell: MakeCell, cell: Cell, tmp_path: Path) -> None:
    """Leaving one metric out changes no number of another."""
    alone = small_cell(*LEARNS, "metric=[bound]", "metric.bound.samples=8")
    for name, one in (("all", cell), ("alone", alone)):
        (tmp_path / name).mkdir()
        evaluate(one, tmp_path / name)
    both = [json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("all", "alone")]
    assert both[1]["nll_nats"] == both[0]["nll_nats"]
    assert "active_units" in both[0]
    assert "active_units" not in both[1]


def test_metrics_without_a_number_an_image(small_cell: MakeCell, cell: Cell, tmp_path: Path) -> None:
    """`cell` has trained what is measured here."""
    evaluate(small_cell(*LEARNS, "metric=[latents]"), tmp_path)
    assert (tmp_path / "per_image.csv").read_text() == "image\n"


def test_the_score_opens_the_test_split_alone(
    small_cell: MakeCell, cell: Cell, tmp_path: Path, splits_opened: set[str]
) -> None:
    """`cell` has trained what is measured here."""
    evaluate(small_cell(*LEARNS, "metric=[bound,latents,reconstruction]"), tmp_path)
    assert splits_opened == {"test"}


def test_no_default_metric_opens_the_validation_split(
    small_cell: MakeCell, cell: Cell, tmp_path: Path, splits_opened: set[str]
) -> None:
    """Settings were chosen on it. What is fitted, a probe say, is fitted to the train split."""
    default = OmegaConf.load(PROJECT / "conf" / "config.yaml").defaults
    (metrics,) = [each.metric for each in default if "metric" in each]
    evaluate(small_cell(*LEARNS, f"metric=[{','.join(metrics)}]"), tmp_path)
    assert splits_opened == {"test", "train"}


def test_pictures_can_be_opened(metrics: dict[str, Any], tmp_path: Path) -> None:
    assert metrics["parameters"] > 0
    for name in ("reconstructions.png", "latents.png"):
        with Image.open(tmp_path / name) as picture:
            picture.load()
            assert min(picture.size) > 100


def test_the_trained_model_scores_validation_as_its_history_says(cell: Cell) -> None:
    """Weights, data and likelihood come back as they were in training."""
    trainer = make_trainer(cell)
    trainer.model.load_state_dict(Trained(cell).model.state_dict())
    # Scores are computed with all bits of a product, the history's were not.
    torch.set_float32_matmul_precision(cell.settings.training.matmul)
    distortion, rate = trainer._validate()
    with (cell.run_folder / "history.csv").open() as handle:
        best = max(float(row["val_elbo"]) for row in csv.DictReader(handle))
    assert -(distortion + rate) == pytest.approx(best, rel=1e-9)


def test_the_score_is_that_of_the_weights_in_the_file(small_cell: MakeCell, tmp_path: Path) -> None:
    """Sigma among them: none is fitted to the test images."""
    cell = laid_out(small_cell(*LEARNS, "likelihood=gaussian_learned"))
    evaluate(cell, tmp_path)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    model = build_model(cell.settings, cell.data.shape)
    model.load_state_dict(load_file(cell.run_folder / "model.safetensors"))
    with torch.no_grad():
        bound, noise = build_metrics(cell.settings)["bound"], generator(0, "metric", "bound")
        expected = Measured.of(bound(model, Trained(cell).data, noise)).values
    assert metrics["nll_nats"] == pytest.approx(expected["nll_nats"], rel=1e-9)


def test_damaged_weights_are_named(small_cell: Callable[..., Cell], tmp_path: Path) -> None:
    cell = small_cell("study=damaged")
    STAGES["train"].perform(cell, lambda record: None)
    weights = cell.run_folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes() + b"junk")
    with pytest.raises(SettingError, match=r"model\.safetensors is damaged"):
        evaluate(cell, tmp_path)
