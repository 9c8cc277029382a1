"""docs/your-images.md, word by word: Python and commands, on fewer pictures and with little training."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from processes import PATIENCE_SECONDS, PROJECT, environment

PAGE = (PROJECT / "docs" / "your-images.md").read_text(encoding="utf-8")
BLOCKS = [(kind, text) for kind, text in re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)]
PYTHON = [text for kind, text in BLOCKS if kind == "python"]
SHELL = [line for kind, text in BLOCKS if not kind for line in text.strip().splitlines()]
LITTLE = [
    *("training.epochs=3", "training.warmup_steps=1", "training.grid_epochs=3", "network.hidden=[8]"),
    *("metric.bound.samples=2", "--likelihoods", "beta_binomial,gaussian_learned", "runtime.device=cpu"),
]


def execute(text: str, folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", text], cwd=folder, env=environment(), timeout=PATIENCE_SECONDS, check=False
    )
    assert done.returncode == 0, text


def call(line: str, folder: Path, *more: str) -> str:
    words = [sys.executable, "-m", *shlex.split(line.replace("vae-likelihoods", "vae_likelihoods", 1)), *more]
    done = subprocess.run(
        words,
        cwd=folder,
        env=environment(),
        timeout=PATIENCE_SECONDS,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_walk_through(tmp_path: Path) -> None:
    pictures, use = PYTHON
    execute(pictures, tmp_path)
    assert len(list((tmp_path / "photos").glob("*.png"))) == 520
    for path in sorted((tmp_path / "photos").glob("*.png"))[120:]:
        path.unlink()

    first, *commands, into_the_project = SHELL
    assert first.startswith("vae-likelihoods answer photos")
    said = call(first, tmp_path, *LITTLE, "--out", str(tmp_path / "out"))
    assert "done" in said.splitlines()[-1]
    with Image.open(tmp_path / "out" / "data" / "prepared" / "photos" / "contact_sheet.png") as sheet:
        assert sheet.width >= 320
    (model, *_) = sorted((tmp_path / "out" / "runs" / "photos").glob("gaussian_learned-*"))

    execute(use.replace('"answers/photos"', repr(str(model))), tmp_path)
    for command in commands:
        call(command.replace("MODEL", shlex.quote(str(model))), tmp_path)
    written = {"samples.png", "reconstructions.png", "latents.csv", "scores.csv"}
    assert written <= {path.name for path in tmp_path.iterdir()}
    assert "--study photos" in into_the_project
