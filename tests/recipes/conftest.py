"""What the tests of both recipes need."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest


@pytest.fixture
def splits_opened(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The splits of which numpy has opened a file since the test began."""
    opened: set[str] = set()
    load = np.load

    def spy(path: Path, *args: Any, **kwargs: Any) -> Any:
        opened.add(Path(path).name.split("_")[0])
        return load(path, *args, **kwargs)

    monkeypatch.setattr(np, "load", spy)
    return opened
