"""What the metrics that anneal chains have in common."""

from __future__ import annotations

from dataclasses import dataclass

from vae_likelihoods.errors import require_count
from vae_likelihoods.inference.ais import Annealing, Schedule
from vae_likelihoods.metrics.base import Metric


@dataclass(frozen=True)
class Annealed(Metric):
    """A metric of the first images of the test split, with chains for each image.

    Args:
        images: how many images.
        chains: as in `Annealing`, like the four settings below.
        temperatures: as in `Annealing`.
        schedule: as in `Annealing`.
        leapfrog_steps: as in `Annealing`.
        acceptance: as in `Annealing`.
        decoded_at_once: how many images are decoded together: memory, speed, and which noise an image gets.
    """

    images: int
    chains: int
    temperatures: int
    schedule: Schedule
    leapfrog_steps: int
    acceptance: float
    decoded_at_once: int

    def __post_init__(self) -> None:
        require_count("images", self.images, least=2)  # a standard error over images needs two
        require_count("decoded_at_once", self.decoded_at_once)
        self.annealing  # noqa: B018 - refuses its settings under the same names

    @property
    def annealing(self) -> Annealing:
        """The schedule of the chains."""
        return Annealing(self.chains, self.temperatures, self.schedule, self.leapfrog_steps, self.acceptance)

    @property
    def batch_size(self) -> int:
        """How many images have their chains decoded together."""
        return max(1, self.decoded_at_once // self.chains)
