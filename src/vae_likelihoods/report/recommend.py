"""The recommendation of a study: one paragraph and one table, made of its numbers alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tabulate import tabulate

from vae_likelihoods.report import prose, purposes, stability, tuning
from vae_likelihoods.report.diagnostics import Finding, diagnose
from vae_likelihoods.report.purposes import Preference
from vae_likelihoods.report.ranking import Answer, Baseline, Setting, mean
from vae_likelihoods.report.records import is_number
from vae_likelihoods.report.stability import Agreement
from vae_likelihoods.report.tuning import Tuning
from vae_likelihoods.report.words import amount, listed, percent, within
from vae_likelihoods.units.declaration import Declaration

_CLOSING = 0.5  # of the distance to the best
_FEW_SEEDS = 5
_LOOSE = 2.0  # with fewer effective samples, hardly more than one of k carries weight
_COSTS = ("parameters", "multiply_adds", "effective_sample_size")


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
    lead: tuple[str, ...]  # sentences: which setting, by how much, how sure, and what is wrong with it
    rest: tuple[tuple[str, ...], ...]  # groups: cost, other purposes, how it holds, the unknown
    table: Table
    tuning: Table | None = None  # what tuning changed for each likelihood; None: nothing was tuned

    @property
    def paragraph(self) -> str:
        """All of it in words."""
        return " ".join((*self.lead, *(sentence for group in self.rest for sentence in group)))


def recommend(answer: Answer, tuned: Tuning | None = None) -> Recommendation:
    """Return the recommendation of a study.

    Args:
        answer: the ranking.
        tuned: the race that chose its settings; None: there was none.
    """
    preferred, held = purposes.preferences(answer), stability.agreements(answer)
    of_winner = (
        _cost(answer),
        purposes.sentences(answer, preferred),
        stability.sentences(held),
    )
    rest = (
        *(() if answer.unbeaten else of_winner),
        *([tuned.sentences()] if tuned else []),
        [f"Not known: {'; '.join(unknown(answer, held, tuned))}."],
    )
    return Recommendation(
        answer=answer,
        preferences=tuple(preferred),
        agreements=tuple(held),
        lead=(*prose.sentences(answer), *_findings(answer), *_closing(answer)),
        rest=tuple(tuple(group) for group in rest if group),
        table=_table(answer, preferred),
        tuning=Table(tuning.HEADER, tuple(tuned.rows())) if tuned else None,
    )


def unknown(answer: Answer, held: Sequence[Agreement], tuned: Tuning | None = None) -> list[str]:
    """Return what the numbers do not say, as parts of a sentence."""
    seeds = min(setting.seeds for setting in answer.settings)
    few = [f"what other seeds give (each setting has {seeds})"] if seeds < _FEW_SEEDS else []
    return [
        *few,
        _looseness(answer),
        *_untried(answer, held),
        _tuned(answer, tuned),
        f"whether this holds beyond the {answer.images:,} test images of {answer.dataset}",
    ]


def markdown(table: Table) -> str:
    """Return a table as Markdown, all columns but the first to the right."""
    sides = ("left", *("right" for _ in table.header[1:]))
    return tabulate(table.rows, table.header, tablefmt="pipe", colalign=sides, disable_numparse=True)


def _cost(answer: Answer) -> list[str]:
    """Return the counted cost of the best setting, and the cheapest that may be as good."""
    costs = {setting: _of(answer, setting, "multiply_adds") for setting in answer.candidates}
    parameters = _of(answer, answer.best, "parameters")
    if math.isnan(parameters) or any(map(math.isnan, costs.values())):
        return []
    products = {setting: f"{cost:,.0f} multiply-adds an image" for setting, cost in costs.items()}
    texts = [f"The best has {parameters:,.0f} parameters and takes {products[answer.best]}."]
    cheapest = min(answer.candidates, key=lambda s: (costs[s], s.bits_per_dim))
    if costs[cheapest] < costs[answer.best]:
        name = cheapest.name.in_words
        texts.append(f"The cheapest that is indistinguishable from it is {name}: {products[cheapest]}.")
    return texts


def _findings(answer: Answer) -> list[str]:
    """Return what the diagnostics name in cells of the best setting and of its ties, by setting."""
    parts = []
    for setting in (answer.best, *answer.ties):
        faults = diagnosed(answer, setting)
        seeds = f"of {setting.seeds} seeds" if setting.seeds > 1 else "seed"
        texts = [f"{name} in {len(found)} {seeds} ({found[0].text})" for name, found in faults.items()]
        parts += [f"{setting.name.in_words}: {listed(texts)}"] if texts else []
    return [f"But: {'; '.join(parts)}."] if parts else []


def _closing(answer: Answer) -> list[str]:
    """Return which likelihoods came closer to the best at the end by much of what they are still behind."""
    gains = {setting: _of(answer, setting, "late_gain_bits") for setting in answer.per_likelihood}
    closer = {setting: gain - gains[answer.best] for setting, gain in gains.items()}
    near = [s for s in answer.per_likelihood[1:] if closer[s] >= _CLOSING * answer.behind(s)]
    if answer.unbeaten or not near:
        return []
    names = [f"{s.name.in_words} came {closer[s]:.{answer.decimals}f} bits/dim closer" for s in near]
    return [f"More training may change the order: in the last third of the epochs {listed(names)}."]


def diagnosed(answer: Answer, setting: Setting) -> dict[str, list[Finding]]:
    """Return what is wrong with the cells of a setting, by the name of the fault: one for each seed."""
    faults: dict[str, list[Finding]] = {}
    for cell in answer.cells:
        if cell.name == setting.name:
            for fault in diagnose({**cell.values, **dict.fromkeys(cell.missing)}):
                faults.setdefault(fault.name, []).append(fault)
    return faults


def _looseness(answer: Answer) -> str:
    """Return how many samples carry the bound of the best, and whose bound is hardly more than the ELBO."""
    sizes = {s: _of(answer, s, "effective_sample_size") for s in answer.per_likelihood}
    loose = [f"{size:.1f} for {s.name.in_words}" for s, size in sizes.items() if size < _LOOSE]
    gaps = {s: _of(answer, s, "iwae_gap_nats") for s in (answer.best, *answer.ties)}
    annealed = [f"{gap:.1f} for {s.name.in_words}" for s, gap in gaps.items() if not math.isnan(gap)]
    k, best = answer.unit.importance_samples, sizes[answer.best]
    parts = [
        *([] if math.isnan(best) else [f"of k = {k} samples {best:.1f} are effective for the best"]),
        *([listed(loose)] if loose else []),
        *([f"in nats an image, annealing finds {listed(annealed)}"] if annealed else []),
    ]
    return f"how far the scores lie above -log p(x){': ' if parts else ''}{', '.join(parts)}"


def _tuned(answer: Answer, tuned: Tuning | None) -> str:
    if tuned:
        return f"what settings beyond {listed(tuned.keys)} give, and more than {tuned.trials} trials"
    if not answer.varied:
        return "what training settings chosen for each likelihood give (all had the same)"
    return f"what settings beyond the tried {listed(answer.varied)} give (all others were the same)"


def _untried(answer: Answer, held: Sequence[Agreement]) -> list[str]:
    axes = {agreement.axis for agreement in held}
    untried = ["at fewer levels"] if "levels" not in axes and answer.levels > 2 else []
    untried += ["at another k"] if "samples" not in axes else []
    return [f"whether the ranking holds {' or '.join(untried)} (not measured)"] if untried else []


def _table(answer: Answer, preferred: Sequence[Preference]) -> Table:
    """Return the best setting of each likelihood, all that may be the best, and the baselines, best first."""
    names = {setting.name for setting in (*answer.per_likelihood, *answer.candidates)}
    shown = [setting for setting in answer.settings if setting.name in names]
    findings = {setting: ", ".join(_named(answer, setting)) for setting in shown}
    header = ["likelihood", "latents", *answer.varied, "bits/dim", "behind the best", "p", "best in"]
    header += ["findings"] if any(findings.values()) else []
    header += [each.header for each in _declared_costs(answer)]
    header += [each.number.header for each in preferred]
    rows = [(each.bits_per_dim, _row(answer, each, found, preferred)) for each, found in findings.items()]
    rows += [(each.bits_per_dim, _baseline_row(answer, each)) for each in answer.baselines]
    cells = [row for _, row in sorted(rows, key=lambda row: row[0])]
    return Table(tuple(header), tuple(tuple(row.get(name, "") for name in header) for row in cells))


def _named(answer: Answer, setting: Setting) -> list[str]:
    """Return the names of a setting's faults, each with its count of seeds if not all have it."""
    faults = diagnosed(answer, setting).items()
    return [
        name if len(found) == setting.seeds else f"{name} ({len(found)} of {setting.seeds})"
        for name, found in faults
    ]


def _baseline_row(answer: Answer, baseline: Baseline) -> dict[str, str]:
    """Return what a model without latents has, by column."""
    behind, places = baseline.bits_per_dim - answer.best.bits_per_dim, answer.decimals
    score = f"{baseline.bits_per_dim:.{places}f}"
    return {"likelihood": baseline.name, "bits/dim": score, "behind the best": f"{behind:+.{places}f}"}


def _row(answer: Answer, setting: Setting, findings: str, preferred: Sequence[Preference]) -> dict[str, str]:
    """Return what a setting has, by column."""
    best = setting is answer.best
    gap = f"{answer.behind(setting):+.{answer.decimals}f} {within(setting.interval, answer.decimals)}"
    return {
        "likelihood": f"`{setting.likelihood}`",
        "latents": str(setting.latent_dim),
        **dict(zip(answer.varied, answer.variant(setting), strict=True)),
        "bits/dim": amount(setting.bits_per_dim, setting.uncertainty, answer.decimals),
        "behind the best": "best" if best else f"{gap}{', tie' if answer.tied(setting) else ''}",
        "p": "" if best else _p(setting.p_value),
        "best in": "" if setting.best_share is None else percent(setting.best_share),
        "findings": findings,
        **{each.header: each.text(_of(answer, setting, each.name)) for each in _declared_costs(answer)},
        **{each.number.header: each.number.text(each.values[setting.name]) for each in preferred},
    }


def _declared_costs(answer: Answer) -> list[Declaration]:
    return [answer.declarations[name] for name in _COSTS if name in answer.declarations]


def _of(answer: Answer, setting: Setting, number: str) -> float:
    """Return a number of metrics.json, the mean over seeds; NaN if a cell has none."""
    values = [cell.values.get(number, math.nan) for cell in answer.cells if cell.name == setting.name]
    return mean([float(value) if is_number(value) else math.nan for value in values])


def _p(value: float | None) -> str:
    if value is None:
        return ""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
