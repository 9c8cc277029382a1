"""Weights and checkpoints: they return the same bytes, and a damaged state is never accepted."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from families import learned_gaussian
from training_settings import training
from vae_likelihoods.models.vae import VAE
from vae_likelihoods.networks.conv import conv
from vae_likelihoods.objectives.elbo import ELBO
from vae_likelihoods.seeding import generator, seeded
from vae_likelihoods.training.checkpoints import Checkpoint, load_weights, save_weights
from vae_likelihoods.training.trainer import Trainer

SETTINGS = training(epochs=3, batch_size=16, evaluation_batch_size=16, warmup_steps=2, clip_norm=1.0)


def model(seed: int = 0) -> VAE:
    with seeded(seed, "weights"):
        return VAE(conv((1, 5, 5), 2, 1, widths=[3], hidden=4), learned_gaussian(9, 1), 2)


def trainer(seed: int = 0) -> Trainer:
    images = torch.randint(9, (32, 1, 5, 5), generator=generator(0, "i"), dtype=torch.uint8)
    vae = model(seed)
    adam = torch.optim.Adam(vae.parameters(), lr=1e-2)
    return Trainer(vae, ELBO(1.0, 0), adam, SETTINGS, lambda epoch: images, images[:8], seed)


def after(epochs: int) -> Trainer:
    trained = trainer()
    for _, _ in zip(range(epochs), trained.epochs(), strict=False):
        pass
    return trained


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A checkpoint after the second epoch."""
    path = tmp_path / "checkpoint.pt"
    Checkpoint(path, every_seconds=0).save(after(2))
    return path


def untouched(restored: Trainer) -> bool:
    fresh = trainer()
    same = save(restored.model.state_dict()) == save(fresh.model.state_dict())
    return same and restored.epoch == 0 and restored.records == [] and restored.best_epoch == 0


def test_weights_come_back_bit_for_bit(tmp_path: Path) -> None:
    original, other = model(0), model(1)
    save_weights(tmp_path / "w.safetensors", original.state_dict())
    assert save(other.state_dict()) != save(original.state_dict())
    load_weights(tmp_path / "w.safetensors", other)
    assert save(other.state_dict()) == save(original.state_dict())


def test_bytes_of_weights_do_not_depend_on_the_name_of_the_file(tmp_path: Path) -> None:
    for name in ("a.safetensors", "another-name.bin"):
        save_weights(tmp_path / name, model().state_dict())
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "another-name.bin").read_bytes()


def test_weights_that_are_no_contiguous_memory(tmp_path: Path) -> None:
    save_weights(tmp_path / "w", {"a": torch.arange(6.0).reshape(2, 3).T})
    save_weights(tmp_path / "v", {"a": torch.arange(6.0).reshape(2, 3).T.contiguous()})
    assert (tmp_path / "w").read_bytes() == (tmp_path / "v").read_bytes()


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    save_weights(tmp_path / "w", {"something": torch.zeros(2)})
    with pytest.raises(RuntimeError, match="Missing key"):
        load_weights(tmp_path / "w", model())


def test_training_goes_on_from_the_file(file: Path) -> None:
    whole, resumed = after(3), trainer()
    assert Checkpoint(file, 0).restore(resumed)
    assert resumed.epoch == 2
    for _ in resumed.epochs():
        pass
    assert resumed.records == whole.records
    assert save(resumed.model.state_dict()) == save(whole.model.state_dict())


def test_no_file_means_from_the_start(tmp_path: Path) -> None:
    restored = trainer()
    assert not Checkpoint(tmp_path / "absent", 0).restore(restored)
    assert untouched(restored)


@pytest.mark.parametrize("where", [0, 20, 0.1, 0.3, 0.5, 0.7, 0.9, -1])
def test_a_changed_byte_anywhere_means_from_the_start(file: Path, where: float) -> None:
    content = bytearray(file.read_bytes())
    content[int(where * len(content)) if isinstance(where, float) else where] ^= 0x10
    file.write_bytes(content)
    restored = trainer()
    assert not Checkpoint(file, 0).restore(restored)
    assert untouched(restored)
    assert not file.exists()  # it is not read a second time


@pytest.mark.parametrize("length", [0, 10, 32, 1000])
def test_a_truncated_file_means_from_the_start(file: Path, length: int) -> None:
    file.write_bytes(file.read_bytes()[:length])
    restored = trainer()
    assert not Checkpoint(file, 0).restore(restored)
    assert untouched(restored)


def test_a_checkpoint_is_written_at_most_every_so_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("vae_likelihoods.training.checkpoints.time.monotonic", lambda: now[0])
    checkpoint, trained = Checkpoint(tmp_path / "c", every_seconds=10), after(1)
    written = []
    for seconds in (100.0, 109.0, 110.0, 119.9, 121.0):
        now[0] = seconds
        (tmp_path / "c").unlink(missing_ok=True)
        checkpoint.save(trained)
        written.append((tmp_path / "c").exists())
    assert written == [False, False, True, False, True]


def test_a_checkpoint_holds_no_name_or_place(file: Path, tmp_path: Path) -> None:
    """The same state gives the same bytes under another name."""
    Checkpoint(tmp_path / "elsewhere.bin", 0).save(after(2))
    assert (tmp_path / "elsewhere.bin").read_bytes() == file.read_bytes()
