"""The choices of a group of settings, as the --help of a stage lists them: ${choices:likelihood}."""

from __future__ import annotations

import textwrap

from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

WIDTH, INDENT = 100, " " * 20


def choices(group: str) -> str:
    """Return the YAMLs of a group, wherever Hydra finds them, over as many lines as they need."""
    names = GlobalHydra.instance().config_loader().get_group_options(group)
    lines = textwrap.wrap(", ".join(sorted(names)), WIDTH - len(INDENT), break_on_hyphens=False)
    return "".join(f"\n{INDENT}{line}" for line in lines)


OmegaConf.register_new_resolver("choices", choices, replace=True)
