"""What Pydantic refuses, in plain words: the setting, its value and what it may be."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from vae_likelihoods.errors import SettingError, nearest

_WORDS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "bool_type": lambda limits: "must be true or false",
    "dict_type": lambda limits: "must be a section with settings of its own",
    "extra_forbidden": lambda limits: "there is no such setting",
    "finite_number": lambda limits: "must be a finite number",
    "float_type": lambda limits: "must be a number",
    "greater_than": lambda limits: f"must be above {limits['gt']:g}",
    "greater_than_equal": lambda limits: f"must be at least {limits['ge']:g}",
    "int_type": lambda limits: "must be a whole number",
    "less_than": lambda limits: f"must be below {limits['lt']:g}",
    "less_than_equal": lambda limits: f"must be at most {limits['le']:g}",
    "literal_error": lambda limits: f"must be {limits['expected']}",
    "missing": lambda limits: "must be given",
    "model_type": lambda limits: "must be a section with settings of its own",
    "string_pattern_mismatch": lambda limits: (
        "may have letters a-z and A-Z, digits and . _ = , + - and must begin with a letter or a digit"
    ),
    "string_type": lambda limits: "must be a text",
}


def refused(error: ValidationError, known: Sequence[str]) -> SettingError:
    """Return the first thing that a section refused, in plain words.

    Args:
        error: of Pydantic.
        known: the keys that there are, for a key that there is not.
    """
    refusals = [(_key(refusal["loc"]), refusal) for refusal in error.errors()]
    key, first = refusals[0]
    # A union has one message for each of its branches.
    reason, *others = dict.fromkeys(_reason(refusal) for other, refusal in refusals if other == key)
    value = None if first["type"] == "missing" else first["input"]
    guesses = nearest(key, known) if first["type"] == "extra_forbidden" else []
    if guesses:
        reason = f"{reason}; did you mean {' or '.join(guesses)}?"
    return SettingError(
        key, value, ", or ".join([reason, *(other.removeprefix("must be ") for other in others)])
    )


def _reason(refusal: ErrorDetails) -> str:
    words = _WORDS.get(refusal["type"])
    return refusal["msg"].removeprefix("Input ") if words is None else words(refusal.get("ctx", {}))


def _key(path: Sequence[Any]) -> str:
    """Return the key that the user wrote; Pydantic adds the branches of unions to an error's path."""
    return ".".join(str(part) for part in path if not _is_branch(str(part)))


def _is_branch(part: str) -> bool:
    return part in ("int", "float", "str") or part.startswith(("constrained-", "literal[")) or "[" in part
