"""Models that fit themselves, or give p(x) directly, through the recipes: files, resuming, numbers."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import CONF
from recipes.test_training import KilledError, contents, killed_after, nothing
from vae_likelihoods.cells.cell import Cell
from vae_likelihoods.cells.unread import unread
from vae_likelihoods.errors import SettingError
from vae_likelihoods.recipes.measuring import Trained
from vae_likelihoods.recipes.training import make_trainer, train
from vae_likelihoods.sweeps.stages import STAGES
from vae_likelihoods.trained.loading import load
from vae_likelihoods.training.trainer import NonFiniteLossError

MakeCell = Callable[..., Cell]
MODELS = sorted(path.stem for path in (CONF / "model").glob("*.yaml"))
SMALLER = {
    "made": ["model.hidden=[8]"],
    "mixture": ["model.components=3"],
    "pixelcnn": ["model.maps=4", "model.layers=1"],
}


def words(model: str, *further: str) -> list[str]:
    epochs = "training.epochs=3"
    return [f"model={model}", "levels=2", "likelihood=bernoulli", epochs, *SMALLER.get(model, []), *further]


def performed(cell: Cell) -> Cell:
    for stage in STAGES.values():
        stage.perform(cell, nothing)
    return cell


@pytest.mark.parametrize("model", MODELS)
def test_training_is_resumed_bit_for_bit(small_cell: MakeCell, tmp_path: Path, model: str) -> None:
    cell = small_cell(*words(model))
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    names = train(cell, whole, nothing)
    with (whole / "history.csv").open() as handle:
        epochs = len(list(csv.DictReader(handle)))
    for stop in range(1, epochs):
        with pytest.raises(KilledError):
            train(cell, parts, killed_after(stop))
    assert train(cell, parts, nothing) == names
    assert contents(parts, names) == contents(whole, names)


@pytest.mark.parametrize("model", MODELS)
def test_what_is_evaluated_is_what_a_loaded_model_says(
    small_cell: MakeCell, prepared_root: Path, tmp_path: Path, model: str
) -> None:
    (tmp_path / "data").symlink_to(prepared_root / "data")
    metrics = "metric=[bound,completion,generalisation,latents,baselines]", "metric.bound.samples=8"
    cell = performed(small_cell(*words(model, *metrics), root=tmp_path))
    found = json.loads((cell.evaluation_folder / "metrics.json").read_text())
    loaded = load(cell.run_folder, device="cpu")
    test = Trained(cell).data.test.images
    bits = loaded.bits_per_dim(test, samples=8)
    assert float(bits.double().mean()) == pytest.approx(found["bits_per_dim"], rel=1e-5)
    assert found["score_is"] == ("exact" if loaded.exact else "lower bound")
    assert (found["model"], found["likelihood"]) == (model, cell.settings.family)
    assert found["latent_dim"] == loaded.latent_dim
    latent = "latent_dim" not in unread(cell.settings.model)
    assert ("rate_nats" in found.get("missing", {})) == (not latent)
    assert ("active_units" in found.get("missing", {})) == (not latent)
    assert found["parameters"] == loaded.model.parameter_count
    assert 0 < found["completion_bits"] < 2
    assert loaded.sample(3).shape == (3, 1, 8, 8)
    if not latent:
        with pytest.raises(SettingError, match="has no latent variables"):
            loaded.encode(test)


def test_pixels_by_themselves_score_as_the_baseline_of_every_cell(
    small_cell: MakeCell, prepared_root: Path, tmp_path: Path
) -> None:
    (tmp_path / "data").symlink_to(prepared_root / "data")
    cell = performed(small_cell("model=independent", "metric=[bound,baselines]", root=tmp_path))
    found = json.loads((cell.evaluation_folder / "metrics.json").read_text())
    assert found["bits_per_dim"] == pytest.approx(found["independent_pixels_bits_per_dim"], rel=1e-6)
    assert found["epochs"] == 1
    assert "warmup_share" not in found


def test_fewer_train_images_are_a_part_of_more(small_cell: MakeCell) -> None:
    seen = {}
    for count in (20, 50):
        trainer = make_trainer(small_cell("model=independent", f"training.images={count}"))
        seen[count] = {image.numpy().tobytes() for image in trainer.train(1)}
        assert len(trainer.train(1)) == count
        data = Trained(small_cell("model=independent", f"training.images={count}")).data
        assert torch.equal(data.train.images, trainer.train(1))
    assert seen[20] <= seen[50]
    with pytest.raises(SettingError, match=r"training\.images=1000000: the train split has"):
        small_cell("training.images=1000000")


def test_a_level_that_no_image_has_is_impossible_and_said_so(small_cell: MakeCell, tmp_path: Path) -> None:
    cell = small_cell("model=independent", "model.smoothing=0", "training.images=2")
    with pytest.raises(NonFiniteLossError, match=r"the model fits itself: change model\.smoothing"):
        train(cell, tmp_path, nothing)


@pytest.mark.parametrize("model", ["independent", "ppca"])
def test_a_model_that_fits_itself_does_not_depend_on_the_seed(small_cell: MakeCell, model: str) -> None:
    trainers = [make_trainer(small_cell(*words(model, f"seed={seed}"))) for seed in (0, 1)]
    for trainer in trainers:
        for _ in trainer.epochs():
            pass
    first, second = (trainer.model.state_dict() for trainer in trainers)
    for name, weights in first.items():
        np.testing.assert_array_equal(weights.numpy(), second[name].numpy())
    assert all(math.isfinite(record.val_elbo) for record in trainers[0].records)
