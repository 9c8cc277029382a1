"""Which settings of a configuration its model does not read: what its class takes says it.

They are no part of what was learned: not of the key, not of the cell's name, not of config.yaml. So an axis
that a model does not read gives one cell, and no value of it can seem to matter.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import cache
from typing import Any

from hydra._internal.utils import _locate

ARGUMENTS = {"network": "networks", "likelihood": "likelihood", "latent_dim": "latent_dim"}
"""The settings that a model may leave unread, and the argument of its class that stands for each."""

OF_STEPS = ("batch_size", "schedule", "warmup_steps", "clip_norm", "matmul")
"""The settings of training that only an optimiser's steps read."""

MAXIMUM_LIKELIHOOD = {
    "_target_": "vae_likelihoods.objectives.maximum_likelihood.MaximumLikelihood",
}
"""The objective where there is none to choose."""


def unread(model: Mapping[str, Any]) -> frozenset[str]:
    """Return the keys that the model of a configuration does not read, such as ``network``.

    Without latent variables, or an optimiser, there is no objective to choose: it is maximum likelihood.

    Example:
        >>> sorted(unread({"_target_": "vae_likelihoods.models.made.MADE"}))
        ['latent_dim', 'network', 'objective']
    """
    return _unread(str(model.get("_target_")))


@cache
def _unread(target: str) -> frozenset[str]:
    try:
        kind = _locate(target)
        arguments = inspect.signature(kind).parameters
    except Exception:  # `build` refuses it later, and says why
        return frozenset()
    own = {key for key, argument in ARGUMENTS.items() if argument not in arguments}
    alone = getattr(kind, "fits_itself", False)
    objective = {"objective"} if alone or "latent_dim" in own else set()
    steps = {"optimizer", *(f"training.{key}" for key in OF_STEPS)} if alone else set()
    return frozenset(own | objective | steps)
