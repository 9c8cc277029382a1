"""What tests of faults need and pip cannot install: programs of the system, and rights."""

from __future__ import annotations

import os
from typing import Never

import pytest


def missing(what: str) -> Never:
    """Fail for want of `what`; skip only where the user says that this is known: SKIP_MISSING=yes."""
    if os.environ.get("SKIP_MISSING") == "yes":
        pytest.skip(what)
    pytest.fail(f"{what}; SKIP_MISSING=yes skips what cannot be had")
