"""The answer of a study in words; names stand in backticks."""

from __future__ import annotations

from vae_likelihoods.report.ranking import Answer, Setting
from vae_likelihoods.report.words import amount, in_words, latents, listed, percent, within


def sentences(answer: Answer) -> list[str]:
    """Return the answer in words: who wins, how surely, and how many latents; names in backticks."""
    return [_lead(answer), *_certainty(answer), *_rivals(answer), *_sizes(answer)]


def _lead(answer: Answer) -> str:
    best = answer.best
    seeds = "1 seed" if best.seeds == 1 else f"{best.seeds} seeds"
    score = f"{amount(best.bits_per_dim, best.uncertainty, answer.decimals)} bits/dim over {seeds}"
    data = f"On {answer.dataset} at {answer.levels} levels"
    return f"{data}, {in_words(*best.name)} is best: {score}."


def _rivals(answer: Answer) -> list[str]:
    ties, second = answer.ties, answer.runner_up
    if second is None:
        return ["No other likelihood was tried."]
    texts = []
    if not answer.tied(second):
        more = _more(answer, second).removeprefix("+")
        texts = [f"The runner-up, {in_words(*second.name)}, needs {more} more ({_score(answer, second)})."]
    if ties:
        names = listed([f"{in_words(*tie.name)} ({_more(answer, tie)})" for tie in ties])
        texts.append(f"{names} {'is' if len(ties) == 1 else 'are'} indistinguishable from it.")
    return texts


def _sizes(answer: Answer) -> list[str]:
    if not answer.other_sizes:
        return []
    tied = [size for size in answer.other_sizes if answer.tied(size)]
    parts = []
    if tied:
        names = listed([f"{latents(size.latent_dim)} ({_more(answer, size)})" for size in tied])
        parts = [f"{names} are indistinguishable from {answer.best.latent_dim}"]
    for size in answer.other_sizes:
        if size not in tied:
            verb = "needs" if size.latent_dim == 1 else "need"
            more = _more(answer, size).removeprefix("+")
            parts.append(f"{latents(size.latent_dim)} {verb} {more} more")
    return [f"For `{answer.best.likelihood}`, {'; '.join(parts)}."]


def _certainty(answer: Answer) -> list[str]:
    if len(answer.settings) == 1:
        return []
    drawn = "images and seeds" if answer.seeds_known else "images"
    share = percent(answer.best.best_share)
    texts = [
        f"Of {len(answer.settings)} settings it is the best in {share} of the bootstrap samples of {drawn}."
    ]
    if not answer.seeds_known:
        texts.append(
            "Each setting has one seed, so this is about these trained models: other seeds may differ."
        )
    return texts


def _more(answer: Answer, setting: Setting) -> str:
    return f"{answer.behind(setting):+.{answer.decimals}f} {within(setting.interval, answer.decimals)}"


def _score(answer: Answer, setting: Setting) -> str:
    return f"{setting.bits_per_dim:.{answer.decimals}f}"
