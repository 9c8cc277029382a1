"""What a run folder says of its model, checked before anything of it is built."""

from __future__ import annotations

import hashlib
import json
import math
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError, safe_open

from vae_likelihoods.cells.build import assembled, build
from vae_likelihoods.cells.run_files import CONFIG, MODEL, WEIGHTS
from vae_likelihoods.cells.unread import ARGUMENTS, unread
from vae_likelihoods.datasets.pictures import DECODING, Decoding
from vae_likelihoods.errors import SettingError, require
from vae_likelihoods.files import sha256
from vae_likelihoods.models.base import Model
from vae_likelihoods.precision import dtype_of
from vae_likelihoods.trained.parts import GROUPS, require_registered
from vae_likelihoods.training.checkpoints import load_weights

FORMAT = 1
# Far above what a model has (its configuration takes 1 KB), far below what is slow to read or to build.
_MOST_BYTES = 1 << 14  # of a configuration
_MOST_NESTED = 16  # lists and mappings within each other
_MOST_LISTED = 64  # entries of a list: of layers, for instance
_MOST_CHARACTERS = 1 << 8  # of a text, and of a number
_MOST_PIXELS = 1 << 26  # of an image, times channels
_NUMBERS = {"levels": (2, 256), "latent_dim": (1, math.inf), "seed": (0, math.inf)}  # least and most


@dataclass(frozen=True)
class RunFolder:
    """A folder with config.yaml, model.json and model.safetensors, whose hashes fit.

    Args:
        path: the folder.
        config: its config.yaml, as plain values.
        shape: C, H, W of its images.
        decoding: how image files became the images that it was trained on; None: the folder does not say.
    """

    path: Path
    config: Mapping[str, Any]
    shape: tuple[int, int, int]
    decoding: Decoding | None

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
        reason = f"has the format {reprlib.repr(written)}, and this version reads {FORMAT}"
        require(written == FORMAT, "folder", path, reason)
        hashes = model.get("sha256")
        for name in (CONFIG, WEIGHTS):
            right = isinstance(hashes, Mapping) and hashes.get(name) == sha256(path / name)
            require(right, "folder", path, f"its {name} was changed, or is damaged")
        shape = _shape(path, model.get("shape"))
        for key, (least, most) in _NUMBERS.items():
            value = config.get(key)
            if value is None and key == "latent_dim":  # of a model without latent variables
                continue
            limit = f"at least {least}" if most == math.inf else f"{least} .. {most}"
            fits = type(value) is int and least <= value <= most
            require(fits, key, value, f"must be a whole number, {limit}")
        return cls(path, config, shape, _decoding(path, model.get("decoding"), shape))

    @property
    def name(self) -> str:
        """Study and cell, as the configuration names them."""
        return f"{self.config.get('study')}/{self.config.get('cell')}"

    def model(self, trust: bool) -> Model:
        """Build the model and load its weights, on the CPU.

        Its size is compared with the weights before any memory is allocated for it.

        Args:
            trust: whether classes from outside this package may be imported and run.

        Raises:
            SettingError: a part is none that may be built, or the weights are those of another model.
        """
        if not trust:
            require_registered("model", self.config.get("model"))
            for group in GROUPS & self.config.keys():
                require_registered(group, self.config[group])
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

    def _built(self) -> Model:
        config, training = self.config, self.config.get("training")
        precision = training.get("precision") if isinstance(training, Mapping) else "float32"
        left_out = unread(config["model"])
        for key in ARGUMENTS:
            require(
                key in config or key in left_out, key, None, f"{CONFIG} has none, and its model needs one"
            )
        channels = self.shape[0]
        return assembled(
            config["model"],
            dtype_of(str(precision)),
            levels=config["levels"],
            shape=self.shape,
            likelihood=lambda: build(
                "likelihood", config["likelihood"], levels=config["levels"], channels=channels
            ),
            network=config.get("network", {}),
            latent_dim=config.get("latent_dim"),
        )

    def _stored_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the weights, from the header of their file."""
        try:
            with safe_open(self.path / WEIGHTS, "pt") as weights:
                return {name: tuple(weights.get_slice(name).get_shape()) for name in weights.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise SettingError("folder", self.path, f"its {WEIGHTS} is damaged ({error})") from None


def described(
    shape: tuple[int, int, int], config: str, weights: Path, prepared: Path | None = None
) -> dict[str, Any]:
    """Return the content of model.json.

    Args:
        shape: C, H, W.
        config: the text of the configuration.
        weights: their file.
        prepared: the folder of the data set, which says how its images were read from files, if they were.
    """
    hashes = {CONFIG: hashlib.sha256(config.encode()).hexdigest(), WEIGHTS: sha256(weights)}
    content = {"format": FORMAT, "shape": list(shape), "sha256": hashes}
    if prepared is not None and (prepared / DECODING).is_file():
        content["decoding"] = _mapping(prepared, DECODING, json.loads)
    return content


def _decoding(path: Path, given: Any, shape: tuple[int, int, int]) -> Decoding | None:
    if given is None:
        return None
    try:
        tuples = {key: each and tuple(each) for key, each in given.items() if key in ("size", "background")}
        decoding = Decoding(**{**given, **tuples})
    except (AttributeError, SettingError, TypeError):
        reason = f"its {MODEL} has a decoding of image files that cannot be"
        raise SettingError("folder", path, reason) from None
    fits = decoding.size in (None, shape[1:]) and shape[0] == {"grey": 1, "rgb": 3}[decoding.colour]
    reason = f"its {MODEL} has a decoding to images of another shape"
    require(fits, "folder", path, reason)
    return decoding


def _shape(path: Path, shape: Any) -> tuple[int, int, int]:
    reason = f"images of the shape {reprlib.repr(shape)} are none that are modelled"
    listed = isinstance(shape, list) and len(shape) == 3 and all(type(side) is int for side in shape)
    require(listed and min(shape) > 0 and math.prod(shape) <= _MOST_PIXELS, "folder", path, reason)
    channels, height, width = shape
    return channels, height, width


class _TooMuch(ValueError):  # noqa: N818 - reads as what is wrong
    """More than any model has; the text says of what."""


def _plain_yaml(text: str) -> Any:
    """Read YAML, of which nothing is built before all of it is known to be small.

    Raises:
        ValueError: it has aliases, with which a few lines stand for more values than there is memory; or a
            list or text is too long, or too much is nested (`_TooMuch`).
    """
    listed: list[int | None] = []  # entries of each list that is open; None: a mapping
    for event in yaml.parse(text, yaml.SafeLoader):  # one after the other: the rest is not looked at
        if isinstance(event, yaml.AliasEvent):
            raise ValueError("has aliases")
        if isinstance(event, yaml.CollectionEndEvent):
            listed.pop()
        elif isinstance(event, yaml.NodeEvent):
            if listed and (count := listed[-1]) is not None:
                listed[-1] = count + 1
                if count == _MOST_LISTED:
                    raise _TooMuch(f"has a list of more than {_MOST_LISTED} entries")
            if isinstance(event, yaml.ScalarEvent) and len(event.value) > _MOST_CHARACTERS:
                raise _TooMuch(f"has a value of {len(event.value):,} characters")
            if isinstance(event, yaml.CollectionStartEvent):
                listed.append(0 if isinstance(event, yaml.SequenceStartEvent) else None)
                if len(listed) > _MOST_NESTED:
                    raise _TooMuch(f"has more than {_MOST_NESTED} lists and mappings within each other")
    return yaml.safe_load(text)


def _mapping(path: Path, name: str, parse: Any) -> Mapping[str, Any]:
    reason = f"its {name} is damaged"
    try:
        content = parse((path / name).read_text(encoding="utf-8"))
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        content = None
        reason = f"its {name} {error}" if isinstance(error, _TooMuch) else reason
    require(isinstance(content, Mapping), "folder", path, reason)
    found: Mapping[str, Any] = content
    return found
