"""Which likelihood, how many latents: the answer of a study, and whether the data support it.

A *setting* is a likelihood with a latent size. Its score is the mean of bits/dim over seeds and test
images, its uncertainty the standard error of that mean. All settings code the same images, so what counts
is the difference of two settings, image by image; `resampling` says how sure it is. A setting is
*indistinguishable* from the best one if the interval of their difference contains 0. The interval holds, in
95 % of studies, together with those of all other differences of this setting, so the setting that is truly
best is called worse than another in at most 5 % of them, however many were tried.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from vae_likelihoods.report import scores
from vae_likelihoods.report.comparable import require_comparable
from vae_likelihoods.report.resampling import Comparisons, Interval, compare
from vae_likelihoods.report.scores import Evaluated, Name
from vae_likelihoods.report.words import amount, latents, listed, named, percent, within
from vae_likelihoods.units import Unit, bits_per_dim

_GAP = 1.3  # scores further apart than this factor do not fit on one readable linear axis


@dataclass(frozen=True)
class Setting:
    """A likelihood with a latent size, and its score in bits per dimension (lower is better)."""

    likelihood: str
    latent_dim: int
    bits_per_dim: float  # mean over seeds
    uncertainty: float  # its standard error, over seeds and test images
    seeds: int
    interval: Interval  # of `Answer.behind`, corrected for all that it is compared with
    p_value: float  # of no difference to the best one, corrected in the same way
    best_share: float  # of the bootstrap replicates in which it is the best

    @property
    def name(self) -> Name:
        """What it is called."""
        return Name(self.likelihood, self.latent_dim)


@dataclass(frozen=True)
class Answer:
    """What a study says: every setting, best first; their scores have one unit."""

    study: str
    dataset: str
    unit: Unit
    images: int  # of the test split
    settings: tuple[Setting, ...]
    comparisons: Comparisons = field(repr=False, compare=False)
    places: dict[Name, int] = field(repr=False, compare=False)  # of the settings in `comparisons`
    cells: tuple[Evaluated, ...] = field(repr=False, compare=False)

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
        """The best likelihood with the other latent sizes, best first."""
        return tuple(s for s in self.settings[1:] if s.likelihood == self.best.likelihood)

    @property
    def ties(self) -> tuple[Setting, ...]:
        """The best settings of other likelihoods that this study cannot tell from the best one."""
        return tuple(s for s in self.per_likelihood[1:] if self.tied(s))

    @property
    def candidates(self) -> tuple[Setting, ...]:
        """All settings that may be the best one: it, and those that cannot be told from it."""
        return tuple(s for s in self.settings if self.tied(s))

    def behind(self, setting: Setting) -> float:
        """Bits per dimension that `setting` needs more than the best one."""
        return setting.bits_per_dim - self.best.bits_per_dim

    def tied(self, setting: Setting) -> bool:
        """Whether `setting` is the best one, or indistinguishable from it."""
        return setting is self.best or setting.interval.low <= 0

    def between(self, one: Name, other: Name) -> Interval:
        """Return the 95 % interval, of this pair alone, of the bits/dim of `one` less those of `other`."""
        low, high = self.comparisons.interval(self.places[one], self.places[other], corrected=False)
        return Interval(bits_per_dim(low, self.unit.dimensions), bits_per_dim(high, self.unit.dimensions))

    @property
    def seeds_known(self) -> bool:
        """Whether any setting has two seeds; else nothing is known of what other seeds would give."""
        return any(setting.seeds > 1 for setting in self.settings)

    @property
    def decimals(self) -> int:
        """Decimals that show two digits of the best setting's uncertainty (3 to 6)."""
        doubt = self.best.uncertainty
        return 3 if doubt <= 0 else min(6, max(3, 1 - math.floor(math.log10(doubt))))


def answer(cells: pd.DataFrame, evaluations: Path) -> Answer:
    """Rank the settings of one study.

    Args:
        cells: the rows of one study as `summary.collect` returns them.
        evaluations: the folder of `<study>/<cell>/per_image.csv`.

    Raises:
        UnlikeUnits: the rows come from more than one study, or differ in a unit or in their images.
        SettingError: the scores of the images are missing, or are not those of the rows.
    """
    require_comparable(cells)
    first = cells.iloc[0]
    evaluated = scores.read(evaluations, cells)
    nats = scores.by_setting(evaluated)
    found = compare(list(nats.values()), [name.likelihood for name in nats])
    unit = first["units"]["bits_per_dim"]
    return Answer(
        study=str(first["study"]),
        dataset=str(first["dataset"]),
        unit=unit,
        images=len(evaluated[0].per_image),
        settings=_settings(ordered(cells), found, list(nats), unit.dimensions),
        comparisons=found,
        places={name: place for place, name in enumerate(nats)},
        cells=tuple(evaluated),
    )


def answers(cells: pd.DataFrame, evaluations: Path) -> list[Answer]:
    """Return the `answer` of every study in `cells`, in their order."""
    return [answer(rows, evaluations) for _, rows in cells.groupby("study", sort=False)]


def ordered(cells: pd.DataFrame) -> dict[Name, list[float]]:
    """Return bits/dim of every seed by setting, the best first: all that summary.csv says of the ranking."""
    seeds: dict[Name, list[float]] = {}
    for row in cells.sort_values(["likelihood", "latent_dim", "seed", "cell"]).to_dict("records"):
        name = Name(str(row["likelihood"]), int(row["latent_dim"]))
        seeds.setdefault(name, []).append(float(row["bits_per_dim"]))
    order = sorted(seeds, key=lambda name: (mean(seeds[name]), name.latent_dim, name.likelihood))
    return {name: seeds[name] for name in order}


def mean(values: list[float]) -> float:
    """Return the mean, the same whatever the order of the values."""
    return math.fsum(values) / len(values)


def contenders(found: Answer) -> list[str]:
    """Return the likelihoods worth a close look: those on the good side of the widest gap between scores.

    At least two stay; all do when no neighbours in the ranking are further apart than a factor of 1.3.
    """
    ranked = [setting.bits_per_dim for setting in found.per_likelihood]
    gaps = {cut: ranked[cut] / ranked[cut - 1] for cut in range(2, len(ranked)) if ranked[cut - 1] > 0}
    cut = max(gaps, key=lambda place: gaps[place], default=len(ranked))
    keep = cut if gaps.get(cut, 0.0) > _GAP else len(ranked)
    return [setting.likelihood for setting in found.per_likelihood[:keep]]


def sentences(found: Answer) -> list[str]:
    """Return the answer in words: who wins, how surely, and how many latents; names in backticks."""
    return [_lead(found), *_certainty(found), *_rivals(found), *_sizes(found)]


def _lead(found: Answer) -> str:
    best = found.best
    seeds = "1 seed" if best.seeds == 1 else f"{best.seeds} seeds"
    score = f"{amount(best.bits_per_dim, best.uncertainty, found.decimals)} bits/dim over {seeds}"
    where = f"On {found.dataset} at {found.levels} levels"
    return f"{where}, {named(best.likelihood, best.latent_dim)} codes a test image best: {score}."


def _rivals(found: Answer) -> list[str]:
    ties, second, said = found.ties, found.runner_up, []
    if second is None:
        return ["No other likelihood was tried."]
    if not found.tied(second):
        more = f"{found.behind(second):.{found.decimals}f} {within(second.interval, found.decimals)} more"
        said = [f"The runner-up, {_named(second)}, needs {more} ({second.bits_per_dim:.{found.decimals}f})."]
    if ties:
        listing = listed([f"{_named(s)} ({_more(found, s)})" for s in ties])
        said.append(f"{listing} {'is' if len(ties) == 1 else 'are'} indistinguishable from it.")
    return said


def _sizes(found: Answer) -> list[str]:
    if not found.other_sizes:
        return []
    same = [f"{latents(s.latent_dim)} ({_more(found, s)})" for s in found.other_sizes if found.tied(s)]
    worse = [s for s in found.other_sizes if not found.tied(s)]
    said = [f"{listed(same)} cannot be told from {found.best.latent_dim}"] if same else []
    for size in worse:
        verb = "needs" if size.latent_dim == 1 else "need"
        more = f"{found.behind(size):.{found.decimals}f} {within(size.interval, found.decimals)} more"
        said.append(f"{latents(size.latent_dim)} {verb} {more}")
    return [f"For `{found.best.likelihood}`, {'; '.join(said)}."]


def _certainty(found: Answer) -> list[str]:
    if len(found.settings) == 1:
        return []
    of = "images and seeds" if found.seeds_known else "images"
    share = percent(found.best.best_share)
    said = [f"Of {len(found.settings)} settings it is the best in {share} of the bootstrap samples of {of}."]
    if not found.seeds_known:
        said.append(
            "Each setting has one seed, so this is about these trained models: other seeds may differ."
        )
    return said


def _more(found: Answer, setting: Setting) -> str:
    return f"+{found.behind(setting):.{found.decimals}f} {within(setting.interval, found.decimals)}"


def _named(setting: Setting) -> str:
    return named(setting.likelihood, setting.latent_dim)


def _settings(
    seeds: dict[Name, list[float]], found: Comparisons, names: list[Name], dimensions: int
) -> tuple[Setting, ...]:
    best, *_ = (names.index(name) for name in seeds)
    shares, made = found.best_share(), []
    for name, values in seeds.items():
        at = names.index(name)
        same = at == best
        low, high = (0.0, 0.0) if same else found.interval(at, best)
        made.append(
            Setting(
                likelihood=name.likelihood,
                latent_dim=name.latent_dim,
                bits_per_dim=mean(values),
                uncertainty=bits_per_dim(float(found.own_errors[at]), dimensions),
                seeds=len(values),
                interval=Interval(bits_per_dim(low, dimensions), bits_per_dim(high, dimensions)),
                p_value=1.0 if same else found.p_value(at, best),
                best_share=float(shares[at]),
            )
        )
    return tuple(made)
