"""What `hydra/launcher=slurm` says where it cannot run; tests/faults/test_slurm.py has a real SLURM."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = str(Path(__file__).parents[2] / "pipelines" / "train.py")
OVERRIDES = ["-m", "hydra/launcher=slurm", "dataset=digits", "seed=0,1"]
# None stands for a module that cannot be imported.
WITHOUT_THE_EXTRA = f"""
import runpy, sys
sys.modules.update({{"submitit": None, "hydra_plugins.hydra_submitit_launcher": None}})
sys.argv[:] = {[SCRIPT, *OVERRIDES]}
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def complaint(*command: str, path: str) -> str:
    """Return the one line of stderr."""
    done = subprocess.run(
        [sys.executable, *command],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    return line


def test_a_missing_extra_is_named() -> None:
    message = complaint("-c", WITHOUT_THE_EXTRA, path=os.environ["PATH"])
    assert message == "hydra/launcher=slurm: needs an extra: pip install -e '.[slurm]'."


@pytest.mark.faults
def test_a_machine_without_slurm_is_refused(tmp_path: Path) -> None:
    message = complaint(SCRIPT, *OVERRIDES, path=str(tmp_path))
    assert message.startswith("hydra/launcher=slurm: there is no sbatch, no srun, ")
