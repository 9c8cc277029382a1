"""`vae-likelihoods gallery`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vae_likelihoods.cli.app import main
from vae_likelihoods.gallery.table import BEGIN, END


def test_it_prints_the_rows_that_were_asked_for_and_writes_them(
    mnist5k_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    chosen = ["--rows", "last_bin", "--rows", "mean_reduction", "--rows", "power_outside_log", "--cheap"]
    assert main(["gallery", "--root", str(mnist5k_root), *chosen, "--output", str(page)]) == 0
    printed = capsys.readouterr().out
    named = [line.split("|")[1].strip(" :-`") for line in printed.splitlines()]
    assert [name for name in named if name] == ["error", "power_outside_log", "last_bin"]
    assert page.read_text() == f"{BEGIN}\n{printed}{END}\n"


@pytest.mark.parametrize("variables", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C"}], ids=str)
def test_an_ascii_terminal_gets_ascii(mnist5k_root: Path, variables: dict[str, str]) -> None:
    arguments = ["-m", "vae_likelihoods", "gallery", "--root", str(mnist5k_root), "--rows", "missing_half"]
    done = subprocess.run(
        [sys.executable, *arguments], env={**os.environ, **variables}, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert "`exp(-(x - mu)^2 / sigma^2) / (sigma sqrt(2 pi))`" in done.stdout.decode("ascii")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            [],
            "pipelines/download.py dataset=mnist5k && .venv/bin/python pipelines/prepare.py dataset=mnist5k",
        ),
        (["--dataset", "kmnist"], "pipelines/prepare.py dataset=kmnist"),
        (["--output", "page.md"], "page.md: has no lines"),
        (["--rows", "mean_reduction", "--cheap"], "leave out --cheap"),
    ],
)
def test_what_cannot_be_is_one_line_and_exit_code_1(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("page.md").write_text("no markers\n")
    assert main(["gallery", "--root", str(tmp_path), *arguments]) == 1
    streams = capsys.readouterr()
    assert streams.out == ""
    assert message in streams.err
    assert streams.err.count("\n") == 1
    assert Path("page.md").read_text() == "no markers\n"


def test_an_unknown_row_is_refused_with_the_rows_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gallery", "--rows", "none"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("gallery: rows=none: ")
    assert "missing_half" in error
