"""What Hydra and OmegaConf refuse, in one line each: the setting, and what to write instead."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import hydra
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import (
    CompactHydraException,
    ConfigCompositionException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vae_likelihoods.errors import SettingError, UnavailableError, nearest
from vae_likelihoods.files import PROJECT, shown

_HYDRA, _OWN = Path(hydra.__file__).parent, Path(__file__).parent
_NO_SETTING = "there is no such setting"
_UNREADABLE = (
    "cannot be read; put quotes inside the shell's around a value with spaces, brackets or letters"
    """ beyond a-z, such as 'study="a b"'"""
)
_NO_VALUE = "has no value: write key=value"
_SEVERAL = "several values: add -m to sweep over them, or write key=[a,b] for a list"
_GROUP = "a group of conf/ is set to the name of one of its YAML files, such as likelihood=bernoulli"


def refusal(error: Exception) -> SettingError | None:
    """Return what an error of a composition means; None if it is none, or needs no other words."""
    text = str(error)
    if isinstance(error, SettingError):
        return None
    if isinstance(error, MissingConfigException) and "/" in str(error.missing_cfg_file):
        return _missing_file(error)
    if isinstance(error, OverrideParseException):
        return SettingError("", error.override, _UNREADABLE if "=" in error.override else _NO_VALUE)
    if isinstance(error, ConfigCompositionException) and (key := re.match(r"Could not \w+ '([^']+)'", text)):
        return SettingError("", key[1], _NO_SETTING, nearest(key[1], known_keys()))
    if isinstance(error, ConfigCompositionException) and (value := re.match(r"Ambiguous.*'(.+)'", text)):
        return SettingError("", value[1], _SEVERAL)
    if text.startswith("Config group override must be"):
        return SettingError("", "overrides", _GROUP)
    if isinstance(error, OmegaConfBaseException):
        return SettingError("", error.full_key or "configuration", _first_line(text))
    return SettingError("", "configuration", _first_line(text)) if _is_long(error) else None


def _is_long(error: Exception) -> bool:
    """Whether it is an error of Hydra itself with further lines, which list what it tried."""
    return type(error).__module__.startswith("hydra.") and "\n" in str(error).strip()


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]


def _missing_file(error: MissingConfigException) -> SettingError:
    """Return which YAML of a group is missing, and which are there."""
    group, _, name = str(error.missing_cfg_file or "").rpartition("/")
    there = error.options or [path.stem for path in sorted((PROJECT / "conf" / group).glob("*.yaml"))]
    return SettingError(group, name, f"there is no conf/{group}/{name}.yaml", there)


def known_keys() -> list[str]:
    """Return all keys of the default configuration."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(PROJECT / "conf"), version_base="1.3"):
        config = compose("config")
    return list(_keys(OmegaConf.to_container(config, resolve=False)))


def _keys(node: Any, prefix: str = "") -> Iterable[str]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield f"{prefix}{key}"
            yield from _keys(value, f"{prefix}{key}.")


def in_one_line(error: Exception) -> str | None:
    """Return the one line that says all about an error which data or settings caused; None for any other."""
    if isinstance(error, OSError) and not isinstance(error, MissingConfigException):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}" if error.strerror else None
    meant = refusal(error)
    if meant is None and not isinstance(error, CompactHydraException | UnavailableError):
        if not _of_composition(error):
            return None
        meant = SettingError("", "configuration", f"cannot be composed ({type(error).__name__}: {error})")
    return shown(" ".join(str(meant or error).split()))


def _of_composition(error: Exception) -> bool:
    """Return whether Hydra raised an error on its own, before or beside any code of this project."""
    files = [frame.f_code.co_filename for frame, _ in traceback.walk_tb(error.__traceback__)]
    hydras = [place for place, file in enumerate(files) if Path(file).is_relative_to(_HYDRA)]
    return bool(hydras) and not any(Path(file).is_relative_to(_OWN) for file in files[hydras[0] :])
