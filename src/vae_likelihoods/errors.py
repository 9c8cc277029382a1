"""The one way to refuse a setting: name the key, the value and what would have been accepted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any, Self

from hydra.errors import CompactHydraException


class SettingError(CompactHydraException, ValueError):
    """A setting that cannot work; it is shown as one line, without a traceback.

    A part names its own argument; who builds the part adds where that stands in the configuration (`under`).

    Args:
        key: the argument, such as ``epochs``; empty: the part as a whole.
        value: what was given.
        reason: why it is refused, or what is accepted.
        choices: the values that would do, if they can be listed; those that are written nearly like `value`
            are asked for first.
    """

    def __init__(self, key: str, value: Any, reason: str, choices: Iterable[Any] = ()) -> None:
        self.key, self.value, self.reason, self.choices = key, value, reason, list(choices)
        guesses = nearest(str(value), self.choices)
        meant = f" Did you mean {' or '.join(guesses)}?" if guesses and str(value) not in guesses else ""
        listed = f" Choices: {', '.join(map(str, self.choices))}." if len(self.choices) > len(guesses) else ""
        subject = f"{key}={value}" if key else str(value)
        end = "" if reason.endswith((".", "?")) else "."
        super().__init__(f"{subject}: {reason}{end}{meant}{listed}")

    def __reduce__(self) -> tuple[Any, ...]:
        # Errors travel from a worker to the driver as pickles.
        return type(self), (self.key, self.value, self.reason, self.choices)

    def renamed(self, key: str) -> Self:
        """Return the same error of another key."""
        return type(self)(key, self.value, self.reason, self.choices)

    def within(self, path: str) -> Self:
        """Return the same error of the part at `path` of the configuration.

        Example:
            >>> str(SettingError("scale", -1, "must be positive").within("likelihood.law"))
            'likelihood.law.scale=-1: must be positive.'
        """
        return self.renamed(f"{path}.{self.key}" if self.key else path)


class UnavailableError(RuntimeError):
    """What a part needs is not on this machine: a package, a program, a service."""


@contextmanager
def under(path: str) -> Iterator[None]:
    """Add `path` to what a part refuses inside the block.

    Raises:
        SettingError: with the whole key.
    """
    try:
        yield
    except SettingError as error:
        raise error.within(path) from error.__cause__


def nearest(name: str, names: Iterable[Any]) -> list[str]:
    """Return up to three of the names that are written nearly like `name`, the nearest first.

    Example:
        >>> nearest("gausssian", ["bernoulli", "gaussian"])
        ['gaussian']
    """
    return get_close_matches(name, [str(each) for each in names], cutoff=0.7)


def require(condition: bool, key: str, value: Any, reason: str, choices: Iterable[Any] = ()) -> None:
    """Raise `SettingError` unless `condition` holds."""
    if not condition:
        raise SettingError(key, value, reason, choices)


def require_count(key: str, value: Any, least: int = 1) -> None:
    """Raise `SettingError` unless `value` is a whole number, `least` or more."""
    require(type(value) is int and value >= least, key, value, f"must be a whole number, at least {least}")
