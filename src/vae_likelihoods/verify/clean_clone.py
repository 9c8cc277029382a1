"""A clean clone of the project's last commit, in which its stages run as if nothing else existed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

from vae_likelihoods.errors import require

DEFAULT, OPTIONAL = "dvc.lock", "optional/dvc.lock"
ENVIRONMENT = "environment.json"
CONFIG = """[core]
    check_update = false
[cache]
    dir = cache
"""
# Imports what a driver of a sweep imports, and what a worker of joblib does.
PROBE = """
import json
from joblib import Parallel, delayed

def files():
    import os, sys
    import vae_likelihoods.sweeps.sweep
    from hydra.core.plugins import Plugins
    Plugins.instance()
    own = ("vae_likelihoods", "hydra_plugins")
    modules = {name: getattr(module, "__file__", None) for name, module in sys.modules.items()}
    return os.getpid(), [(n, file) for n, file in modules.items() if file and n.partition(".")[0] in own]

processes = [files(), *Parallel(n_jobs=2)([delayed(files)()])]
print(json.dumps(processes))
"""


class CleanClone:
    """HEAD of a project in a folder of its own, with the project's environment but nothing else of it.

    Files that its stages write, but that DVC would not remove first, are removed.

    Args:
        project: the root of a git repository.
        folder: the folder of the clone, which does not exist yet.

    Raises:
        SettingError: if git fails.
    """

    def __init__(self, project: Path, folder: Path) -> None:
        self.folder = folder
        head = git(project, "rev-parse", "HEAD").strip()
        git(project, "clone", "--quiet", "--no-checkout", str(project), str(folder))
        git(folder, "checkout", "--quiet", "--detach", head)
        (folder / ".venv").symlink_to(Path(sys.prefix).resolve(), target_is_directory=True)
        (folder / ".dvc" / "config.local").write_text(CONFIG)
        for path in [folder / DEFAULT, folder / OPTIONAL, *(folder / "reports").rglob(ENVIRONMENT)]:
            path.unlink(missing_ok=True)

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables of its processes: its own sources, and nothing that leads out of it."""
        left_out = ("DVC_", "GIT_", "MLFLOW_TRACKING_URI", "VAE_LIKELIHOODS_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
        if "VAE_LIKELIHOODS_MIRROR" in os.environ:
            kept["VAE_LIKELIHOODS_MIRROR"] = os.environ["VAE_LIKELIHOODS_MIRROR"]
        for name in ("DVC_GLOBAL_CONFIG_DIR", "DVC_SITE_CACHE_DIR", "DVC_SYSTEM_CONFIG_DIR"):
            kept[name] = str(self.folder / ".dvc" / "tmp" / name)
        # Found before the installed packages, which name the project's own tree.
        return {**kept, "PYTHONPATH": str(self.folder / "src"), "SHELL": "/bin/sh"}

    def run(self, *arguments: str, stdout: int | None = None) -> subprocess.CompletedProcess[str]:
        """Run Python with `arguments` in the clone."""
        command = [".venv/bin/python", *arguments]
        return subprocess.run(
            command, cwd=self.folder, env=self.variables, stdout=stdout, text=True, check=False
        )

    def check_imports(self) -> None:
        """Refuse if a driver or a worker in the clone would import a project file from another folder.

        Raises:
            SettingError: naming the first such module and its file.
        """
        process = self.run("-c", PROBE, stdout=subprocess.PIPE)
        require(process.returncode == 0, "clone", self.folder, "its sources cannot be imported")
        driver, worker = json.loads(process.stdout.splitlines()[-1])
        require(driver[0] != worker[0], "clone", self.folder, "joblib started no worker")
        for name, file in [*driver[1], *worker[1]]:
            reason = f"is not of the commit, but would be imported in its clone {self.folder}"
            require(self._may_import(name, Path(file).resolve()), name, file, reason)

    def _may_import(self, module: str, path: Path) -> bool:
        packages = [Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib")]
        installed = any(path.is_relative_to(folder) for folder in packages)
        plugin = module.startswith("hydra_plugins.") and installed
        return path.is_relative_to(self.folder.resolve() / "src") or plugin


def git(folder: Path, *command: str, check: bool = True) -> str:
    """Return what a git command prints in `folder`; nothing if it fails and `check` is not set.

    Raises:
        SettingError: if it fails.
    """
    variables = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    process = subprocess.run(
        ["git", *command], cwd=folder, env=variables, capture_output=True, encoding="utf-8", check=False
    )
    require(process.returncode == 0 or not check, "git", " ".join(command), process.stderr.strip())
    return process.stdout if process.returncode == 0 else ""
