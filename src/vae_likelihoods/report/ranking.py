"""Which likelihood, how many latents: the answer of a study, and whether the data support it.

A *setting* is a likelihood with a latent size. Its score is the mean of bits/dim over seeds. Its
uncertainty combines, as independent errors do, half the range over seeds and the standard error over test
images. A difference smaller than its own uncertainty (both settings' combined) is called a tie. All
settings code the same test images, whose errors partly cancel in a difference: the verdict is cautious.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

from vae_likelihoods.report.comparable import require_comparable
from vae_likelihoods.units import Unit

_PM = "\u00a0±\u00a0"  # no line break around it
_GAP = 1.3  # scores further apart than this factor do not fit on one readable linear axis


@dataclass(frozen=True)
class Setting:
    """A likelihood with a latent size, and its score in bits per dimension (lower is better)."""

    likelihood: str
    latent_dim: int
    bits_per_dim: float  # mean over seeds
    half_range: float  # over seeds; 0 for one seed
    standard_error: float  # over test images, mean over seeds (each seed codes the same images)
    seeds: int

    @property
    def uncertainty(self) -> float:
        """Seeds and test images combined, in bits per dimension."""
        return math.hypot(self.half_range, self.standard_error)


@dataclass(frozen=True)
class Answer:
    """What a study says: every setting, best first; their scores have one unit."""

    study: str
    dataset: str
    unit: Unit
    settings: tuple[Setting, ...]

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

    def behind(self, setting: Setting) -> float:
        """Bits per dimension that `setting` needs more than the best one."""
        return setting.bits_per_dim - self.best.bits_per_dim

    def doubt(self, setting: Setting) -> float:
        """The uncertainty of `behind(setting)`, in bits per dimension."""
        return math.hypot(setting.uncertainty, self.best.uncertainty)

    def tied(self, setting: Setting) -> bool:
        """Whether the difference to the best is no larger than its uncertainty."""
        return self.behind(setting) <= self.doubt(setting)

    @property
    def decimals(self) -> int:
        """Decimals that show two digits of the best setting's uncertainty (3 to 6)."""
        doubt = self.best.uncertainty
        return 3 if doubt <= 0 else min(6, max(3, 1 - math.floor(math.log10(doubt))))


def answer(cells: pd.DataFrame) -> Answer:
    """Rank the settings of one study.

    Args:
        cells: the rows of one study as `summary.collect` returns them.

    Raises:
        UnlikeUnits: the rows come from more than one study, or differ in a unit or in their images.
    """
    require_comparable(cells)
    first = cells.iloc[0]
    unit = first["units"]["bits_per_dim"]
    return Answer(str(first["study"]), str(first["dataset"]), unit, tuple(_settings(cells)))


def answers(cells: pd.DataFrame) -> list[Answer]:
    """Return the `answer` of every study in `cells`, in their order."""
    return [answer(rows) for _, rows in cells.groupby("study", sort=False)]


def contenders(found: Answer) -> list[str]:
    """Return the likelihoods worth a close look: those on the good side of the widest gap between scores.

    At least two stay; all do when no neighbours in the ranking are further apart than a factor of 1.3.
    """
    scores = [setting.bits_per_dim for setting in found.per_likelihood]
    gaps = {cut: scores[cut] / scores[cut - 1] for cut in range(2, len(scores)) if scores[cut - 1] > 0}
    cut = max(gaps, key=lambda place: gaps[place], default=len(scores))
    keep = cut if gaps.get(cut, 0.0) > _GAP else len(scores)
    return [setting.likelihood for setting in found.per_likelihood[:keep]]


def sentences(found: Answer) -> list[str]:
    """Return the answer in words: who wins, how surely, and how many latents; names in backticks."""
    best, places = found.best, found.decimals
    seeds = "1 seed" if best.seeds == 1 else f"{best.seeds} seeds"
    score = f"{best.bits_per_dim:.{places}f}{_PM}{best.uncertainty:.{places}f} bits/dim over {seeds}"
    lead = f"On {found.dataset} at {found.levels} levels, {_named(best)} codes a test image best: {score}."
    return [lead, *_rivals(found), *_sizes(found)]


def _rivals(found: Answer) -> list[str]:
    places, ties, second = found.decimals, found.ties, found.runner_up
    if ties:
        listed = _listed([f"{_named(s)} (+{found.behind(s):.{places}f})" for s in ties])
        verb = "is" if len(ties) == 1 else "are"
        why = (
            "the difference is smaller than its uncertainty"
            if len(ties) == 1
            else "each differs by less than its uncertainty"
        )
        return [f"{listed} {verb} indistinguishable from it: {why}."]
    if second is None:
        return ["No other likelihood was tried."]
    more, doubt = found.behind(second), found.doubt(second)
    gap = f"{more:.{places}f}{_PM}{doubt:.{places}f}"
    return [f"The runner-up, {_named(second)}, needs {gap} more ({second.bits_per_dim:.{places}f})."]


def _sizes(found: Answer) -> list[str]:
    if not found.other_sizes:
        return []
    name, places = found.best.likelihood, found.decimals
    same = [str(s.latent_dim) for s in found.other_sizes if found.tied(s)]
    worse = [s for s in found.other_sizes if not found.tied(s)]
    said = [f"{_listed(same)} latents do as well, within the uncertainty"] if same else []
    verbs = ["needs" if s.latent_dim == 1 else "need" for s in worse]
    more = [f"{found.behind(s):.{places}f} more" for s in worse]
    said += [f"{_latents(s.latent_dim)} {verb} {m}" for s, verb, m in zip(worse, verbs, more, strict=True)]
    return [f"For `{name}`, {_listed(said)}."]


def _settings(cells: pd.DataFrame) -> list[Setting]:
    groups = cells.groupby(["likelihood", "latent_dim"], sort=False)
    found = [_setting(rows) for _, rows in groups]
    return sorted(found, key=lambda s: (s.bits_per_dim, s.latent_dim, s.likelihood))


def _setting(rows: pd.DataFrame) -> Setting:
    scores = rows["bits_per_dim"].astype(float)
    return Setting(
        likelihood=str(rows["likelihood"].iloc[0]),
        latent_dim=int(rows["latent_dim"].iloc[0]),
        bits_per_dim=float(scores.mean()),
        half_range=float(scores.max() - scores.min()) / 2,
        standard_error=float(rows["bits_per_dim_se"].astype(float).fillna(0.0).mean()),
        seeds=len(rows),
    )


def _latents(size: int) -> str:
    return "1 latent" if size == 1 else f"{size} latents"


def _named(setting: Setting) -> str:
    return f"`{setting.likelihood}` with {_latents(setting.latent_dim)}"


def _listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
