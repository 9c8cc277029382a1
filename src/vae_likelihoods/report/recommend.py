"""The recommendation of a study: one paragraph and one table, made of its numbers and of nothing else."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from vae_likelihoods.report import purposes, ranking, stability
from vae_likelihoods.report.diagnostics import diagnose
from vae_likelihoods.report.purposes import Preference, is_number
from vae_likelihoods.report.ranking import Answer, Setting, mean
from vae_likelihoods.report.stability import Agreement
from vae_likelihoods.report.words import amount, listed, named, percent, within

_FEW_SEEDS = 5
_LOOSE = 2.0  # effective samples below which hardly more than one of k carries weight


@dataclass(frozen=True)
class Table:
    """A table of texts: a header and rows."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Recommendation:
    """What a study recommends, how sure that is, and what it does not know; names in backticks."""

    answer: Answer
    preferences: tuple[Preference, ...]
    agreements: tuple[Agreement, ...]
    lead: tuple[str, ...]  # sentences: which setting, by how much, how sure
    rest: tuple[tuple[str, ...], ...]  # groups: cost, other purposes, how it holds, faults, the unknown
    table: Table

    @property
    def paragraph(self) -> str:
        """All of it in words."""
        return " ".join((*self.lead, *(sentence for group in self.rest for sentence in group)))


def recommend(found: Answer) -> Recommendation:
    """Return the recommendation of a study.

    Raises:
        UnlikeUnits: a number that would be ranked has another unit in another cell.
    """
    preferred, held = purposes.preferences(found), stability.agreements(found)
    rest = (
        _cost(found),
        purposes.sentences(found, preferred),
        stability.sentences(held),
        _findings(found),
        [f"Not known: {'; '.join(unknown(found, held))}."],
    )
    return Recommendation(
        answer=found,
        preferences=tuple(preferred),
        agreements=tuple(held),
        lead=tuple(ranking.sentences(found)),
        rest=tuple(tuple(group) for group in rest if group),
        table=_table(found, preferred),
    )


def unknown(found: Answer, held: Sequence[Agreement]) -> list[str]:
    """Return what the numbers do not say, as parts of a sentence."""
    seeds = min(setting.seeds for setting in found.settings)
    few = [f"what other seeds give (each setting has {seeds})"] if seeds < _FEW_SEEDS else []
    return [
        *few,
        *_looseness(found),
        *_untried(found, held),
        "what training settings chosen for each likelihood give, as all had the same",
        f"whether it is so beyond the {found.images:,} test images of {found.dataset}",
    ]


def markdown(table: Table) -> str:
    """Return a table as Markdown."""
    rules = ("---", *("---:" for _ in table.header[1:]))
    return "\n".join(f"| {' | '.join(row)} |" for row in (table.header, rules, *table.rows))


def _cost(found: Answer) -> list[str]:
    """Return the counted cost of the best setting, and the cheapest that may be as good."""
    parameters = f"{_of(found, found.best, 'parameters'):,.0f} parameters"
    said = [f"The best has {parameters} and takes {_multiply_adds(found, found.best)}."]
    cheapest = min(found.candidates, key=lambda s: (_of(found, s, "multiply_adds"), s.bits_per_dim))
    if _of(found, cheapest, "multiply_adds") < _of(found, found.best, "multiply_adds"):
        name = named(cheapest.likelihood, cheapest.latent_dim)
        said.append(f"The cheapest that cannot be told from it is {name}: {_multiply_adds(found, cheapest)}.")
    return said


def _findings(found: Answer) -> list[str]:
    """Return what the diagnostics name in cells of the best setting and of its ties, by setting."""
    parts = []
    for setting in (found.best, *found.ties):
        cells = [cell for cell in found.cells if cell.name == setting.name]
        named_faults = Counter(fault.name for cell in cells for fault in diagnose(cell.numbers))
        seeds = f"of {len(cells)} seeds" if len(cells) > 1 else "seed"
        faults = [f"{fault} in {count} {seeds}" for fault, count in named_faults.items()]
        parts += [f"{named(setting.likelihood, setting.latent_dim)}: {listed(faults)}"] if faults else []
    return [f"Diagnosed: {'; '.join(parts)}."] if parts else []


def _multiply_adds(found: Answer, setting: Setting) -> str:
    return f"{_of(found, setting, 'multiply_adds'):,.0f} multiply-adds an image"


def _looseness(found: Answer) -> list[str]:
    """Return how many samples carry the bound of the best, and whose bound is hardly more than the ELBO."""
    effective = {s: _of(found, s, "effective_sample_size") for s in found.per_likelihood}
    loose = [f"{named(s.likelihood, s.latent_dim)} {n:.1f}" for s, n in effective.items() if n < _LOOSE]
    k, best = found.unit.importance_samples, effective[found.best]
    said = f"how far the scores lie above -log p(x): of k = {k} samples {best:.1f} are effective for the best"
    gaps = {s: _of(found, s, "iwae_gap_nats") for s in (found.best, *found.ties)}
    annealed = [f"{named(s.likelihood, s.latent_dim)} {gap:.1f}" for s, gap in gaps.items() if gap == gap]
    nats = [f"annealing finds, in nats an image, {listed(annealed)}"] if annealed else []
    return [", ".join([said, *([f"for {listed(loose)}"] if loose else []), *nats])]


def _untried(found: Answer, held: Sequence[Agreement]) -> list[str]:
    axes = {one.axis for one in held}
    missing = ["at fewer levels"] if "levels" not in axes and found.levels > 2 else []
    missing += ["at another k"] if "samples" not in axes else []
    return [f"whether the ranking holds {' or '.join(missing)} (not measured)"] if missing else []


def _table(found: Answer, preferred: Sequence[Preference]) -> Table:
    """Return the best setting of each likelihood, and every one that may be the best, best first."""
    shown = {setting.name for setting in (*found.per_likelihood, *found.candidates)}
    header = ("likelihood", "latents", "bits/dim", "behind the best", "p", "best in", "parameters")
    words = (one.words for one in preferred)
    rows = [_row(found, setting, preferred) for setting in found.settings if setting.name in shown]
    return Table((*header, "multiply-adds", "ESS", *words), tuple(rows))


def _row(found: Answer, setting: Setting, preferred: Sequence[Preference]) -> tuple[str, ...]:
    best = setting is found.best
    gap = f"{found.behind(setting):+.{found.decimals}f} {within(setting.interval, found.decimals)}"
    return (
        f"`{setting.likelihood}`",
        str(setting.latent_dim),
        amount(setting.bits_per_dim, setting.uncertainty, found.decimals),
        "best" if best else f"{gap}{', tie' if found.tied(setting) else ''}",
        "" if best else _p(setting.p_value),
        percent(setting.best_share),
        *(_shown(_of(found, setting, name), ",.0f") for name in ("parameters", "multiply_adds")),
        _shown(_of(found, setting, "effective_sample_size"), ".1f"),
        *(f"{one.values[setting.name]:.4g}" for one in preferred),
    )


def _of(found: Answer, setting: Setting, number: str) -> float:
    """Return a number of metrics.json, the mean over seeds; NaN if a cell has none."""
    values = [cell.numbers.get(number, math.nan) for cell in found.cells if cell.name == setting.name]
    return mean([float(value) if is_number(value) else math.nan for value in values])


def _shown(value: float, form: str) -> str:
    return "–" if math.isnan(value) else format(value, form)


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
