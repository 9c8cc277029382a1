"""What a machine lacks is a failure of the tests of faults, unless it is known."""

from __future__ import annotations

import pytest

from needs import missing


def test_what_is_missing_fails_unless_it_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SKIP_MISSING", raising=False)
    with pytest.raises(pytest.fail.Exception, match="needs a cluster; SKIP_MISSING=yes"):
        missing("needs a cluster")
    monkeypatch.setenv("SKIP_MISSING", "yes")
    with pytest.raises(pytest.skip.Exception, match="needs a cluster"):
        missing("needs a cluster")
