"""The Ray engine without Ray: settings, claims and what is said if the extra is missing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from hydra_plugins.vae_likelihoods_sweeps.ray import RayLauncher, _check_room, _share
from vae_likelihoods.errors import SettingError

PROJECT = Path(__file__).parents[2]
YAML = PROJECT / "conf" / "hydra" / "launcher" / "ray.yaml"


@pytest.fixture
def engine(configuration: Callable[..., DictConfig]) -> Callable[..., RayLauncher]:
    """Make the engine that the YAML describes, with other settings of it and of the configuration."""

    def launcher(*overrides: str, **settings: Any) -> RayLauncher:
        config = OmegaConf.merge(configuration(*overrides), {"engine": OmegaConf.load(YAML).engine})
        engine: RayLauncher = instantiate(config.engine, **settings)
        engine.setup(hydra_context=None, task_function=None, config=config)  # type: ignore[arg-type]
        return engine

    return launcher


@pytest.fixture
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("num_gpus", 1.5, "a number from 0 to 1, a whole number, or auto"),
        ("num_gpus", "all", "a number from 0 to 1, a whole number, or auto"),
        ("num_cpus", -1, "a number from 0 to 1, a whole number, or auto"),
        ("num_cpus", float("nan"), "a number from 0 to 1, a whole number, or auto"),
        ("max_retries", -1, "a whole number, at least 0"),
    ],
)
def test_settings_that_ray_cannot_take_are_refused(
    engine: Callable[..., RayLauncher], key: str, value: Any, reason: str
) -> None:
    with pytest.raises(SettingError, match=f"{key}={value}: must be {reason}"):
        engine(**{key: value})


@pytest.mark.usefixtures("_installed")
@pytest.mark.parametrize(
    ("overrides", "settings", "claim"),
    [
        (["runtime.device=cpu"], {}, (1, 0)),
        (["runtime.device=cpu", "runtime.threads=2", "runtime.processes=2"], {}, (4, 0)),
        (["runtime.device=cuda"], {}, (1, 1)),
        (["runtime.device=cuda", "runtime.cells_per_gpu=4"], {}, (1, 0.25)),
        (["runtime.device=cuda", "runtime.cells_per_gpu=4", "runtime.processes=2"], {}, (2, 2)),
        (["runtime.device=cpu"], {"num_gpus": 0.5, "num_cpus": 3}, (3, 0.5)),
    ],
)
def test_what_a_cell_claims(
    engine: Callable[..., RayLauncher],
    overrides: list[str],
    settings: dict[str, Any],
    claim: tuple[float, float],
) -> None:
    assert tuple(engine(*overrides, **settings)._claim().values()) == claim


def test_as_many_cells_take_a_place_on_a_gpu_as_ray_sends_there() -> None:
    assert _share(0.25) == ["runtime.cells_per_gpu=4"]
    assert _share(0.3) == ["runtime.cells_per_gpu=3"]
    assert all(_share(1 / count) == [f"runtime.cells_per_gpu={count}"] for count in range(2, 200))
    assert _share(0) == _share(1) == _share(2) == []


def test_a_claim_that_no_node_meets_is_refused() -> None:
    rooms = [{"CPU": 8.0}, {"CPU": 1.0, "GPU": 2.0}]
    _check_room({"num_cpus": 1, "num_gpus": 0.5}, rooms)
    with pytest.raises(SettingError, match=r"more than any node .* {'num_cpus': 1.0, 'num_gpus': 2.0}"):
        _check_room({"num_cpus": 2, "num_gpus": 0.5}, rooms)


def test_a_missing_extra_is_one_line(prepared_root: Path, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['ray'] = None")
    paths = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    command = [sys.executable, "pipelines/train.py", "-m", "seed=0,1", "hydra/launcher=ray", "dataset=digits"]
    done = subprocess.run(
        [*command, f"runtime.root={prepared_root}"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONWARNINGS": "default"},
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("hydra/launcher=ray: needs an extra: pip install -e '.[ray]'.\n")
    assert "Traceback" not in done.stderr
