"""A cell: its checked settings, its data, its key and the places of its files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from vae_likelihoods.cells import identity
from vae_likelihoods.cells.build import (
    build_likelihood,
    build_metrics,
    build_model,
    build_objective,
    build_optimizer,
    defaults_of,
)
from vae_likelihoods.cells.identity import Identity, without_modules
from vae_likelihoods.cells.run_files import CONFIG, WEIGHTS
from vae_likelihoods.cells.settings import Settings, read
from vae_likelihoods.datasets.prepared import PreparedDataset
from vae_likelihoods.datasets.quantise import check_levels
from vae_likelihoods.errors import SettingError, require, under
from vae_likelihoods.files import PROJECT, sha256
from vae_likelihoods.precision import home_of_float64
from vae_likelihoods.store.entry import Entry


@dataclass(frozen=True)
class Cell:
    """One training run: a checked configuration and the data that it names."""

    settings: Settings

    @classmethod
    def of(cls, config: DictConfig) -> Cell:
        """Check a composed configuration as a whole, build its parts once, and read no image.

        Raises:
            SettingError: if anything in it cannot be, or its data set is not prepared.
        """
        cell = cls(read(config))
        cell.check()
        return cell

    def check(self) -> None:
        """Build the parts once, and read no image.

        Raises:
            SettingError: if anything in the settings cannot be, or the data set is not prepared.
        """
        try:
            self._build_once()
        except SettingError as error:
            raise self._in_the_users_words(error) from None

    def _build_once(self) -> None:
        settings = self.settings
        with under("runtime"):
            device = settings.runtime.torch_device
        precision = settings.training.precision
        possible = precision != "float64" or home_of_float64(device) == device
        reason = f"{device.type} has no float64; set runtime.device=cpu, or another precision"
        require(possible, "training.precision", precision, reason, ["float32", "bfloat16"])
        build_objective(settings)
        build_metrics(settings)
        if settings.likelihood:
            build_likelihood(settings, channels=1)
        check_levels(self.data.native_levels, settings.levels, settings.binarize)
        with torch.device("meta"):
            model = build_model(settings, self.data.shape)
            build_optimizer(settings, model)
        count, asked = self.data.count("train"), settings.training.images
        require(asked is None or asked <= count, "training.images", asked, f"the train split has {count}")
        several = settings.runtime.processes
        reason = "is for an optimiser's steps; this model fits itself, in one process"
        require(several == 1 or not model.fits_itself, "runtime.processes", several, reason)

    def _in_the_users_words(self, error: SettingError) -> SettingError:
        """Show the settings of a part that could not be built, not the name of its class."""
        node = getattr(self.settings, error.key, None)
        if not isinstance(node, dict) or error.value != node.get("_target_"):
            return error
        own = {key: value for key, value in node.items() if not key.startswith("_")}
        for key, default in defaults_of(node["_target_"]).items():
            if key in own and not _alike(own[key], default):
                return SettingError(f"{error.key}.{key}", own[key], f"must be like {default}")
        # Torch's optimisers end with the value that they refuse.
        meant = [key for key, value in own.items() if error.reason.endswith(f": {value}")]
        if len(meant) == 1:
            reason = error.reason.removesuffix(f": {own[meant[0]]}")
            return SettingError(f"{error.key}.{meant[0]}", own[meant[0]], reason, error.choices)
        return SettingError(error.key, own, error.reason, error.choices)

    @classmethod
    def laid_out(cls, folder: Path, root: Path) -> Cell:
        """Read the cell of a folder `runs/<study>/<cell>`, without the settings that change no number.

        The folder says which study and cell it is: people copy and rename folders.

        Raises:
            SettingError: if its config.yaml is not one that this version wrote.
        """
        learned = OmegaConf.to_container(OmegaConf.load(folder / CONFIG))
        runtime = {**OmegaConf.load(PROJECT / "conf/runtime/default.yaml"), "root": str(root)}
        rest: dict[str, Any] = {"dataset": {}, "metric": {}, "tracking": {"uri": None}, "runtime": runtime}
        rest |= {"study": folder.parent.name, "cell": folder.name}
        return cls(read(OmegaConf.create({**learned, **rest})))  # type: ignore[dict-item]

    @property
    def name(self) -> str:
        """The cell's name in its study."""
        s = self.settings
        latents = [] if s.latent_dim is None else [s.latent_dim]
        return s.cell or "-".join(map(str, [s.family, *latents, s.seed]))

    def named(self, name: str, study: str | None = None) -> Cell:
        """Return the same cell under another name, and in another study if one is given."""
        return Cell(self.settings.model_copy(update={"cell": name, "study": study or self.study}))

    @property
    def study(self) -> str:
        """The study that the cell belongs to."""
        return self.settings.study

    @cached_property
    def data(self) -> PreparedDataset:
        """The prepared data set; opening it reads its manifest only."""
        return PreparedDataset(self.root / "data" / "prepared" / self.settings.names["dataset"])

    @property
    def root(self) -> Path:
        """The folder of all results."""
        return self.settings.runtime.folder

    @property
    def run_folder(self) -> Path:
        """Where the trained cell is laid out."""
        return self.root / "runs" / self.study / self.name

    @property
    def evaluation_folder(self) -> Path:
        """Where the evaluated cell is laid out."""
        return self.root / "evaluations" / self.study / self.name

    def entry(self, key: str) -> Entry:
        """Return the store's entry for `key`."""
        return Entry(self.settings.runtime.cell_store / key)

    @cached_property
    def training_identity(self) -> Identity:
        """All that decides the numbers of the trained cell."""
        return identity.training(self.settings, self.data.sha256)

    @property
    def key(self) -> str:
        """The key of the trained cell."""
        return self.training_identity.key

    @property
    def trained(self) -> Entry:
        """The store's entry for training."""
        return self.entry(self.key)

    @cached_property
    def evaluation_identity(self) -> Identity:
        """All that decides the numbers of the evaluated cell: the weights as they lie in runs/, among them.

        Raises:
            SettingError: if the cell was not trained, or with other settings.
        """
        self.check_trained()
        return self.evaluation_of(self.weights)

    def evaluation_of(self, weights: str) -> Identity:
        """Return all that decides the numbers of an evaluation of the weights with this sha256."""
        return identity.evaluation(self.settings, self.description(), self.data.sha256, weights)

    def measurement_of(self, metric: str, weights: str) -> Identity:
        """Return all that decides what one metric measures on the weights with this sha256."""
        return identity.measurement(self.settings, metric, self.data.sha256, weights)

    @property
    def evaluated(self) -> Entry:
        """The store's entry for evaluation."""
        return self.entry(self.evaluation_identity.key)

    @cached_property
    def weights(self) -> str:
        """The sha256 of the weights as they lie in runs/."""
        return sha256(self.run_folder / WEIGHTS)

    def description(self) -> dict[str, Any]:
        """Return the cell's config.yaml: what was learned on what, under the names of the YAMLs."""
        settings = self.settings
        tuned = {"tuned": settings.tuned} if settings.tuned else {}
        return {"study": self.study, "cell": self.name, "names": settings.names, **tuned, **settings.learned}

    def otherwise_trained(self) -> list[tuple[str, Any, Any]]:
        """Return (key, there, here) for each setting that differs in the training that lies in runs/.

        Raises:
            SettingError: if its config.yaml is damaged.
        """
        path = self.run_folder / CONFIG
        try:
            trained = OmegaConf.to_container(OmegaConf.load(path))
        except (OSError, ValueError, YAMLError, OmegaConfBaseException) as error:
            reason = f"{path} is damaged ({type(error).__name__}); remove its folder"
            raise SettingError("cell", self.name, reason) from None
        return differences(*map(without_modules, (trained, self.description())))

    def check_trained(self) -> None:
        """Refuse to evaluate what was not trained, or was trained otherwise."""
        where = f"runs/{self.study}/{self.name}"
        command = "train it with `.venv/bin/python pipelines/train.py` and the settings of evaluate"
        if not (self.run_folder / CONFIG).exists():
            raise SettingError("cell", self.name, f"{where} does not exist; {command}")
        if differing := self.otherwise_trained():
            key, there, here = differing[0]
            reason = f"{where} was trained with {key}={there}, this configuration says {here}; {command}"
            raise SettingError("cell", self.name, reason)


def differences(left: Any, right: Any, prefix: str = "") -> list[tuple[str, Any, Any]]:
    """Return (key, left value, right value) wherever two nested mappings differ."""
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        keys = sorted({*left, *right}, key=str)
        return [
            difference
            for key in keys
            for difference in differences(left.get(key), right.get(key), f"{prefix}.{key}".lstrip("."))
        ]
    return [] if left == right else [(prefix, left, right)]


def _alike(value: Any, default: Any) -> bool:
    """Return whether a setting has the kind of its default: a number, or as many of them.

    Example:
        >>> _alike(0.1, 1e-3), _alike("", 1e-3), _alike([0.9], (0.9, 0.999))
        (True, False, False)
    """
    if isinstance(default, tuple):
        return isinstance(value, list) and len(value) == len(default) and all(map(_alike, value, default))
    number = isinstance(default, int | float) and not isinstance(default, bool)
    return not number or isinstance(value, int | float)
