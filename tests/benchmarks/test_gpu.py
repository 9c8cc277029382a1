"""What benchmarks/gpu tells of packages that are hidden: what was missed, and whose it is."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

GPU = Path(__file__).parents[2] / "benchmarks" / "gpu"
SPECIFICATION = importlib.util.spec_from_file_location("wheels", GPU / "wheels.py")
assert SPECIFICATION is not None
assert SPECIFICATION.loader is not None
wheels = importlib.util.module_from_spec(SPECIFICATION)
SPECIFICATION.loader.exec_module(wheels)

SCRIPT = """
import sys
from importlib import metadata

import local
import shown

try:
    import secret.part
except ModuleNotFoundError:
    print("optional")
print(*sorted(each.name for each in metadata.distributions(path=[sys.path[0]])), *sys.argv[1:])
import other
"""
OWNERS = {"shown.py": "package-a", "secret/__init__.py": "package-b", "other.py": "package-c"}


@pytest.fixture
def hidden(tmp_path: Path) -> tuple[subprocess.CompletedProcess[str], str]:
    """How a script ended that sees package-a alone, and the log of what it looked for."""
    for name in (*OWNERS, "local.py", "secret/part.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    for package in ("Package_A", "package-b"):
        folder = tmp_path / f"{package.replace('-', '_')}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    owners, log, script = (tmp_path / name for name in ("owners.json", "hidden.log", "script.py"))
    owners.write_text(json.dumps({str(tmp_path / name): package for name, package in OWNERS.items()}))
    script.write_text(SCRIPT)
    command = [sys.executable, str(GPU / "hide.py"), str(owners), "package-a", str(log), str(script), "word"]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    return process, log.read_text()


def test_a_hidden_package_is_missing_and_logged(
    hidden: tuple[subprocess.CompletedProcess[str], str],
) -> None:
    process, log = hidden
    assert process.stdout == "optional\nPackage_A word\n"
    assert process.stderr.endswith("ModuleNotFoundError: No module named 'other'\n")
    assert log == "secret package-b\nother package-c\n"


def test_the_culprit_is_the_package_of_the_module_that_a_script_misses(
    hidden: tuple[subprocess.CompletedProcess[str], str],
) -> None:
    process, log = hidden
    assert wheels.culprit(process.stderr, log) == "package-c"


def test_without_a_missing_module_it_is_the_package_that_was_hidden_last() -> None:
    log = "secret package-b\nother package-c\n"
    assert wheels.culprit("No module named 'secret'", log) == "package-b"
    assert wheels.culprit("ImportError: install somebodys-package", log) == "package-c"


def test_a_failure_that_hides_nothing_is_raised_with_the_output() -> None:
    with pytest.raises(RuntimeError, match="division by zero"):
        wheels.culprit("division by zero", "")
