"""pytest in a forked process that has the libraries imported, and takes the package from a folder."""

from __future__ import annotations

import os
import sys
from multiprocessing import get_context
from multiprocessing.context import ForkServerContext
from pathlib import Path

LIBRARIES = ["hydra", "matplotlib.figure", "pandas", "pytest", "scipy.stats", "sklearn.datasets", "torch"]


def forking() -> ForkServerContext:
    """Return a context whose processes start with `LIBRARIES` imported."""
    context = get_context("forkserver")
    context.set_forkserver_preload(LIBRARIES)
    return context


def run_pytest(folder: Path, arguments: list[str], environment: dict[str, str]) -> tuple[int, Path, str]:
    """Run tests in a copy of the project; return the exit code, the file of its package, and the output.

    Args:
        folder: of the copy; only for a process that did not import the package yet.
        arguments: of pytest.
        environment: variables that are set before.
    """
    assert "vae_likelihoods" not in sys.modules
    os.chdir(folder)
    os.environ.update(environment)
    sys.path[:] = [str(folder / "src"), str(folder), *sys.path]
    output = folder / "output"
    with output.open("w") as log:
        os.dup2(log.fileno(), 1), os.dup2(log.fileno(), 2)
        import pytest

        import vae_likelihoods

        code = pytest.main(arguments)
        sys.stdout.flush()
    return int(code), Path(vae_likelihoods.__file__), output.read_text()
