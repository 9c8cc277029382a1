"""The one error that refuses a setting."""

from __future__ import annotations

import math
import pickle
from typing import Any

import pytest
from hydra.errors import CompactHydraException

from vae_likelihoods.errors import SettingError, require, require_count
from vae_likelihoods.likelihoods.base import UnsupportedLevels


def test_message_names_key_value_reason_and_choices() -> None:
    error = SettingError("levels", 1, "too few.", choices=[2, 256])
    assert str(error) == "levels=1: too few. Choices: 2, 256."
    assert str(SettingError("levels", 1, "too few")) == "levels=1: too few."


def test_hydra_prints_it_as_one_line() -> None:
    assert issubclass(SettingError, CompactHydraException)
    assert "\n" not in str(SettingError("a.b", "x", "no", ["y"]))


def test_it_is_a_value_error() -> None:
    assert issubclass(SettingError, ValueError)


@pytest.mark.parametrize("kind", [SettingError, UnsupportedLevels])
def test_it_travels_between_processes(kind: type[SettingError]) -> None:
    error = kind("levels", 1, "too few", iter([2, 256]))
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert str(again) == str(error)
    assert (again.key, again.value, again.choices) == ("levels", 1, [2, 256])


def test_require() -> None:
    require(True, "key", 0, "never seen")
    with pytest.raises(SettingError, match=r"^key=0: seen\. Choices: 1\.$"):
        require(False, "key", 0, "seen", [1])


@pytest.mark.parametrize(("value", "least"), [(1, 1), (0, 0), (10**9, 1)])
def test_counts(value: int, least: int) -> None:
    require_count("key", value, least)


@pytest.mark.parametrize("value", [0, -1, 1.0, 2.5, True, "3", None, math.nan])
def test_what_is_no_count(value: Any) -> None:
    with pytest.raises(SettingError, match="must be a whole number, at least 1"):
        require_count("key", value)
