"""The package as `pip install` puts it elsewhere: a copied folder is a model, without project or data set."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from processes import PATIENCE_SECONDS, PROJECT
from vae_likelihoods.files import read_csv

SCORE = """
import sys
import numpy as np, torch
torch.set_num_threads(1)
import vae_likelihoods as vl
assert vl.__file__.startswith(sys.argv[1]), vl.__file__
model = vl.load("copied", device="cpu")
np.save("scores.npy", model.log_prob(np.load("images.npy"), samples=int(sys.argv[2])))
try:
    vl.load("grey")
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.slow
def test_a_wheel_scores_a_copied_folder_as_the_evaluation_did(tiny_root: Path, tmp_path: Path) -> None:
    wheels, site, work = (tmp_path / name for name in ("wheels", "site", "work"))
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", str(wheels), str(PROJECT)], check=True)
    (wheel,) = wheels.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", str(site), str(wheel)], check=True)
    work.mkdir()
    shutil.copytree(tiny_root / "runs" / "tiny" / "gaussian-2-0", work / "copied")
    shutil.copy(tiny_root / "data" / "prepared" / "digits" / "test_images.npy", work / "images.npy")
    evaluated = tiny_root / "evaluations" / "tiny" / "gaussian-2-0"
    samples = json.loads((evaluated / "metrics.json").read_text())["importance_samples"]
    # -P and PYTHONPATH: the installed package comes before the project's own sources.
    done = subprocess.run(
        [sys.executable, "-P", "-c", SCORE, str(site), str(samples)],
        cwd=work,
        env={"PYTHONPATH": str(site), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    written = [float(row["nll_nats"]) for row in read_csv(evaluated / "per_image.csv")]
    assert [float(f"{-nats:.9g}") for nats in np.load(work / "scores.npy")] == written
    assert "SettingError source=grey: there is no such folder, and no evaluated study" in done.stdout
