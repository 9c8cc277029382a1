"""What makes two training runs the same: identities, keys and the places of their files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from vae_likelihoods.cells.build import (
    build_likelihood,
    build_metrics,
    build_model,
    build_objective,
    build_optimizer,
)
from vae_likelihoods.cells.settings import Settings, read
from vae_likelihoods.datasets.prepared import PreparedDataset
from vae_likelihoods.datasets.quantise import check_levels
from vae_likelihoods.errors import SettingError
from vae_likelihoods.files import PROJECT, sha256
from vae_likelihoods.store import code as sources
from vae_likelihoods.store.entry import Entry

TRAINING_CORE = ("vae_likelihoods.recipes.training",)
EVALUATION_CORE = ("vae_likelihoods.recipes.evaluation",)
MEASURING_CORE = ("vae_likelihoods.recipes.measuring",)


RECORDS = ("modules", "measurements")
"""What stands beside the identity in an entry's identity.json and is no part of its key."""


def identity_in(recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the key is made of, from the content of an identity.json."""
    return {name: value for name, value in recorded.items() if name not in RECORDS}


def key_of(identity: Mapping[str, Any]) -> str:
    """Return the key of an identity: a sha256 over its canonical JSON."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def targets(settings: Any) -> list[str]:
    """Return the first-party modules that the `_target_` lines in `settings` name."""
    if not isinstance(settings, Mapping):
        return []
    named = settings.get("_target_", "")
    mine = [named.rpartition(".")[0]] if named.startswith(sources.PACKAGE) else []
    return mine + [module for value in settings.values() for module in targets(value)]


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
        try:
            cell._build_once()
        except SettingError as error:
            raise cell._in_the_users_words(error) from None
        return cell

    def _build_once(self) -> None:
        settings = self.settings
        settings.runtime.torch_device  # noqa: B018 - refuses a device that is not there
        build_objective(settings)
        build_metrics(settings)
        build_likelihood(settings, channels=1)
        check_levels(self.data.native_levels, settings.levels, settings.binarize)
        with torch.device("meta"):
            build_optimizer(settings, build_model(settings, self.data.shape))

    def _in_the_users_words(self, error: SettingError) -> SettingError:
        """Show the settings of a part that could not be built, not the name of its class."""
        node = getattr(self.settings, error.key, None)
        if not isinstance(node, dict) or error.value != node.get("_target_"):
            return error
        given = {key: value for key, value in node.items() if not key.startswith("_")}
        return SettingError(error.key, given, error.reason, error.choices)

    @classmethod
    def laid_out(cls, folder: Path, root: Path) -> Cell:
        """Read the cell of a folder `runs/<study>/<cell>`, without the settings that change no number.

        Raises:
            SettingError: if its config.yaml is not one that this version wrote.
        """
        found = OmegaConf.to_container(OmegaConf.load(folder / "config.yaml"))
        runtime = {**OmegaConf.load(PROJECT / "conf/runtime/default.yaml"), "root": str(root)}
        rest = {"dataset": {}, "metric": {}, "tracking": {"uri": None}, "runtime": runtime}
        return cls(read(OmegaConf.create({**found, **rest})))  # type: ignore[dict-item]

    @property
    def name(self) -> str:
        """The cell's name in its study."""
        s = self.settings
        return s.cell or f"{s.names['likelihood']}-{s.latent_dim}-{s.seed}"

    def named(self, name: str) -> Cell:
        """Return the same cell under another name."""
        return Cell(self.settings.model_copy(update={"cell": name}))

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

    def store(self, key: str) -> Entry:
        """Return the store's entry for `key`."""
        return Entry(self.settings.runtime.cell_store / key)

    @cached_property
    def training_modules(self) -> list[str]:
        """The modules whose code decides the numbers of the trained cell."""
        return sources.closure([*TRAINING_CORE, *targets(self.settings.learned)])

    @cached_property
    def evaluation_modules(self) -> list[str]:
        """The modules whose code decides the numbers of the evaluated cell."""
        named = [*targets(self.settings.metric), *targets(self.settings.learned)]
        return sources.closure([*EVALUATION_CORE, *named])

    def measuring_modules(self, metric: str) -> list[str]:
        """The modules whose code decides what one metric measures."""
        named = [*targets(self.settings.metric[metric]), *targets(self.settings.learned)]
        return sources.closure([*MEASURING_CORE, *named])

    @cached_property
    def training_identity(self) -> dict[str, Any]:
        """All that decides the numbers of the trained cell."""
        return {
            "settings": self.settings.learned,
            "data": self.data.sha256,
            "torch": str(torch.__version__),
            "source": sources.digest(self.training_modules),
        }

    @cached_property
    def key(self) -> str:
        """The key of the trained cell."""
        return key_of(self.training_identity)

    @property
    def trained(self) -> Entry:
        """The store's entry for training."""
        return self.store(self.key)

    @cached_property
    def evaluation_identity(self) -> dict[str, Any]:
        """All that decides the numbers of the evaluated cell: the weights as they lie in runs/, among them.

        Raises:
            SettingError: if the cell was not trained, or with other settings.
        """
        self.check_trained()
        return self.evaluation_of(sha256(self.run_folder / "model.safetensors"))

    def evaluation_of(self, weights: str) -> dict[str, Any]:
        """Return the identity of an evaluation of the weights with this sha256."""
        return {
            "cell": self.description(),
            "metric": self.settings.metric,
            "data": self.data.sha256,
            "weights": weights,
            "torch": str(torch.__version__),
            "source": sources.digest(self.evaluation_modules),
        }

    @property
    def evaluated(self) -> Entry:
        """The store's entry for evaluation."""
        return self.store(key_of(self.evaluation_identity))

    def measurement_of(self, metric: str, weights: str) -> dict[str, Any]:
        """Return the identity of what one metric measures on the weights with this sha256, in any study."""
        return {
            "settings": self.settings.learned,
            "metric": {metric: self.settings.metric[metric]},
            "data": self.data.sha256,
            "weights": weights,
            "torch": str(torch.__version__),
            "source": sources.digest(self.measuring_modules(metric)),
        }

    def measurement(self, metric: str) -> dict[str, Any]:
        """Return the identity of what one metric measures on the weights that lie in runs/."""
        return self.measurement_of(metric, self.evaluation_identity["weights"])

    def description(self) -> dict[str, Any]:
        """Return the cell's config.yaml: what was learned on what, under the names of the YAMLs."""
        return {"study": self.study, "cell": self.name, "names": self.settings.names, **self.settings.learned}

    def check_trained(self) -> None:
        """Refuse to evaluate what was not trained, or was trained otherwise."""
        where = f"runs/{self.study}/{self.name}"
        command = "train it with pipelines/train.py and the very settings that evaluate gets"
        path = self.run_folder / "config.yaml"
        if not path.exists():
            raise SettingError("cell", self.name, f"{where} does not exist; {command}")
        found = OmegaConf.to_container(OmegaConf.load(path))
        differing = differences(found, self.description())
        if differing:
            key, there, here = differing[0]
            reason = f"{where} was trained with {key}={there}, this configuration says {here}; {command}"
            raise SettingError("cell", self.name, reason)


def differences(left: Any, right: Any, prefix: str = "") -> list[tuple[str, Any, Any]]:
    """Return (key, left value, right value) wherever two nested mappings differ."""
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        keys = sorted({*left, *right}, key=str)
        return [
            found
            for key in keys
            for found in differences(left.get(key), right.get(key), f"{prefix}.{key}".lstrip("."))
        ]
    return [] if left == right else [(prefix, left, right)]
