"""Which likelihood, how many latents: the answer of a study, and whether the data support it.

A *setting* is all that the cells of a study differ in but the seed: a likelihood, a latent size, and whatever
else the study varies (`variants`). Its score is the mean of bits/dim over seeds and test images,
its uncertainty the standard error of that mean. All settings are scored on the same images, so what counts is
the difference of two settings, image by image; `resampling` says how sure it is. A setting is
*indistinguishable* from the best one if the interval of their difference contains 0. In 95 % of studies, that
interval holds together with those of all other differences of this setting. So the setting that is truly best
is called worse than another in at most 5 % of studies, however many settings were tried. This needs effects
of seeds that are about normal: if some seeds collapse, few seeds seldom show it (`Answer.uneven`).

Where there are too few images, or a few dominate a difference, the numbers stand alone: no interval, no p, no
tie, no share of bootstrap samples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from vae_likelihoods.report import scores
from vae_likelihoods.report.comparable import require_comparable
from vae_likelihoods.report.records import BITS_SCORE, merged, varied
from vae_likelihoods.report.resampling import Comparisons, Interval, compare
from vae_likelihoods.report.scores import Evaluated, Name
from vae_likelihoods.report.seeds import Floats, rounding
from vae_likelihoods.units.declaration import Declaration
from vae_likelihoods.units.quantity import NATS, Unit, bits_per_dim

_ERRORS = 2.0  # standard errors by which a score must lie below a baseline
_GAP = 1.3  # scores further apart than this factor do not fit on one readable linear axis


@dataclass(frozen=True)
class Setting:
    """What is ranked, and its score in bits per dimension (lower is better)."""

    name: Name
    bits_per_dim: float  # mean over seeds
    uncertainty: float | None  # its standard error, over seeds and test images
    seeds: int
    interval: Interval | None  # of `Answer.behind`, corrected for all comparisons; None from too few images
    p_value: float | None  # of no difference to the best one, corrected in the same way
    best_share: float | None  # the share of bootstrap replicates in which it is the best
    exact: bool  # whether its score is log p(x) itself; if not, a bound, and the model may be better

    @property
    def likelihood(self) -> str:
        """The name of its likelihood."""
        return self.name.likelihood

    @property
    def latent_dim(self) -> int:
        """Its latent size; 0: it has no latents."""
        return self.name.latent_dim

    @property
    def score_is(self) -> str:
        """What its score is, in a word."""
        return scores.EXACT if self.exact else scores.BOUND


@dataclass(frozen=True, eq=False)
class Baseline:
    """A model without latents, which is not trained: what a setting has to beat. Its score is exact."""

    name: str
    bits_per_dim: float
    nats: Floats  # of each test image [N], or of all of them [1]


@dataclass(frozen=True)
class Answer:
    """The result of a study: every setting, best first; their scores have one unit."""

    study: str
    dataset: str
    unit: Unit  # its k is that of the bounds; without bounds there is none
    images: int  # of the test split
    settings: tuple[Setting, ...]
    varied: tuple[str, ...]  # the keys in which cells differ beyond likelihood, latent size and seed
    comparisons: Comparisons = field(repr=False, compare=False)
    places: dict[Name, int] = field(repr=False, compare=False)  # of the settings in `comparisons`
    cells: tuple[Evaluated, ...] = field(repr=False, compare=False)
    baselines: tuple[Baseline, ...] = field(default=(), repr=False, compare=False)  # the best first

    @cached_property
    def declarations(self) -> dict[str, Declaration]:
        """The declarations of all values of the cells, by name."""
        return merged(cell.declarations for cell in self.cells)

    @property
    def noun(self) -> str:
        """What the names that are compared are names of: likelihoods of one VAE, or models."""
        several = len({cell.values.get("model") for cell in self.cells}) > 1
        return "model" if several or not all(s.latent_dim for s in self.settings) else "likelihood"

    @property
    def any_exact(self) -> bool:
        """Whether some score is log p(x) itself."""
        return any(setting.exact for setting in self.settings)

    @property
    def any_bound(self) -> bool:
        """Whether some score is a bound."""
        return not all(setting.exact for setting in self.settings)

    @property
    def levels(self) -> int:
        """K, the number of values a pixel can take."""
        return self.unit.levels

    @property
    def best(self) -> Setting:
        """The setting with the fewest bits per dimension."""
        return self.settings[0]

    @property
    def per_likelihood(self) -> tuple[Setting, ...]:
        """The best setting of each likelihood, best first."""
        first: dict[str, Setting] = {}
        for setting in self.settings:
            first.setdefault(setting.likelihood, setting)
        return tuple(first.values())

    @property
    def runner_up(self) -> Setting | None:
        """The best setting of the second-best likelihood, if there are two."""
        return self.per_likelihood[1] if len(self.per_likelihood) > 1 else None

    @property
    def other_sizes(self) -> tuple[Setting, ...]:
        """The best likelihood and variant with the other latent sizes, best first."""
        return tuple(s for s in self.settings[1:] if s.name.family == self.best.name.family)

    @property
    def other_variants(self) -> tuple[Setting, ...]:
        """The best likelihood and latent size with the other variants, best first."""
        own = self.best.name
        return tuple(s for s in self.settings[1:] if s.name[:2] == own[:2])

    @property
    def ties(self) -> tuple[Setting, ...]:
        """The best settings of other likelihoods that are indistinguishable from the best one."""
        return tuple(s for s in self.per_likelihood[1:] if self.tied(s))

    @property
    def candidates(self) -> tuple[Setting, ...]:
        """All settings that may be the best one: it, and those that are indistinguishable from it."""
        return tuple(s for s in self.settings if self.tied(s))

    def steady(self, setting: Setting) -> bool:
        """Whether the setting's seeds have one score, as those of a model that has no use for them."""
        seeds = self.nats[setting.name].mean(1)
        return bool(len(seeds) > 1 and np.ptp(seeds) <= rounding(seeds))

    def variant(self, setting: Setting) -> tuple[str, ...]:
        """Return what a setting has of each of `varied`, as tables print it."""
        cell = next(cell for cell in self.cells if cell.name == setting.name)
        return tuple(self.declarations[key].text(cell.values.get(key)) for key in self.varied)

    def behind(self, setting: Setting) -> float:
        """Bits per dimension that `setting` needs more than the best one."""
        return setting.bits_per_dim - self.best.bits_per_dim

    def tied(self, setting: Setting) -> bool:
        """Whether `setting` is the best one or indistinguishable from it, and not beaten by a baseline."""
        if setting is self.best:
            return True
        return setting.interval is not None and setting.interval.low <= 0 and not self._beaten(setting)

    def _beaten(self, setting: Setting) -> bool:
        """Whether a baseline that the best setting beats codes images as well as every seed of `setting`."""
        seeds = self.nats[setting.name].mean(1)
        beaten = [each for each in self.baselines if self.beats(self.best, each)]
        return any(bool((seeds >= each.nats.mean() - rounding(each.nats)).all()) for each in beaten)

    @property
    def baseline_scores(self) -> dict[str, float]:
        """Bits per dimension of the baselines, by name."""
        return {each.name: each.bits_per_dim for each in self.baselines}

    def beats(self, setting: Setting, baseline: Baseline) -> bool:
        """Whether a setting's score is lower by more than two standard errors of the paired difference.

        A model that is the baseline, up to rounding, does not beat it.
        """
        differences = self.nats[setting.name] - baseline.nats  # [S, N]
        of_images, of_seeds = differences.mean(0), differences.mean(1)
        variance = sum(each.var(ddof=1) / each.size for each in (of_images, of_seeds) if each.size > 1)
        least = rounding(baseline.nats)
        return bool(differences.mean() + max(least, _ERRORS * math.sqrt(variance)) < 0)

    @property
    def unbeaten(self) -> tuple[Baseline, ...]:
        """The baselines that the best setting does not beat."""
        return tuple(each for each in self.baselines if not self.beats(self.best, each))

    @cached_property
    def nats(self) -> dict[Name, Floats]:
        """The scores of every image, [S, N], by setting."""
        return scores.by_setting(self.cells)

    def between(self, left: Name, right: Name) -> Interval | None:
        """Return the 95 % interval, of this pair alone, of the bits/dim of `left` minus those of `right`."""
        interval = self.comparisons.interval(self.places[left], self.places[right], corrected=False)
        return _in_bits(interval, self.unit.dimensions)

    @property
    def withheld(self) -> tuple[Setting, ...]:
        """The settings of which too few images say how far they are behind the best one."""
        return tuple(s for s in self.settings if s.interval is None)

    @property
    def uneven(self) -> tuple[Setting, ...]:
        """The settings whose seeds are not normal, as far as that can be seen: see `seeds.uneven`."""
        return tuple(s for s in self.settings if self.places[s.name] in self.comparisons.uneven)

    @property
    def seeds_known(self) -> bool:
        """Whether any setting has two seeds; if not, the effect of other seeds is unknown."""
        return any(setting.seeds > 1 for setting in self.settings)

    @property
    def decimals(self) -> int:
        """Decimals that show two digits of the best setting's uncertainty (3 to 6)."""
        error = self.best.uncertainty
        return 3 if not error else min(6, max(3, 1 - math.floor(math.log10(error))))


def answer(cells: pd.DataFrame, evaluations: Path) -> Answer:
    """Rank the settings of one study.

    Args:
        cells: the rows of one study as `summary.collect` returns them.
        evaluations: the folder of `<study>/<cell>/per_image.csv`.

    Raises:
        UnlikeUnits: the rows come from more than one study, or differ in a unit or in their images.
        SettingError: the scores of the images are missing, or do not agree with the rows.
    """
    require_comparable(cells)
    first = cells.iloc[0]
    evaluated = scores.read(evaluations, cells)
    nats = scores.by_setting(evaluated)
    compared = compare(list(nats.values()), [name.family for name in nats])
    unit = first["declarations"][BITS_SCORE].unit
    if all(cell.exact for cell in evaluated):
        unit = replace(unit, importance_samples=None)  # that of the declaration, which is of bounds too
    return Answer(
        study=str(first["study"]),
        dataset=str(first["dataset"]),
        unit=unit,
        images=len(evaluated[0].per_image),
        settings=_settings(ordered(cells), compared, list(nats), unit.dimensions, evaluated),
        varied=tuple(varied(cells.to_dict("records"))),
        comparisons=compared,
        places={name: place for place, name in enumerate(nats)},
        cells=tuple(evaluated),
        baselines=_baselines(evaluated),
    )


def answers(cells: pd.DataFrame, evaluations: Path) -> list[Answer]:
    """Return the `answer` of every study in `cells`, in their order."""
    return [answer(rows, evaluations) for _, rows in cells.groupby("study", sort=False)]


def ordered(cells: pd.DataFrame) -> dict[Name, list[float]]:
    """Return bits/dim of every seed by setting, the best first: the ranking as summary.csv has it."""
    seeds: dict[Name, list[float]] = {}
    for row in cells.sort_values(["likelihood", "latent_dim", "seed", "cell"]).to_dict("records"):
        seeds.setdefault(Name.of(row), []).append(float(row[BITS_SCORE]))
    order = sorted(
        seeds, key=lambda name: (mean(seeds[name]), name.latent_dim, name.likelihood, name.variant)
    )
    return {name: seeds[name] for name in order}


def mean(values: list[float]) -> float:
    """Return the mean, the same whatever the order of the values."""
    return math.fsum(values) / len(values)


def contenders(answer: Answer) -> list[str]:
    """Return the likelihoods worth a close look: those on the good side of the widest gap between scores.

    At least two stay; all do if no neighbours in the ranking are further apart than a factor of 1.3.
    """
    ranked = [setting.bits_per_dim for setting in answer.per_likelihood]
    gaps = {cut: ranked[cut] / ranked[cut - 1] for cut in range(2, len(ranked)) if ranked[cut - 1] > 0}
    cut = max(gaps, key=lambda place: gaps[place], default=len(ranked))
    kept = cut if gaps.get(cut, 0.0) > _GAP else len(ranked)
    return [setting.likelihood for setting in answer.per_likelihood[:kept]]


def _baselines(cells: Sequence[Evaluated]) -> tuple[Baseline, ...]:
    """Return the baselines that some cell has scores of; they are the same for all cells."""
    found: dict[str, Baseline] = {}
    for cell in cells:
        for each in cell.declarations.values():
            if each.baseline and each.unit and each.unit.measure == NATS and each.name in cell.values:
                column = cell.per_image.get(each.name, pd.Series([cell.values[each.name]]))
                bits = bits_per_dim(float(cell.values[each.name]), each.unit.dimensions)
                found.setdefault(each.baseline, Baseline(each.baseline, bits, column.to_numpy(np.float64)))
    return tuple(sorted(found.values(), key=lambda baseline: baseline.bits_per_dim))


def _settings(
    seeds: dict[Name, list[float]],
    compared: Comparisons,
    names: list[Name],
    dimensions: int,
    cells: Sequence[Evaluated],
) -> tuple[Setting, ...]:
    best, *_ = (names.index(name) for name in seeds)
    exact = {cell.name for cell in cells if cell.exact}
    shares, settings = compared.best_share(), []
    for name, values in seeds.items():
        place = names.index(name)
        same = place == best
        error = _known(compared.own_errors[place])
        settings.append(
            Setting(
                name=name,
                bits_per_dim=mean(values),
                uncertainty=None if error is None else bits_per_dim(error, dimensions),
                seeds=len(values),
                interval=_in_bits(Interval(0, 0) if same else compared.interval(place, best), dimensions),
                p_value=1.0 if same else compared.p_value(place, best),
                best_share=_known(shares[place]),
                exact=name in exact,
            )
        )
    return tuple(settings)


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _in_bits(interval: Interval | None, dimensions: int) -> Interval | None:
    return interval and Interval(*(bits_per_dim(end, dimensions) for end in interval))
