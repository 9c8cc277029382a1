"""How the configuration of one cell of a sweep is composed, in the driver and in workers."""

from __future__ import annotations

from dataclasses import dataclass

from hydra.core.config_loader import ConfigLoader
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig

OWN = ("joblib", "ray")  # conf/hydra/launcher/<name>.yaml stands for a plugin's launcher of the same name


def forget_schemas() -> None:
    """Forget what plugins say of launchers that this project configures itself.

    Hydra would check our files against the schemas that plugins register under the same names.
    """
    registered = ConfigStore.instance().repo.get("hydra", {}).get("launcher", {})
    for name in OWN:
        registered.pop(f"{name}.yaml", None)


@dataclass(frozen=True)
class SweepLoader:
    """Composes the cells of a sweep as Hydra's own loader does.

    A worker imports every plugin again before it composes its cell, so the schemas are there again.

    Args:
        loader: Hydra's own.
    """

    loader: ConfigLoader

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        """Return the configuration of one cell."""
        forget_schemas()
        return self.loader.load_sweep_config(master_config, sweep_overrides)
