"""The parts of a model that a folder may name: classes and functions of this package, of the right kind.

A folder may come from anywhere. So a name is never imported as it stands: it must lie in the package of its
group, be defined there, and be what the group is made of. Nothing else of the configuration is built.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Collection, Mapping
from typing import Any

from vae_likelihoods.errors import SettingError, require
from vae_likelihoods.likelihoods.base import Likelihood
from vae_likelihoods.likelihoods.laws.base import Law
from vae_likelihoods.models.base import Model
from vae_likelihoods.networks.base import Networks

_PACKAGE = "vae_likelihoods"
_NAME = re.compile(r"[a-z]\w*(\.[a-z]\w*)*\.[A-Za-z]\w*", re.ASCII)
GROUPS: dict[str, type] = {"likelihood": Likelihood, "model": Model, "network": Networks}
_LARGEST = 2**40  # a whole number that a part may be given
_ROOMS = {"likelihood": "likelihoods", "model": "models", "network": "networks", "law": "likelihoods.laws"}


def require_registered(group: str, node: Any) -> None:
    """Refuse a part of a configuration that names anything but what the group is made of.

    Args:
        group: ``likelihood``, ``model`` or ``network``.
        node: the part: `_target_`, and numbers, texts and lists of them; a likelihood may have a law, and a
            base, which is a likelihood with a law at most.

    Raises:
        SettingError: names the key, and says what to do if the folder is trusted.
    """
    _require_part(group, group, node, ("law", "base") if group == "likelihood" else ())


def _require_part(group: str, path: str, node: Any, parts: Collection[str], partial: bool = False) -> None:
    """Refuse a part, and the parts that it has at the keys `parts`; it has none at others."""
    require(isinstance(node, Mapping) and "_target_" in node, path, node, "names no class")
    _require_defined(group, f"{path}._target_", node["_target_"])
    for key, value in node.items():
        place = f"{path}.{key}"
        if key in parts and key == "law":
            _require_part("law", place, value, ())
        elif key in parts:
            _require_part("likelihood", place, value, ("law",), partial=True)
        elif not (partial and key == "_partial_" and value is True):
            _require_plain(place, key, value)


def _require_defined(group: str, path: str, target: Any) -> None:
    room = f"{_PACKAGE}.{_ROOMS[group]}"
    reason = f"is no {group} of this package, and code that a folder names is not run"
    untrusted = f"{reason}; load it with trust=True if you trust it"
    named = isinstance(target, str) and _NAME.fullmatch(target) is not None and target.startswith(f"{room}.")
    require(named, path, target, untrusted)
    module, _, name = target.rpartition(".")
    try:
        found = vars(importlib.import_module(module)).get(name)
    except ImportError:
        found = None
    require(getattr(found, "__module__", None) == module and _is_of(group, found), path, target, untrusted)


def _is_of(group: str, found: Any) -> bool:
    """Return whether an object is a class of the group, or a function that returns one."""
    if group == "network":
        return (
            inspect.isfunction(found)
            and inspect.signature(found, eval_str=True).return_annotation is Networks
        )
    kind = Law if group == "law" else GROUPS[group]
    return inspect.isclass(found) and issubclass(found, kind) and not inspect.isabstract(found)


def _require_plain(path: str, key: str, value: Any) -> None:
    """Refuse keys that Hydra would act on, nested parts, and texts that OmegaConf would evaluate."""
    require(key == "_target_" or not str(key).startswith("_"), path, value, "is no setting of a model")
    for each in value if isinstance(value, list) else [value]:
        plain = each is None or type(each) in (bool, int, float, str)
        if not plain or (isinstance(each, str) and "${" in each):
            raise SettingError(path, value, "must be a number, a text, or a list of them")
        small = type(each) is not int or abs(each) <= _LARGEST
        require(small, path, value, "is larger than any setting of a model")
