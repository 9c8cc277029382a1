"""What makes two results the same: all that decides the numbers of a training or an evaluation."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch

from vae_likelihoods.cells.settings import Settings
from vae_likelihoods.store.code import Code, reached

# What computes each, by its full name: recipes lie above cells, which cannot import them.
TRAINING = ("vae_likelihoods.recipes.training.train",)
MEASUREMENT = tuple(
    f"vae_likelihoods.recipes.measuring.{name}" for name in ("measure", "write_measured", "read_measured")
)
EVALUATION = ("vae_likelihoods.recipes.evaluation.evaluate", *MEASUREMENT)
BESIDE = ("definitions", "measurements")
"""What stands in an entry's identity.json and is no part of its key."""


@dataclass(frozen=True)
class Identity:
    """All that a key is made of.

    Args:
        kind: training, evaluation, measurement or kept.
        facts: the settings, the hashes of data and weights, the version of torch.
        code: what computes the result.
        measurements: of an evaluation, the key of each metric's measurement; no part of the key.
    """

    kind: str
    facts: Mapping[str, Any]
    code: Code
    measurements: Mapping[str, str] = field(default_factory=dict)

    @property
    def content(self) -> dict[str, Any]:
        """What is hashed, see `key_of`."""
        return {"kind": self.kind, **self.facts, "code": self.code.digest}

    @cached_property
    def key(self) -> str:
        """The key of the result in the store."""
        return key_of(self.content)

    @property
    def record(self) -> dict[str, Any]:
        """What identity.json holds."""
        beside = {"definitions": dict(self.code.definitions), "measurements": dict(self.measurements)}
        return {**self.content, **{name: value for name, value in beside.items() if value}}


def key_of(content: Mapping[str, Any]) -> str:
    """Return the key of a content: a sha256 over its canonical JSON, modules of classes left out."""
    return hashlib.sha256(json.dumps(without_modules(content), sort_keys=True).encode()).hexdigest()


def content_in(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the key is made of, from the content of an identity.json."""
    return {name: value for name, value in record.items() if name not in BESIDE}


def training(settings: Settings, data: str) -> Identity:
    """Return the identity of a cell that is trained on the prepared data with this sha256."""
    learned = settings.learned
    facts = {"settings": learned, **_ground(data)}
    return Identity("training", facts, reached(*TRAINING, *targets(learned)))


def evaluation(settings: Settings, description: Mapping[str, Any], data: str, weights: str) -> Identity:
    """Return the identity of an evaluation of the weights with this sha256.

    Args:
        settings: of the cell.
        description: what the evaluation says of the cell, its name among it.
        data: sha256 of the prepared data.
        weights: sha256 of the weights.
    """
    metrics = settings.metric
    facts = {"cell": description, "metric": metrics, **_ground(data), "weights": weights}
    code = reached(*EVALUATION, *targets(metrics), *targets(settings.learned))
    keys = {metric: measurement(settings, metric, data, weights).key for metric in sorted(metrics)}
    return Identity("evaluation", facts, code, keys)


def measurement(settings: Settings, metric: str, data: str, weights: str) -> Identity:
    """Return the identity of what one metric measures on weights, whatever the study; see `evaluation`."""
    learned, own = settings.learned, settings.metric[metric]
    facts = {"settings": learned, "metric": {metric: own}, **_ground(data), "weights": weights}
    return Identity("measurement", facts, reached(*MEASUREMENT, *targets(own), *targets(learned)))


def kept(name: str, data: str, compute: Callable[..., Any]) -> Identity:
    """Return the identity of what a function makes of the prepared data with this sha256, for all cells."""
    facts = {"name": name, **_ground(data)}
    return Identity("kept", facts, reached(f"{compute.__module__}.{compute.__qualname__}"))


def targets(settings: Any) -> Iterator[str]:
    """Yield what the `_target_` lines in `settings` name, in the order of their keys."""
    if isinstance(settings, Mapping):
        if isinstance(target := settings.get("_target_"), str):
            yield target
        for _, value in sorted(settings.items()):
            yield from targets(value)
    elif isinstance(settings, list):
        for value in settings:
            yield from targets(value)


def without_modules(settings: Any) -> Any:
    """Return settings whose `_target_` lines have names alone: the code counts, not where it stands.

    Example:
        >>> without_modules({"law": {"_target_": "mypackage.laws.Cauchy", "width": 2}})
        {'law': {'_target_': 'Cauchy', 'width': 2}}
    """
    if isinstance(settings, Mapping):
        return {
            key: value.rpartition(".")[2]
            if key == "_target_" and isinstance(value, str)
            else without_modules(value)
            for key, value in settings.items()
        }
    return [without_modules(value) for value in settings] if isinstance(settings, list) else settings


def _ground(data: str) -> dict[str, Any]:
    return {"data": data, "torch": str(torch.__version__)}
