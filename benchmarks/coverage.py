"""How often the intervals of a report hold, in simulated studies of which the truth is known.

python benchmarks/coverage.py                          # the tables of docs/scores/answer.md, 5 minutes
python benchmarks/coverage.py --repetitions 400        # a quick look
python benchmarks/coverage.py --json coverage.json     # every world on its own too

All settings of a study are equally good. An image costs each setting but the first its own 20 nats more or
less, by a law that may be skewed; a seed 2 nats, in a noisy family 30; image and seed together 2.
"""

from __future__ import annotations

import argparse
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tabulate import tabulate

from vae_likelihoods.files import write_json
from vae_likelihoods.report.paired import Differences, differences, of_images
from vae_likelihoods.report.resampling import CONFIDENCE
from vae_likelihoods.report.seeds import Floats, SeedSpread, seed_spread, uneven

Flags = NDArray[np.bool_]

LAWS = ("normal", "gamma(4)", "lognormal(1)")
IMAGES, SEEDS = (20, 50, 200, 1000), (1, 2, 3, 5)
FAMILIES = ((1, 1), (1,) * 6, (3, 3), (3,) * 6)  # settings in each family
OF_IMAGE, OF_SEED, OF_NOISY_SEED, OF_BOTH = 20.0, 2.0, 30.0, 2.0  # standard deviations in nats
LEVEL = 1 - CONFIDENCE
_HELD = 4_000_000  # numbers in memory at once


@dataclass(frozen=True)
class World:
    """What is simulated; one family of a noisy world has seeds that vary 15 times more."""

    law: str
    images: int
    seeds: int
    families: tuple[int, ...]
    noisy: bool

    @property
    def of_setting(self) -> list[str]:
        """The family of each setting."""
        return [f"{family}" for family, size in enumerate(self.families) for _ in range(size)]

    @property
    def spreads(self) -> Floats:
        """[n] Standard deviation of the effect of a seed on each setting; the last family may be noisy."""
        if self.seeds == 1:
            return np.zeros(sum(self.families))  # then all is about the trained models
        last = self.of_setting[-1]
        return np.array(
            [OF_NOISY_SEED if self.noisy and each == last else OF_SEED for each in self.of_setting]
        )


class Studies(NamedTuple):
    """R simulated studies of n settings."""

    by_image: Floats  # [R, n, N] means over seeds
    by_seed: Floats  # [R, n, S] deviations of the seeds' means from their mean over seeds


@dataclass
class Count:
    """How often something held, in how many cases."""

    held: int = 0
    cases: int = 0

    def add(self, held: Flags, where: Flags) -> None:
        """Add the cases in `where`, of which some `held`."""
        self.held, self.cases = self.held + int((held & where).sum()), self.cases + int(where.sum())

    @property
    def rate(self) -> float:
        """The share that held; NaN without a case."""
        return self.held / self.cases if self.cases else math.nan

    @property
    def error(self) -> float:
        """The Monte-Carlo standard error of the rate."""
        return math.sqrt(self.rate * (1 - self.rate) / self.cases) if self.cases else math.nan


@dataclass(frozen=True)
class Coverage:
    """How often intervals held in a world, of those that were shown."""

    world: World
    shown: Count  # of all differences
    single: list[Count]  # between two settings, for each kind of pair
    together: list[Count]  # all corrected ones of a setting, for each kind of setting


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=4_000, help="studies simulated in each world")
    parser.add_argument("--json", type=Path, help="write the rates of every world to this file")
    options = parser.parse_args()
    if options.repetitions < 2:
        parser.error("--repetitions must be at least 2")
    found = [coverage(world, options.repetitions) for world in worlds()]
    print(table(found), flush=True)
    print()
    print(bimodal_table([bimodal(seeds, options.repetitions) for seeds in SEEDS[1:]]))
    if options.json:
        write_json(options.json, {"worlds": [asdict(each) for each in found]})


def worlds() -> Iterator[World]:
    """Yield every world."""
    for law, images, seeds, families in itertools.product(LAWS, IMAGES, SEEDS, FAMILIES):
        for noisy in [False, True] if seeds > 1 else [False]:
            yield World(law, images, seeds, families, noisy)


def coverage(world: World, repetitions: int) -> Coverage:
    """Simulate a world, and judge the differences of its first and of its last setting to all others."""
    settings = sum(world.families)
    draws = np.random.default_rng([settings, world.images, world.seeds, world.noisy, LAWS.index(world.law)])
    found = Coverage(world, Count(), [Count(), Count()], [Count(), Count()])
    for studies in simulated(world, repetitions, draws):
        seeds = spread_of(studies, world.of_setting)
        for side, left in enumerate((0, settings - 1)):
            pairs = differences_of(studies, seeds, left)
            alone, together = (holds(pairs, LEVEL / count) for count in (1, settings - 1))
            found.shown.add(pairs.known, np.ones_like(pairs.known))
            found.single[side].add(alone[:, 0], pairs.known[:, 0])  # with the first of the others
            if side == 0 and settings > 2:
                found.single[1].add(alone[:, -1], pairs.known[:, -1])  # and of the first with the last
            all_held = np.logical_and.reduce(together | ~pairs.known, axis=1)
            found.together[side].add(all_held, np.logical_or.reduce(pairs.known, axis=1))
    return found


def simulated(world: World, repetitions: int, draws: np.random.Generator) -> Iterator[Studies]:
    """Yield studies, some at a time."""
    settings, images, seeds = sum(world.families), world.images, world.seeds
    held = max(1, _HELD // (settings * images))
    for start in range(0, repetitions, held):
        size = min(held, repetitions - start)
        by_image = OF_IMAGE * of_law(world.law, (size, settings, images), draws)
        by_image[:, 0] = 0  # so that the differences to the first setting have the law
        # What is particular to image and seed, as its mean over seeds and its mean over images: independent.
        if seeds > 1:
            by_image += draws.normal(0, OF_BOTH / math.sqrt(seeds), by_image.shape)
        by_seed = draws.normal(0, 1, (size, settings, seeds))
        own = by_seed * world.spreads[:, None]
        by_image += own.mean(2, keepdims=True)
        deviations = own + draws.normal(0, OF_BOTH / math.sqrt(images), own.shape)
        yield Studies(by_image, deviations - deviations.mean(2, keepdims=True))


def of_law(law: str, shape: tuple[int, ...], draws: np.random.Generator) -> Floats:
    """Draw numbers with mean 0 and variance 1."""
    if law == "normal":
        return draws.standard_normal(shape)
    if law == "gamma(4)":
        return (draws.standard_gamma(4, shape) - 4) / 2
    values = np.exp(draws.standard_normal(shape))
    return (values - math.exp(0.5)) / math.sqrt((math.e - 1) * math.e)


def spread_of(studies: Studies, families: Sequence[str]) -> SeedSpread:
    """Return the spread of the seeds of each study."""
    seeds = studies.by_seed.shape[2]
    return seed_spread((studies.by_seed**2).sum(2), [seeds] * len(families), families)


def differences_of(studies: Studies, seeds: SeedSpread, left: int) -> Differences:
    """Return the differences of one setting to all others, [R, n - 1]."""
    values = studies.by_image
    others = [place for place in range(values.shape[1]) if place != left]
    apart = values[:, [left]] - values[:, others]
    return differences(apart.mean(2), of_images(apart), seeds.of([left]), seeds.of(others))


def holds(pairs: Differences, level: float) -> Flags:
    """Return whether each interval holds 0, the truth."""
    low, high = pairs.interval(level)
    return (low <= 0) & (high >= 0)


def table(found: Sequence[Coverage]) -> str:
    """Return a row for each law and number of images: the extremes of its worlds."""
    rows = []
    for law, images in itertools.product(LAWS, IMAGES):
        group = [each for each in found if (each.world.law, each.world.images) == (law, images)]
        shown = Count(sum(each.shown.held for each in group), sum(each.shown.cases for each in group))
        single = sorted((c for each in group for c in each.single if c.cases), key=lambda c: c.rate)
        together = min((c for each in group for c in each.together if c.cases), key=lambda c: c.rate)
        ends = f"{in_percent(single[0])} .. {in_percent(single[-1])}"
        rates = (f"{100 * shown.rate:.1f}", f"{100 * (1 - shown.rate):.1f}")
        rows.append([law, images, *rates, ends, in_percent(together)])
    header = ["law of a difference", "images", "shown %", "withheld %", "single, lowest .. highest %"]
    return tabulate(rows, [*header, "corrected, lowest %"], tablefmt="pipe", disable_numparse=True)


def in_percent(count: Count) -> str:
    """Return a rate with its Monte-Carlo error."""
    return f"{100 * count.rate:.1f} ± {100 * count.error:.1f}"


@dataclass(frozen=True)
class Bimodal:
    """What becomes of studies with a setting whose seeds have two modes."""

    seeds: int
    false_alarms: Count  # flags where all seeds are normal
    flagged: Count  # where one setting is bimodal
    wrong: Count  # studies that call setting 5, as good as any, worse than the one that looks best
    wrong_unflagged: Count  # of those without a flag


def bimodal(seeds: int, repetitions: int) -> Bimodal:
    """Simulate 12 settings of 4 likelihoods, of which one costs 60 nats more in a fifth of its seeds."""
    world = World("normal", 200, seeds, (3,) * 4, noisy=False)
    draws, found = np.random.default_rng(seeds), Bimodal(seeds, *(Count() for _ in range(4)))
    for studies in simulated(world, repetitions, draws):
        found.false_alarms.add(flags(studies, world), np.ones(len(studies.by_seed), bool))
        effect = 60 * ((draws.random((len(studies.by_seed), seeds)) < 0.2) - 0.2)
        means = effect.mean(1, keepdims=True)
        studies.by_image[:, 0] += means
        studies.by_seed[:, 0] += effect - means
        flagged, everywhere = flags(studies, world), np.ones(len(effect), bool)
        pairs = differences_of(studies, spread_of(studies, world.of_setting), 5)
        low, _ = pairs.interval(LEVEL / 11)
        best = pairs.mean.argmax(1)[:, None]  # the lowest score of the others
        wrong = np.take_along_axis(low, best, 1)[:, 0] > 0
        found.flagged.add(flagged, everywhere)
        found.wrong.add(wrong, everywhere)
        found.wrong_unflagged.add(wrong, ~flagged)
    return found


def flags(studies: Studies, world: World) -> Flags:
    """Return whether seeds look uneven, [R]."""
    families = world.of_setting
    return np.array([bool(uneven(list(study), families)) for study in studies.by_seed])


def bimodal_table(found: Sequence[Bimodal]) -> str:
    """Return a row for each number of seeds."""
    header = ["seeds", "false alarms %", "flagged %", "called worse %", "called worse, no flag %"]
    rows = [
        [each.seeds, *map(in_percent, (each.false_alarms, each.flagged, each.wrong, each.wrong_unflagged))]
        for each in found
    ]
    return tabulate(rows, header, tablefmt="pipe", disable_numparse=True)


if __name__ == "__main__":
    main()
