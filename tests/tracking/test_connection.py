"""Where MLflow is, and who is connected."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vae_likelihoods.errors import SettingError
from vae_likelihoods.tracking.connection import connect, driver, is_alive, lock_of, refusal, store_uri

HERE = os.uname().nodename


def test_addresses() -> None:
    assert store_uri(None, Path("/a b")) == "sqlite:////a b/mlflow.db"
    assert store_uri("postgresql+psycopg2://u@h/d", Path("/")) == "postgresql+psycopg2://u@h/d"
    with pytest.raises(SettingError, match=r"^uri=file:///x: "):
        store_uri("file:///x", Path("/"))


def test_a_driver_lives_as_long_as_it_holds_its_lock(tmp_path: Path) -> None:
    assert is_alive(driver(tmp_path), tmp_path)
    gone = f"{HERE}:{os.getpid()}:0"  # its number is another process's now
    with lock_of(tmp_path, f"driver-{gone}"):
        assert is_alive(gone, tmp_path)
    assert not is_alive(gone, tmp_path)
    elsewhere = "another-machine:1:0"
    assert is_alive(elsewhere, tmp_path)
    with lock_of(tmp_path, f"driver-{elsewhere}"):
        assert is_alive(elsewhere, tmp_path)
    assert not is_alive(elsewhere, tmp_path)


def test_without_a_lock_only_processes_of_this_machine_are_known_to_be_gone(tmp_path: Path) -> None:
    assert is_alive(f"{HERE}:{os.getpid()}", tmp_path)
    assert not is_alive(f"{HERE}:999999999:0", tmp_path)
    assert is_alive("another-machine:1", tmp_path)
    assert not is_alive("", tmp_path)


@pytest.mark.filterwarnings("ignore")  # MLflow's own
def test_a_user_without_a_home_is_connected(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setenv("HOME", "")
    monkeypatch.setattr(Path, "home", nowhere)
    connect(uri, tmp_path)
    assert os.environ["HOME"] == str(tmp_path / "logs")


def test_no_password_is_shown() -> None:
    line = refusal("postgresql://me:secret@host/db", ValueError("gone\nfor ever"))
    assert "secret" not in line
    assert "postgresql://me:***@host/db" in line
    assert line.endswith("(gone)")
