"""What a composed configuration may say: names, types and ranges."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from omegaconf import DictConfig, OmegaConf
from pydantic import BeforeValidator, Field, ValidationError

from vae_likelihoods.cells.unread import ARGUMENTS, MAXIMUM_LIKELIHOOD, unread
from vae_likelihoods.cells.words import refused
from vae_likelihoods.errors import SettingError
from vae_likelihoods.files import PROJECT
from vae_likelihoods.likelihoods.base import SEARCH
from vae_likelihoods.training.schedule import TrainingSettings
from vae_likelihoods.training.sections import Count, Section

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.=,+-]*$")]


def _none_if_empty(value: Any) -> Any:
    """Take a variable that is set, but empty, for one that is not set, as most programs do."""
    return None if value == "" else value


Place = Annotated[str | None, BeforeValidator(_none_if_empty)]


class Runtime(Section):
    """Where and how fast; nothing that changes what is learned."""

    device: Literal["auto", "cpu", "cuda", "mps"]
    threads: Count
    processes: Count
    cells_per_gpu: Count
    cells_at_once: Count | Literal["auto"]
    checkpoint_seconds: Annotated[float, Field(ge=0)]
    root: Place
    store: Place

    @property
    def folder(self) -> Path:
        """The folder that holds data/, runs/, evaluations/, .cells/ and logs/."""
        return PROJECT if self.root is None else Path(self.root).expanduser().absolute()

    @property
    def cell_store(self) -> Path:
        """The folder of all that was computed, by key."""
        return self.folder / ".cells" if self.store is None else Path(self.store).expanduser().absolute()

    @property
    def torch_device(self) -> torch.device:
        """The device to train on.

        Raises:
            SettingError: if the device asked for is not there.
        """
        there = available_devices()
        if self.device != "auto" and self.device not in there:
            raise SettingError("device", self.device, "is not on this machine", ["auto", *there])
        device = torch.device(there[0] if self.device == "auto" else self.device)
        if self.processes > 1 and (reason := cannot_join(device.type, self.processes)):
            raise SettingError("processes", self.processes, reason)
        return device

    @property
    def parallel(self) -> int:
        """How many cells run at once."""
        if self.cells_at_once != "auto":
            return self.cells_at_once
        kind = self.torch_device.type
        if kind == "cuda":
            return max(1, torch.cuda.device_count() * self.cells_per_gpu // self.processes)
        return max(1, cores() // (self.threads * self.processes)) if kind == "cpu" else 1


class Tracking(Section):
    """Where MLflow is; see conf/tracking."""

    uri: Place


class Settings(Section):
    """A whole resolved configuration. The groups that name a class stay plain mappings."""

    study: Name
    cell: Name | None
    dataset: dict[str, Any]
    levels: Annotated[int, Field(ge=2, le=256)]
    binarize: Literal["threshold", "stochastic"]
    latent_dim: Count | None
    seed: Annotated[int, Field(ge=0)]
    likelihood: dict[str, Any]  # this and the next ones are empty where the model does not read them
    model: dict[str, Any]
    network: dict[str, Any]
    objective: dict[str, Any]
    optimizer: dict[str, Any]
    training: TrainingSettings
    metric: dict[str, dict[str, Any]]
    tracking: Tracking
    runtime: Runtime
    names: dict[str, str]
    tuned: list[str] = Field(default_factory=list)
    search: dict[str, Any] = Field(default_factory=dict)

    @property
    def learned(self) -> dict[str, Any]:
        """The settings that change a cell's numbers, as plain data."""
        ignored = unread(self.model)
        left_out = {*NOT_LEARNED, *(key for key in ignored if key != "objective")}
        learned = {key: value for key, value in self.model_dump().items() if key not in left_out}
        training = learned["training"].items()
        learned["training"] = {key: value for key, value in training if f"training.{key}" not in ignored}
        return learned

    @property
    def flat(self) -> dict[str, Any]:
        """The same, one value for each key as Hydra names it; a part has the name of its YAML, or class.

        `likelihood` is the family: a model that gives p(x) directly stands there, beside the likelihoods.
        """
        flat = {key: self.names.get(key, value) for key, value in _flat(self.learned)}
        return {**flat, "likelihood": self.family}

    @property
    def family(self) -> str:
        """What is compared with other latent sizes: the likelihood of a VAE, or another model and its own."""
        ignored = unread(self.model)
        model = [self.names["model"]] if ignored.intersection(ARGUMENTS) else []
        return "-".join([*model, *([] if "likelihood" in ignored else [self.names["likelihood"]])])

    @property
    def latents(self) -> int:
        """The size of z; 0 for a model without latent variables."""
        return self.latent_dim or 0


# What a run is called, where its data lie (their hash counts instead), how it is measured, where it runs.
NOT_LEARNED = ("study", "cell", "names", "dataset", "metric", "tracking", "runtime", "tuned", "search")


def read(config: DictConfig) -> Settings:
    """Check a composed configuration.

    Raises:
        SettingError: naming the first key whose value cannot be, and what could.
    """
    try:
        content: dict[str, Any] = dict(OmegaConf.to_container(config, resolve=True))  # type: ignore[arg-type]
        if isinstance(likelihood := content.get("likelihood"), dict):
            content["search"] = likelihood.pop(SEARCH, {})
        settings = Settings.model_validate(_with_unread(content))
    except ValidationError as error:
        raise refused(error, list(Settings.model_fields)) from None
    return _without_unread(settings)


def _with_unread(content: dict[str, Any]) -> dict[str, Any]:
    """Return the content with what a cell's config.yaml leaves out, as its model does not read it."""
    ignored = unread(model) if isinstance(model := content.get("model"), dict) else frozenset()
    missing: dict[str, Any] = {key: {} for key in ignored if "." not in key}
    if "latent_dim" in missing:
        missing["latent_dim"] = None
    filled = {**missing, **content}
    if isinstance(training := content.get("training"), dict):
        usual: Any = OmegaConf.to_container(OmegaConf.load(PROJECT / "conf/training/default.yaml"))
        unused = {key: value for key, value in usual.items() if f"training.{key}" in ignored}
        filled["training"] = {**unused, **training}
    return filled


def _without_unread(settings: Settings) -> Settings:
    """Return the settings without what their model does not read."""
    ignored = unread(settings.model)
    if settings.latent_dim is None and "latent_dim" not in ignored:
        raise SettingError("latent_dim", None, "must be a whole number") from None
    empty: dict[str, Any] = {key: {} for key in ignored if isinstance(getattr(settings, key, None), dict)}
    if "latent_dim" in ignored:
        empty["latent_dim"] = None
    if "objective" in ignored:
        empty["objective"] = dict(MAXIMUM_LIKELIHOOD)
    if "likelihood" in ignored:
        empty["search"] = {}
    names = {key: name for key, name in settings.names.items() if key not in ignored}
    return settings.model_copy(update={**empty, "names": names})


def _flat(settings: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, value) of nested settings; a mapping with a `_target_` also yields its last name."""
    for key, value in settings.items():
        if key == "_target_":
            yield prefix.removesuffix("."), str(value).rpartition(".")[2]
        elif key.startswith("_"):  # says how a part is built
            continue
        elif isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def cores() -> int:
    """Return how many CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cannot_join(kind: str, processes: int) -> str | None:
    """Return why `processes` processes cannot train one cell on such a device; None if they can."""
    if kind == "mps":
        return "on mps a cell is trained by one process"
    gpus = torch.cuda.device_count() if kind == "cuda" else processes
    return f"needs a GPU each, and {gpus} are visible" if gpus < processes else None


def available_devices() -> list[str]:
    """Return the kinds of device of this machine, the fastest first."""
    cuda = ["cuda"] if torch.cuda.is_available() else []
    mps = ["mps"] if torch.backends.mps.is_available() else []
    return [*cuda, *mps, "cpu"]
