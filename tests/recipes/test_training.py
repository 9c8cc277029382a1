"""Training a cell on real digits: its files, and that they are the same after any interruption."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from vae_likelihoods.cells.cell import Cell
from vae_likelihoods.cells.run_files import TRAINING_RESULTS
from vae_likelihoods.recipes.training import make_trainer, train
from vae_likelihoods.training.trainer import EpochRecord, NonFiniteLossError
from vae_likelihoods.units.declaration import from_plain

MakeCell = Callable[..., Cell]


class KilledError(BaseException):
    """Takes the place of a signal, because nothing catches it."""


def nothing(record: EpochRecord) -> None:
    pass


def contents(folder: Path, names: list[str]) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in names}


def all_files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "history.csv").open() as handle:
        return list(csv.DictReader(handle))


def killed_after(epoch: int) -> Callable[[EpochRecord], None]:
    def raise_after(record: EpochRecord) -> None:
        if record.epoch == epoch:
            raise KilledError

    return raise_after


def test_it_writes_exactly_the_files_it_returns_and_timings(small_cell: MakeCell, tmp_path: Path) -> None:
    records: list[EpochRecord] = []
    names = train(small_cell(), tmp_path, records.append)
    grids = {
        f"grids/{what}-{epoch:04d}.png" for what in ("samples", "reconstructions") for epoch in (0, 1, 2)
    }
    assert set(names) == {*TRAINING_RESULTS, *grids}
    assert len(names) == len(set(names))
    assert all_files(tmp_path) == {*names, "timings.csv"}
    assert [record.epoch for record in records] == [1, 2]


def test_history_has_a_row_for_each_epoch_with_learned_parameters(
    small_cell: MakeCell, tmp_path: Path
) -> None:
    records: list[EpochRecord] = []
    train(small_cell("likelihood=gaussian_learned"), tmp_path, records.append)
    history = rows(tmp_path)
    assert [row["epoch"] for row in history] == ["1", "2"]
    for row, record in zip(history, records, strict=True):
        assert float(row["val_elbo"]) == record.val_elbo
        assert float(row["scale"]) == record.shared["scale"]
        assert "shared" not in row
    assert float(history[1]["val_elbo"]) > float(history[0]["val_elbo"])


@pytest.mark.parametrize(
    ("overrides", "trained"),
    [
        (("likelihood=binomial",), "nats per image (mass, train, D=64, K=17, k=1)"),
        (
            ("likelihood=gaussian_learned", "likelihood.trained_on=density"),
            "nats per image (density, train, D=64, K=17, k=1)",
        ),
        (
            ("likelihood=gaussian_learned", "likelihood.trained_on=mass", "levels=5"),
            "nats per image (mass, train, D=64, K=5, k=1)",
        ),
        (
            ("likelihood=gaussian", "likelihood.trained_on=density", "objective=iwae", "objective.samples=3"),
            "nats per image (density, train, D=64, K=17, k=3)",
        ),
    ],
    ids=["mass", "density", "trained_on", "iwae"],
)
def test_every_column_of_the_history_is_declared_and_what_is_measured_has_a_unit(
    small_cell: MakeCell, tmp_path: Path, overrides: tuple[str, ...], trained: str
) -> None:
    records: list[EpochRecord] = []
    train(small_cell("training.epochs=1", *overrides), tmp_path, records.append)
    declared = from_plain(json.loads((tmp_path / "columns.json").read_text()))
    assert declared.keys() == rows(tmp_path)[0].keys()
    assert next(iter(declared)) == "val_bits_per_dim"
    units = {name: str(each.unit) for name, each in declared.items() if each.unit}
    others = {"epoch", "learning_rate", "rate_weight", "best_epoch"}
    assert units.keys() == declared.keys() - others
    rest = trained.partition("train")[2].rpartition(", k=")[0]
    for name in records[0].shared:
        assert units.pop(name) == f"parameter of the model (train{rest})"
    assert units.pop("train_rate") == f"nats per image (train{rest})"
    assert units.pop("val_rate") == f"nats per image (validation{rest})"
    assert units.pop("val_bits_per_dim") == f"bits per dimension (mass, validation{rest}, k=1)"
    scored = f"nats per image (mass, validation{rest}, k=1)"
    assert (units.pop("val_elbo"), units.pop("val_distortion")) == (scored, scored)
    assert set(units.values()) == {trained}


def test_weights_are_those_of_the_best_epoch(small_cell: MakeCell, tmp_path: Path) -> None:
    """It stops after the first epoch that is not better, so the last epoch is not the best."""
    fast = ("optimizer.lr=0.3", "training.schedule=constant", "training.warmup_steps=0")
    cell = small_cell("training.precision=float64", "training.epochs=60", "training.patience=1", *fast)
    train(cell, tmp_path, nothing)
    trainer = make_trainer(cell)
    for _ in trainer.epochs():
        pass
    assert trainer.best_epoch == trainer.epoch - 1 < 59
    weights = load_file(tmp_path / "model.safetensors")
    assert weights.keys() == trainer.kept_weights.keys()
    assert all(torch.equal(weights[name], trainer.kept_weights[name]) for name in weights)
    last = trainer.model.state_dict()
    assert not all(torch.equal(weights[name], last[name]) for name in weights)


def test_pictures_are_grids_of_digits(small_cell: MakeCell, tmp_path: Path) -> None:
    train(small_cell(), tmp_path, nothing)
    side = 2 * (8 * (8 + 2) - 2)
    for name in ("samples.png", "reconstructions.png", "grids/samples-0001.png"):
        with Image.open(tmp_path / name) as picture:
            assert picture.size == (side, side)
            assert np.asarray(picture).std() > 1


@pytest.mark.parametrize(
    "overrides",
    [
        ("likelihood=bernoulli", "levels=2", "binarize=stochastic"),
        ("likelihood=gaussian_learned", "objective=iwae", "objective.samples=2", "network=linear"),
    ],
    ids=["stochastic", "iwae"],
)
def test_killed_and_resumed_gives_the_same_bytes(
    small_cell: MakeCell, tmp_path: Path, overrides: tuple[str, ...]
) -> None:
    cell = small_cell("training.epochs=4", "training.patience=3", *overrides)
    whole = tmp_path / "whole"
    names = train(cell, whole, nothing)
    for epoch in (1, 2, 4):
        resumed = tmp_path / f"resumed-{epoch}"
        with pytest.raises(KilledError):
            train(cell, resumed, killed_after(epoch))
        assert (resumed / "checkpoint.pt").exists()
        epochs: list[EpochRecord] = []
        assert sorted(train(cell, resumed, epochs.append)) == sorted(names)
        assert len(epochs) == 4 - epoch
        assert contents(resumed, names) == contents(whole, names)
        assert not (resumed / "checkpoint.pt").exists()


def test_a_cell_with_a_damaged_checkpoint_starts_again(small_cell: MakeCell, tmp_path: Path) -> None:
    cell = small_cell()
    names = train(cell, tmp_path / "whole", nothing)
    with pytest.raises(KilledError):
        train(cell, tmp_path / "damaged", killed_after(1))
    path = tmp_path / "damaged" / "checkpoint.pt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10  # in the weights
    path.write_bytes(content)
    epochs: list[EpochRecord] = []
    train(cell, tmp_path / "damaged", epochs.append)
    assert [record.epoch for record in epochs] == [1, 2]
    assert contents(tmp_path / "damaged", names) == contents(tmp_path / "whole", names)
    timings = (tmp_path / "damaged" / "timings.csv").read_text().splitlines()
    assert [line.partition(",")[0] for line in timings] == ["epoch", "1", "1", "2"]


def test_a_half_written_file_of_a_killed_process_is_no_result(small_cell: MakeCell, tmp_path: Path) -> None:
    (tmp_path / "grids").mkdir()
    (tmp_path / "grids" / ".samples-0001.png.0a1b2c3d.png").write_bytes(b"half")
    names = train(small_cell(), tmp_path, nothing)
    assert not [name for name in names if "0a1b2c3d" in name]


def test_other_seeds_give_other_weights(small_cell: MakeCell, tmp_path: Path) -> None:
    for seed in (0, 1):
        train(small_cell(f"seed={seed}"), tmp_path / str(seed), nothing)
    for name in ("model.safetensors", "history.csv", "samples.png"):
        assert (tmp_path / "0" / name).read_bytes() != (tmp_path / "1" / name).read_bytes()


def test_the_test_split_is_not_read(small_cell: MakeCell, prepared_root: Path, tmp_path: Path) -> None:
    shutil.copytree(prepared_root / "data" / "prepared", tmp_path / "data" / "prepared")
    for path in (tmp_path / "data" / "prepared" / "digits").glob("test_*"):
        path.unlink()
    cell = small_cell(root=tmp_path)
    names = train(cell, tmp_path / "without", nothing)
    train(small_cell(), tmp_path / "with", nothing)
    assert contents(tmp_path / "without", names) == contents(tmp_path / "with", names)


def test_only_train_and_validation_images_are_opened(
    small_cell: MakeCell, tmp_path: Path, splits_opened: set[str]
) -> None:
    train(small_cell(), tmp_path, nothing)
    assert splits_opened == {"train", "validation"}


def test_a_loss_that_is_not_finite_leaves_no_weights(small_cell: MakeCell, tmp_path: Path) -> None:
    advice = (
        r"epoch 1.* is (inf|nan|-inf); lower optimizer.lr \(now 1e\+30\) or training.clip_norm \(now 100000\)"
    )
    with pytest.raises(NonFiniteLossError, match=advice):
        train(small_cell("optimizer.lr=1e30", "training.warmup_steps=0"), tmp_path, nothing)
    assert "model.safetensors" not in all_files(tmp_path)


def test_global_generator_is_left_alone(small_cell: MakeCell, tmp_path: Path) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    train(small_cell(), tmp_path, nothing)
    assert torch.equal(torch.get_rng_state(), before)
