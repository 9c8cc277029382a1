"""What a configuration may say: each value that cannot be is refused with its key and itself."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from command_line import parse
from vae_likelihoods.cells.settings import Settings, available_devices, cores, read
from vae_likelihoods.errors import SettingError
from vae_likelihoods.files import PROJECT
from vae_likelihoods.sweeps.studies import runtime


@pytest.fixture(scope="module")
def composed(configuration: Callable[..., DictConfig]) -> DictConfig:
    """The default configuration, composed once."""
    return configuration()


def changed(config: DictConfig, key: str, value: object) -> DictConfig:
    copy = OmegaConf.create(OmegaConf.to_container(config))
    OmegaConf.update(copy, key, value, force_add=True)
    return copy


def test_the_default_configuration_is_read(composed: DictConfig) -> None:
    settings = read(composed)
    assert settings.study == "scratch"
    assert settings.levels == 256
    assert settings.training.epochs >= 1
    assert settings.names["likelihood"] == "beta_binomial"


REFUSED = [
    ("latent_dim", 0),
    ("latent_dim", -2),
    ("latent_dim", "abc"),
    ("latent_dim", 1.5),
    ("latent_dim", True),
    ("latent_dim", None),
    ("training.epochs", 0),
    ("training.epochs", -1),
    ("training.epochs", "abc"),
    ("training.batch_size", 0),
    ("training.evaluation_batch_size", 0),
    ("training.warmup_steps", -1),
    ("training.clip_norm", 0.0),
    ("training.clip_norm", float("nan")),
    ("training.clip_norm", "abc"),
    ("training.patience", 0),
    ("training.keep", "first"),
    ("training.precision", "float16"),
    ("training.schedule", "linear"),
    ("training.grid_epochs", 0),
    ("training.momentum", 0.9),
    ("seed", -1),
    ("seed", "abc"),
    ("levels", 1),
    ("levels", 300),
    ("levels", 2.0),
    ("binarize", "maybe"),
    ("study", "a/b"),
    ("study", ".."),
    ("study", ""),
    ("study", "a b"),
    ("study", "a\n"),
    ("cell", "a/b"),
    ("cell", ".hidden"),
    ("runtime.threads", 0),
    ("runtime.threads", "many"),
    ("runtime.device", "tpu"),
    ("runtime.cells_at_once", 0),
    ("runtime.cells_at_once", "abc"),
    ("runtime.checkpoint_seconds", -1.0),
    ("runtime.root", 3),
    ("tracking.uri", 3),
    ("lattent_dim", 3),
    ("likelihood", "bernoulli"),
]


@pytest.mark.parametrize(("key", "value"), REFUSED, ids=lambda part: repr(part))
def test_what_cannot_be_is_refused_with_its_key_and_value(
    composed: DictConfig, key: str, value: object
) -> None:
    with pytest.raises(SettingError) as caught:
        read(changed(composed, key, value))
    assert str(caught.value).startswith(f"{key}={value}: ")
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__  # one line, and not Pydantic's


ACCEPTED = [
    ("latent_dim", 1),
    ("levels", 2),
    ("seed", 0),
    ("seed", 2**40),
    ("training.clip_norm", None),
    ("training.clip_norm", 1),
    ("training.patience", None),
    ("training.patience", 5),
    ("training.precision", "bfloat16"),
    ("study", "a.b-c_D=1,2+3"),
    ("cell", None),
    ("runtime.cells_at_once", 3),
    ("runtime.cells_at_once", "auto"),
    ("runtime.checkpoint_seconds", 0),
]


@pytest.mark.parametrize(("key", "value"), ACCEPTED, ids=lambda part: repr(part))
def test_what_can_be_is_taken(composed: DictConfig, key: str, value: object) -> None:
    setting: object = read(changed(composed, key, value))
    for part in key.split("."):
        setting = getattr(setting, part)
    assert setting == value


@pytest.mark.parametrize("key", ["training.epochs", "levels", "runtime"])
def test_what_is_missing_is_named(composed: DictConfig, key: str) -> None:
    values = OmegaConf.to_container(composed)
    *groups, last = key.split(".")
    inner = values
    for group in groups:
        inner = inner[group]
    del inner[last]
    with pytest.raises(SettingError, match=rf"^{key}=None: must be given"):
        read(OmegaConf.create(values))


def test_every_branch_of_a_choice_is_named_once(composed: DictConfig) -> None:
    with pytest.raises(SettingError) as caught:
        read(changed(composed, "runtime.cells_at_once", "many"))
    assert caught.value.key == "runtime.cells_at_once"
    assert str(caught.value).endswith(": must be a whole number, or 'auto'.")


NEVER_LEARNED = [
    *("study", "cell", "names.network", "dataset.split_seed", "metric.bound.samples"),
    *("runtime.threads", "runtime.device", "runtime.root", "tracking.uri"),
]


@pytest.mark.parametrize("key", NEVER_LEARNED)
def test_names_and_places_are_not_learned(composed: DictConfig, key: str) -> None:
    value = {"runtime.threads": 7, "runtime.device": "cuda"}.get(key, "other")
    other = read(changed(composed, key, value))
    assert other != read(composed)
    assert other.learned == read(composed).learned


LEARNED = [
    ("seed", 5),
    ("levels", 17),
    ("binarize", "stochastic"),
    ("latent_dim", 3),
    ("likelihood.concentration", 3.0),
    ("network.hidden", [3]),
    ("objective.beta", 0.5),
    ("optimizer.lr", 0.5),
    ("training.epochs", 3),
    ("training.evaluation_batch_size", 3),
    ("training.keep", "last"),
    ("training.schedule", "stages"),
]


@pytest.mark.parametrize(("key", "value"), LEARNED)
def test_what_changes_numbers_is_learned(composed: DictConfig, key: str, value: object) -> None:
    assert read(changed(composed, key, value)).learned != read(composed).learned


def test_settings_are_read_only(composed: DictConfig) -> None:
    settings: Settings = read(composed)
    with pytest.raises(ValueError, match="frozen"):
        settings.seed = 3


def test_the_folder_of_results(composed: DictConfig, tmp_path: Path) -> None:
    assert read(composed).runtime.folder == PROJECT
    assert (PROJECT / "conf" / "config.yaml").is_file()
    assert read(changed(composed, "runtime.root", str(tmp_path))).runtime.folder == tmp_path
    assert read(changed(composed, "runtime.root", "~/x")).runtime.folder == Path.home() / "x"
    assert read(changed(composed, "runtime.root", "here")).runtime.folder == Path.cwd() / "here"


def test_device_auto_is_the_fastest_there_is(composed: DictConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vae_likelihoods.cells.settings.available_devices", lambda: ["mps", "cpu"])
    assert read(changed(composed, "runtime.device", "auto")).runtime.torch_device == torch.device("mps")
    assert read(changed(composed, "runtime.device", "cpu")).runtime.torch_device == torch.device("cpu")
    with pytest.raises(SettingError, match=r"^device=cuda: .* Choices: auto, mps, cpu\.$"):
        _ = read(changed(composed, "runtime.device", "cuda")).runtime.torch_device


def test_the_cpu_is_always_there() -> None:
    assert available_devices()[-1] == "cpu"
    assert 1 <= cores() <= (os.cpu_count() or 1)


@pytest.mark.parametrize(
    ("device", "threads", "expected"), [("cpu", 1, 8), ("cpu", 3, 2), ("cpu", 100, 1), ("cuda", 1, 1)]
)
def test_cells_at_once(
    composed: DictConfig, monkeypatch: pytest.MonkeyPatch, device: str, threads: int, expected: int
) -> None:
    """As many as cores allow on a CPU; one on a GPU unless told."""
    monkeypatch.setattr("vae_likelihoods.cells.settings.cores", lambda: 8)
    monkeypatch.setattr("vae_likelihoods.cells.settings.available_devices", lambda: ["cuda", "cpu"])
    config = changed(changed(composed, "runtime.device", device), "runtime.threads", threads)
    assert read(config).runtime.parallel == expected
    assert read(changed(config, "runtime.cells_at_once", 5)).runtime.parallel == 5


def test_an_empty_variable_counts_as_not_set(
    configuration: Callable[..., DictConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAE_LIKELIHOODS_STORE", "")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    settings = read(configuration("dataset=digits", "runtime.root="))
    assert settings.runtime.cell_store == PROJECT / ".cells"
    assert settings.tracking.uri is None
    assert runtime(PROJECT / "elsewhere").cell_store == PROJECT / "elsewhere" / ".cells"
    folder = parse(["cells", "pull", "/x"])["store"]
    assert folder == PROJECT / ".cells"
