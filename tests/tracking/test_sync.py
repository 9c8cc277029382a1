"""`vae-likelihoods sync` and `ui`: MLflow filled from the files, and where it is served."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from vae_likelihoods.cli.app import main
from vae_likelihoods.tracking.connection import connect
from vae_likelihoods.tracking.server import addresses

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own and its dependencies'


def test_every_study_that_lies_in_runs_is_mirrored(
    tiny_root: Path, uri: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sync", "--root", str(tiny_root), "--uri", uri]) == 0
    assert capsys.readouterr().out == "sync: tiny, 2 cells\n"
    client = connect(uri, tiny_root)
    (study,) = [each for each in client.search_experiments() if each.name == "tiny"]
    statuses = {run.info.run_name: run.info.status for run in client.search_runs([study.experiment_id])}
    assert {"binomial-2-0", "gaussian-2-0"} < statuses.keys()
    assert set(statuses.values()) == {"FINISHED"}


def test_a_study_without_cells_is_one_line(
    tiny_root: Path, uri: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sync", "absent", "--root", str(tiny_root), "--uri", uri]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"sync: study=absent: there is no cell in {tiny_root / 'runs' / 'absent'}. Choices: tiny."


def test_a_server_that_does_not_answer_is_one_line(
    tiny_root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
    assert main(["sync", "--root", str(tiny_root), "--uri", address]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"sync: MLflow at {address} did not take the results; `make sync` does it later")


def test_an_address_that_mlflow_does_not_know_is_one_line(
    tiny_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in ("sync", "ui"):
        assert main([command, "--root", str(tiny_root), "--uri", "ftp://x"]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"{command}: uri=ftp://x: is not the address of an MLflow store")


def test_ui_refuses_the_address_of_a_server(tiny_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ui", "--root", str(tiny_root), "--uri", "http://x"]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert printed.err.startswith("ui: uri=http://x: is not a database; a server has a page of its own")


@pytest.mark.parametrize("uri", ["sqlite:////proc/absent/mlflow.db?mode=ro", "mysql+absent://me:secret@x/y"])
def test_ui_says_in_one_line_that_a_database_cannot_be_opened(
    tiny_root: Path, capsys: pytest.CaptureFixture[str], uri: str
) -> None:
    assert main(["ui", "--root", str(tiny_root), "--uri", uri]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert printed.err.startswith("ui: MLflow cannot open ")
    assert "secret" not in printed.err


def test_a_port_in_use_is_refused_with_another(
    tiny_root: Path, uri: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert main(["ui", "--root", str(tiny_root), "--uri", uri, "--port", str(port)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"ui: port={port}: another program uses it; try make ui PORT={port + 1}."


def test_every_study_has_an_address(tiny_root: Path, uri: str) -> None:
    assert main(["sync", "--root", str(tiny_root), "--uri", uri]) == 0
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    first, study = addresses(tiny_root, uri, port)
    assert first == f"MLflow serves {uri} on http://127.0.0.1:{port} (Ctrl-C ends it)"
    assert study.split()[0] == "tiny"
    assert study.split()[1].startswith(f"http://127.0.0.1:{port}/#/experiments/")
