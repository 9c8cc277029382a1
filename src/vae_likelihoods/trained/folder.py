"""What a run folder says of its model, checked before anything of it is built."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError, safe_open

from vae_likelihoods.cells.build import build
from vae_likelihoods.cells.run_files import CONFIG, MODEL, WEIGHTS
from vae_likelihoods.errors import SettingError, require
from vae_likelihoods.files import sha256
from vae_likelihoods.models.vae import VAE
from vae_likelihoods.precision import default_dtype, dtype_of
from vae_likelihoods.trained.parts import GROUPS, require_registered
from vae_likelihoods.training.checkpoints import load_weights

FORMAT = 1
_MOST_BYTES = 1 << 18  # of a configuration
_MOST_PIXELS = 1 << 26  # of an image, times channels


@dataclass(frozen=True)
class RunFolder:
    """A folder with config.yaml, model.json and model.safetensors, whose hashes fit.

    Args:
        path: the folder.
        config: its config.yaml, as plain values.
        shape: C, H, W of its images.
    """

    path: Path
    config: Mapping[str, Any]
    shape: tuple[int, int, int]

    @classmethod
    def read(cls, path: Path) -> RunFolder:
        """Read the folder; no class is imported, and nothing is built.

        Raises:
            SettingError: a file is missing, damaged, too large, or of another format.
        """
        require(path.is_dir(), "folder", path, "there is no such folder")
        for name in (CONFIG, MODEL, WEIGHTS):
            require(
                (path / name).is_file(), "folder", path, f"has no {name}; it is no folder of a trained cell"
            )
        for name in (CONFIG, MODEL):
            size = (path / name).stat().st_size
            require(
                size <= _MOST_BYTES,
                "folder",
                path,
                f"its {name} has {size:,} bytes, more than any model needs",
            )
        model, config = _mapping(path, MODEL, json.loads), _mapping(path, CONFIG, _plain_yaml)
        written = model.get("format")
        require(
            written == FORMAT, "folder", path, f"has the format {written}, and this version reads {FORMAT}"
        )
        hashes = model.get("sha256")
        for name in (CONFIG, WEIGHTS):
            right = isinstance(hashes, Mapping) and hashes.get(name) == sha256(path / name)
            require(right, "folder", path, f"its {name} was changed, or is damaged")
        shape = _shape(path, model.get("shape"))
        for key, least in (("levels", 2), ("latent_dim", 1), ("seed", 0)):
            value = config.get(key)
            require(
                type(value) is int and value >= least, key, value, f"must be a whole number, at least {least}"
            )
        return cls(path, config, shape)

    @property
    def name(self) -> str:
        """Study and cell, as the configuration names them."""
        return f"{self.config.get('study')}/{self.config.get('cell')}"

    def model(self, trust: bool) -> VAE:
        """Build the model and load its weights, on the CPU.

        Its size is compared with the weights before any memory is allocated for it.

        Args:
            trust: whether classes from outside this package may be imported and run.

        Raises:
            SettingError: a part is none that may be built, or the weights are those of another model.
        """
        if not trust:
            for group in GROUPS:
                require_registered(group, self.config.get(group))
        try:
            with torch.device("meta"):
                expected = {name: tuple(each.shape) for name, each in self._built().state_dict().items()}
        except (ArithmeticError, MemoryError, RuntimeError) as error:
            reason = f"its model cannot be built ({' '.join(str(error).split())})"
            raise SettingError("folder", self.path, reason) from error
        found = self._stored_shapes()
        differing = sorted(name for name in expected.keys() | found if expected.get(name) != found.get(name))
        reason = f"its weights are not those of its configuration: {', '.join(differing[:3])}"
        require(not differing, "folder", self.path, reason)
        model = self._built()
        load_weights(self.path / WEIGHTS, model)
        return model.eval()

    def _built(self) -> VAE:
        config, training = self.config, self.config.get("training")
        precision = training.get("precision") if isinstance(training, Mapping) else "float32"
        dtype, levels, channels = dtype_of(str(precision)), config["levels"], self.shape[0]
        with default_dtype(dtype):
            likelihood = build("likelihood", config["likelihood"], levels=levels, channels=channels)
            sizes = {"latent_dim": config["latent_dim"], "output_channels": likelihood.output_channels}
            networks = build("network", config["network"], shape=self.shape, **sizes)
            given = {"networks": networks, "likelihood": likelihood, "latent_dim": config["latent_dim"]}
            model: VAE = build("model", config["model"], **given)
        return model.to(dtype)

    def _stored_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the weights, from the header of their file."""
        try:
            with safe_open(self.path / WEIGHTS, "pt") as weights:
                return {name: tuple(weights.get_slice(name).get_shape()) for name in weights.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise SettingError("folder", self.path, f"its {WEIGHTS} is damaged ({error})") from None


def described(shape: tuple[int, int, int], config: str, weights: Path) -> dict[str, Any]:
    """Return the content of model.json for a configuration's text and a file of weights."""
    hashes = {CONFIG: hashlib.sha256(config.encode()).hexdigest(), WEIGHTS: sha256(weights)}
    return {"format": FORMAT, "shape": list(shape), "sha256": hashes}


def _shape(path: Path, shape: Any) -> tuple[int, int, int]:
    reason = f"images of the shape {shape} are none that are modelled"
    listed = isinstance(shape, list) and len(shape) == 3 and all(type(side) is int for side in shape)
    require(listed and min(shape) > 0 and math.prod(shape) <= _MOST_PIXELS, "folder", path, reason)
    channels, height, width = shape
    return channels, height, width


def _plain_yaml(text: str) -> Any:
    """Read YAML without aliases, with which a few lines stand for more values than there is memory."""
    if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)):
        raise ValueError("has aliases")
    return yaml.safe_load(text)


def _mapping(path: Path, name: str, parse: Any) -> Mapping[str, Any]:
    try:
        content = parse((path / name).read_text(encoding="utf-8"))
    except (ValueError, yaml.YAMLError, RecursionError):
        content = None
    require(isinstance(content, Mapping), "folder", path, f"its {name} is damaged")
    found: Mapping[str, Any] = content
    return found
