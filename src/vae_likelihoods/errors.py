"""The one way to refuse a setting: name the key, the value and what would have been accepted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hydra.errors import CompactHydraException


class SettingError(CompactHydraException, ValueError):
    """A setting that cannot work; Hydra prints it as one line, without a traceback.

    Args:
        key: the configuration key as the user writes it, such as ``training.epochs``.
        value: what was given.
        reason: why it is refused, or what is accepted.
        choices: the values that would do, if they can be listed.
    """

    def __init__(self, key: str, value: Any, reason: str, choices: Iterable[Any] = ()) -> None:
        self.key, self.value, self.reason, self.choices = key, value, reason, list(choices)
        listed = f" Choices: {', '.join(map(str, self.choices))}." if self.choices else ""
        super().__init__(f"{key}={value}: {reason.removesuffix('.')}.{listed}")

    def __reduce__(self) -> tuple[Any, ...]:
        # Errors travel from a worker to the driver as pickles.
        return type(self), (self.key, self.value, self.reason, self.choices)


def require(condition: bool, key: str, value: Any, reason: str, choices: Iterable[Any] = ()) -> None:
    """Raise `SettingError` unless `condition` holds."""
    if not condition:
        raise SettingError(key, value, reason, choices)


def require_count(key: str, value: Any, least: int = 1) -> None:
    """Raise `SettingError` unless `value` is a whole number, `least` or more."""
    require(type(value) is int and value >= least, key, value, f"must be a whole number, at least {least}")
