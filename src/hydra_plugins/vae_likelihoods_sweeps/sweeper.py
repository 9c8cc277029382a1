"""Hydra's sweeper for a study that was tuned: no grid, as each likelihood has settings of its own."""

from __future__ import annotations

from pathlib import Path

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.types import Override
from typing_extensions import override


class TunedSweeper(BasicSweeper):
    """Combines every choice of a file with every value of the axes on the command line.

    Args:
        choices: the file, `tune/<study>.yaml`.
        max_batch_size: as Hydra's own sweeper has it.
        params: as Hydra's own sweeper has it.
    """

    def __init__(
        self, choices: str, max_batch_size: int | None = None, params: dict[str, str] | None = None
    ) -> None:
        super().__init__(max_batch_size, params)
        self.choices = Path(choices)

    @override
    def split_arguments(  # type: ignore[override]
        self, overrides: list[Override], max_batch_size: int | None
    ) -> list[list[list[str]]]:
        """Return the overrides of every job, in batches."""
        from vae_likelihoods.sweeps.choices import Choices

        jobs = Choices.read(self.choices).jobs(overrides)
        size = max_batch_size or len(jobs)
        return [jobs[start : start + size] for start in range(0, len(jobs), size)]
