"""Another user: the superuser, as whom tests run in containers, may read and write everything."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

OTHER = 60002  # no user of the machine


@contextmanager
def ordinary() -> Iterator[None]:
    """Let this process have the rights of an ordinary user, who is not the superuser, inside the block."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(OTHER)
    try:
        yield
    finally:
        os.seteuid(before)
