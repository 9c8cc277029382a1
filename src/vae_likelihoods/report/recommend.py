"""The recommendation of a study: one paragraph and one table, made of its numbers alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tabulate import tabulate

from vae_likelihoods.report import prose, purposes, scores, stability, tuning
from vae_likelihoods.report.diagnostics import Finding, Thresholds, diagnose
from vae_likelihoods.report.purposes import Preference
from vae_likelihoods.report.ranking import Answer, Baseline, Setting, mean
from vae_likelihoods.report.records import is_number
from vae_likelihoods.report.stability import Agreement
from vae_likelihoods.report.tuning import Tuning
from vae_likelihoods.report.words import amount, listed, percent, signed, within
from vae_likelihoods.units.declaration import Declaration

_CLOSING = 0.5  # of the distance to the best
_FEW_SEEDS = 5
_LOOSE = 2.0  # with fewer effective samples, hardly more than one of k carries weight
_SCORE, _DRAW = "multiply_adds", "multiply_adds_to_draw"
_COSTS = ("parameters", _SCORE, _DRAW, "effective_sample_size")
_OF_STEPS = Thresholds()
_OF_FITTING = Thresholds(least_epochs=0, warmup_share=1.0)  # may be done after one pass, and has no warm-up


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
        *([tuned.sentences(answer.noun)] if tuned else []),
        [f"Not known: {'; '.join(unknown(answer, held, tuned))}."],
    )
    return Recommendation(
        answer=answer,
        preferences=tuple(preferred),
        agreements=tuple(held),
        lead=(*prose.sentences(answer), *_findings(answer), *_closing(answer)),
        rest=tuple(tuple(group) for group in rest if group),
        table=_table(answer, preferred),
        tuning=Table((answer.noun, *tuning.HEADER), tuple(tuned.rows())) if tuned else None,
    )


def unknown(answer: Answer, held: Sequence[Agreement], tuned: Tuning | None = None) -> list[str]:
    """Return what the numbers do not say, as parts of a sentence."""
    seeds = min((setting.seeds for setting in answer.settings if not answer.steady(setting)), default=None)
    few = seeds is not None and seeds < _FEW_SEEDS
    return [
        *([f"what other seeds give (each setting has {seeds})"] if few else []),
        *_looseness(answer),
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
    costs = {setting: _of(answer, setting, _SCORE) for setting in answer.candidates}
    parameters = _of(answer, answer.best, "parameters")
    if math.isnan(parameters) or any(map(math.isnan, costs.values())):
        return []
    texts = [f"The best has {parameters:,.0f} parameters and takes {_products(answer, answer.best)}."]
    cheapest = min(answer.candidates, key=lambda s: (costs[s], s.bits_per_dim))
    if costs[cheapest] < costs[answer.best]:
        name, products = cheapest.name.in_words, _products(answer, cheapest)
        texts.append(f"The cheapest that is indistinguishable from it is {name}: {products}.")
    return texts


def _products(answer: Answer, setting: Setting) -> str:
    """Return the multiply-adds of a setting, those of drawing too if they are more."""
    to_draw = f", and {_of(answer, setting, _DRAW):,.0f} to draw one" if _draws_dear(answer, setting) else ""
    return f"{_of(answer, setting, _SCORE):,.0f} multiply-adds an image{to_draw}"


def _draws_dear(answer: Answer, setting: Setting) -> bool:
    """Whether drawing an image takes more than scoring one, as where pixels follow from each other."""
    return _of(answer, setting, _DRAW) > _of(answer, setting, _SCORE)


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
    gains = {setting: _late_gain(answer, setting) for setting in answer.per_likelihood}
    closer = {setting: gain - gains[answer.best] for setting, gain in gains.items()}
    near = [s for s in answer.per_likelihood[1:] if closer[s] >= _CLOSING * answer.behind(s)]
    if answer.unbeaten or not near:
        return []
    names = [f"{s.name.in_words} came {closer[s]:.{answer.decimals}f} bits/dim closer" for s in near]
    return [f"More training may change the order: in the last third of the epochs {listed(names)}."]


def _late_gain(answer: Answer, setting: Setting) -> float:
    """Return what the last third of the epochs gained; 0 where a model was fitted in fewer."""
    gain = _of(answer, setting, "late_gain_bits")
    fitted = any(cell.fits_itself for cell in answer.cells if cell.name == setting.name)
    return 0.0 if fitted and math.isnan(gain) else gain


def diagnosed(answer: Answer, setting: Setting) -> dict[str, list[Finding]]:
    """Return what is wrong with the cells of a setting, by the name of the fault: one for each seed."""
    faults: dict[str, list[Finding]] = {}
    for cell in answer.cells:
        if cell.name == setting.name:
            limits = _OF_FITTING if cell.fits_itself else _OF_STEPS
            for fault in diagnose({**cell.values, **dict.fromkeys(cell.missing)}, limits):
                faults.setdefault(fault.name, []).append(fault)
    return faults


def _looseness(answer: Answer) -> list[str]:
    """Return how many samples carry the best bound, and whose bound is hardly more than the ELBO."""
    bounds = [setting for setting in answer.per_likelihood if not setting.exact]
    if not bounds:
        return []
    first, *others = bounds
    name = "the best" if first is answer.best else first.name.in_words
    sizes = {s: _of(answer, s, "effective_sample_size") for s in bounds}
    loose = [f"{sizes[s]:.1f} for {s.name.in_words}" for s in others if sizes[s] < _LOOSE]
    gaps = {s: _of(answer, s, "iwae_gap_nats") for s in dict.fromkeys((answer.best, *answer.ties, first))}
    annealed = [f"{gap:.1f} for {s.name.in_words}" for s, gap in gaps.items() if not math.isnan(gap)]
    effective = f"of k = {answer.unit.importance_samples} samples {sizes[first]:.1f} are effective for {name}"
    parts = [
        *([] if math.isnan(sizes[first]) else [effective]),
        *([listed(loose)] if loose else []),
        *([f"in nats an image, annealing finds {listed(annealed)}"] if annealed else []),
    ]
    what = "bounds" if answer.any_exact else "scores"
    return [f"how far the {what} lie above -log p(x){': ' if parts else ''}{', '.join(parts)}"]


def _tuned(answer: Answer, tuned: Tuning | None) -> str:
    if tuned:
        return f"what settings beyond {listed(tuned.keys)} give, and more than {tuned.trials} trials"
    if not answer.varied:
        return f"what training settings chosen for each {answer.noun} give (all had the same)"
    return f"what settings beyond the tried {listed(answer.varied)} give (all others were the same)"


def _untried(answer: Answer, held: Sequence[Agreement]) -> list[str]:
    axes = {agreement.axis for agreement in held}
    untried = ["at fewer levels"] if "levels" not in axes and answer.levels > 2 else []
    untried += ["at another k"] if answer.any_bound and stability.SAMPLES not in axes else []
    return [f"whether the ranking holds {' or '.join(untried)} (not measured)"] if untried else []


def _table(answer: Answer, preferred: Sequence[Preference]) -> Table:
    """Return the best setting of each likelihood, all that may be the best, and the baselines, best first."""
    names = {setting.name for setting in (*answer.per_likelihood, *answer.candidates)}
    shown = [setting for setting in answer.settings if setting.name in names]
    findings = {setting: ", ".join(_named(answer, setting)) for setting in shown}
    header = [answer.noun, "latents", *answer.varied, "bits/dim"]
    header += ["score"] if answer.any_exact else []
    header += ["behind the best", "p", "best in"]
    header += ["findings"] if any(findings.values()) else []
    costs = _cost_columns(answer, shown)
    header += [each.header for each in (*costs, *(each.number for each in preferred))]
    rows = [
        (each.bits_per_dim, _row(answer, each, found, preferred) | _texts(answer, each, costs))
        for each, found in findings.items()
    ]
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
    return {
        answer.noun: baseline.name,
        "bits/dim": score,
        "score": scores.EXACT,
        "behind the best": signed(behind, places),
    }


def _row(answer: Answer, setting: Setting, findings: str, preferred: Sequence[Preference]) -> dict[str, str]:
    """Return what a setting has, by column."""
    best = setting is answer.best
    gap = f"{answer.behind(setting):+.{answer.decimals}f} {within(setting.interval, answer.decimals)}"
    return {
        answer.noun: f"`{setting.likelihood}`",
        "latents": str(setting.latent_dim or ""),
        **dict(zip(answer.varied, answer.variant(setting), strict=True)),
        "bits/dim": amount(setting.bits_per_dim, setting.uncertainty, answer.decimals),
        "score": setting.score_is,
        "behind the best": "best" if best else f"{gap}{', tie' if answer.tied(setting) else ''}",
        "p": "" if best else _p(setting.p_value),
        "best in": "" if setting.best_share is None else percent(setting.best_share),
        "findings": findings,
        **{each.number.header: each.number.text(each.values.get(setting.name)) for each in preferred},
    }


def _texts(answer: Answer, setting: Setting, numbers: Sequence[Declaration]) -> dict[str, str]:
    return {each.header: each.text(_of(answer, setting, each.name)) for each in numbers}


def _cost_columns(answer: Answer, shown: Sequence[Setting]) -> list[Declaration]:
    """Return the costs that a table of the settings `shown` has: those that some of them have.

    What drawing takes is left out where it is never more than what scoring takes.
    """
    known = (name for name in _COSTS if any(not math.isnan(_of(answer, s, name)) for s in shown))
    dear = any(_draws_dear(answer, setting) for setting in shown)
    return [answer.declarations[name] for name in known if name != _DRAW or dear]


def _of(answer: Answer, setting: Setting, number: str) -> float:
    """Return a number of metrics.json, the mean over seeds; NaN if a cell has none."""
    values = [cell.values.get(number, math.nan) for cell in answer.cells if cell.name == setting.name]
    return mean([float(value) if is_number(value) else math.nan for value in values])


def _p(value: float | None) -> str:
    if value is None:
        return ""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
