"""What the report's stage depends on: a record for each default study, which changes with its evaluations."""

from __future__ import annotations

from pathlib import Path

import pytest

from vae_likelihoods.errors import SettingError
from vae_likelihoods.report.evaluated import FOLDER, keep, record


def evaluate(folder: Path, study: str, text: str) -> None:
    (folder / study / "cell").mkdir(parents=True, exist_ok=True)
    (folder / study / "cell" / "metrics.json").write_text(text)


def test_a_record_changes_with_any_file_of_its_study_alone(tmp_path: Path) -> None:
    evaluate(tmp_path, "mine", "1")
    before = record(tmp_path, "mine").read_bytes()
    evaluate(tmp_path, "yours", "1")
    assert record(tmp_path, "mine").read_bytes() == before
    evaluate(tmp_path, "mine", "2")
    assert record(tmp_path, "mine").read_bytes() != before


def test_records_of_studies_that_are_gone_go_too(tmp_path: Path) -> None:
    for study in ("mine", "yours", "a.b"):
        evaluate(tmp_path, study, "1")
        record(tmp_path, study)
    keep(tmp_path, ["mine", "a.b"])
    assert sorted(path.name for path in (tmp_path / FOLDER).iterdir()) == ["a.b.json", "mine.json"]
    keep(tmp_path / "absent", [])


def test_nothing_evaluated_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"^study=mine: nothing is in .*; run evaluate@mine first\.$"):
        record(tmp_path, "mine")
    assert list(tmp_path.iterdir()) == []
