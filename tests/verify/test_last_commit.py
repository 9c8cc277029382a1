"""What `vae-likelihoods verify` refuses before it computes anything."""

from __future__ import annotations

import pytest

from vae_likelihoods.cli.app import main


def test_an_unknown_study_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "--study", "absent"]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert printed.err.startswith("verify: study=absent: is not an optional study of the last commit.")
