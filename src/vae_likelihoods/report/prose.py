"""The answer of a study in words; names stand in backticks."""

from __future__ import annotations

from collections.abc import Mapping

from vae_likelihoods.report.paired import FEWEST_IMAGES
from vae_likelihoods.report.ranking import Answer, Baseline, Setting
from vae_likelihoods.report.words import amount, counted, latents, listed, percent, shortened, within


def sentences(answer: Answer) -> list[str]:
    """Return the answer in words: who wins, how surely, and how many latents; names in backticks."""
    if answer.unbeaten:
        return [_no_winner(answer)]
    return [
        _lead(answer),
        *_baselines(answer),
        *_certainty(answer),
        *_rivals(answer),
        *_kinds(answer),
        *_sizes(answer),
        *_variants(answer),
    ]


def _lead(answer: Answer) -> str:
    return f"{_data(answer)}, {answer.best.name.in_words} is best: {score_of_best(answer)}."


def _no_winner(answer: Answer) -> str:
    """Return that nothing is recommended; what comes close to a baseline is named all the same."""
    names = listed([_baseline(answer, each) for each in answer.unbeaten])
    closest = f"the best of {counted(len(answer.settings), 'setting')} is {answer.best.name.in_words}"
    return (
        f"{_data(answer)}, no model beats {names}, without latents and training: "
        f"{closest}, {score_of_best(answer)}. So nothing is recommended."
    )


def _baselines(answer: Answer) -> list[str]:
    names = [_baseline(answer, each) for each in answer.baselines]
    return [f"Without latents and training, it would be {listed(names)}."] if names else []


def _baseline(answer: Answer, baseline: Baseline) -> str:
    return f"{baseline.bits_per_dim:.{answer.decimals}f} ({baseline.name})"


def _data(answer: Answer) -> str:
    return f"On {answer.dataset} at {answer.levels} levels"


def score_of_best(answer: Answer) -> str:
    """Return the score of the best setting, with its standard error and the number of seeds."""
    best = answer.best
    score = amount(best.bits_per_dim, best.uncertainty, answer.decimals)
    return f"{score} bits/dim over {counted(best.seeds, 'seed')}"


def _rivals(answer: Answer) -> list[str]:
    ties, second = answer.ties, answer.runner_up
    if second is None:
        return [f"No other {answer.noun} was tried."]
    texts = _behind(answer, "The runner-up", second)
    first = next((setting for setting in answer.settings if setting.latent_dim), None)
    if first is not None and not answer.best.latent_dim and not second.latent_dim:
        texts += _behind(answer, "The best with latents", first)
    if ties:
        names = listed([f"{tie.name.in_words} ({_more(answer, tie)})" for tie in ties])
        texts.append(f"{names} {'is' if len(ties) == 1 else 'are'} indistinguishable from it.")
    return texts


def _behind(answer: Answer, what: str, setting: Setting) -> list[str]:
    """Return how far a setting is behind the best; nothing for a tie."""
    if setting.interval is None:
        return [f"{what} is {setting.name.in_words}: {_score(answer, setting)}, {_more(answer, setting)}."]
    if answer.tied(setting):
        return []
    more = _more(answer, setting).removeprefix("+")
    return [f"{what}, {setting.name.in_words}, needs {more} more ({_score(answer, setting)})."]


def _kinds(answer: Answer) -> list[str]:
    """Return what it means that the best score and the next one are not of one kind."""
    best, second = answer.best, answer.runner_up
    if second is None or best.exact == second.exact:
        return []
    if best.exact:
        bound = f"that of {second.name.in_words} is a bound, which may be loose"
        return [f"Its score is exact, {bound}: that model is not proven worse."]
    return [f"Its score is a bound, that of {second.name.in_words} is exact: the best may be better still."]


def _sizes(answer: Answer) -> list[str]:
    sizes = {setting: latents(setting.latent_dim) for setting in answer.other_sizes}
    parts = _against(answer, sizes, str(answer.best.latent_dim))
    return [f"For {answer.best.name.family_in_words}, {'; '.join(parts)}."] if parts else []


def _variants(answer: Answer) -> list[str]:
    best, others = answer.best.name, {each: each.name.variant for each in answer.other_variants}
    parts = _against(answer, others, best.variant)
    size = f" with {latents(best.latent_dim)}" if best.latent_dim else ""
    return [f"For `{best.likelihood}`{size}, {'; '.join(parts)}."] if parts else []


def _against(answer: Answer, others: Mapping[Setting, str], own: str) -> list[str]:
    """Return which of the others are indistinguishable from the best, and how much more the rest need."""
    tied = [f"{words} ({_more(answer, each)})" for each, words in others.items() if answer.tied(each)]
    verb = "is" if len(tied) == 1 and tied[0].startswith("1 latent ") else "are"
    parts = [f"{listed(tied)} {verb} indistinguishable from {own}"] if tied else []
    for each, words in others.items():
        if each.interval is None:
            parts.append(f"{words}: {_more(answer, each)}")
        elif not answer.tied(each):
            verb = "need" if words.endswith("latents") else "needs"
            parts.append(f"{words} {verb} {_more(answer, each).removeprefix('+')} more")
    return parts


def _certainty(answer: Answer) -> list[str]:
    if len(answer.settings) == 1:
        return []
    drawn, share = "images and seeds" if answer.seeds_known else "images", answer.best.best_share
    settings = f"Of {len(answer.settings)} settings it is the best in"
    texts = [_withheld(answer)] if answer.withheld or share is None else []
    if share is not None:
        texts = [f"{settings} {percent(share)} of the bootstrap samples of {drawn}.", *texts]
    if not answer.seeds_known:
        texts.append(
            "Each setting has one seed, so this is about these trained models: other seeds may differ."
        )
    if answer.uneven:
        names = listed([each.name.in_words for each in answer.uneven])
        texts.append(
            f"Some seed of {names} lies too far from the others for normal effects of seeds, so intervals "
            "may not hold, and more than 5 % of studies may call the setting that is truly best worse."
        )
    return texts


def _withheld(answer: Answer) -> str:
    if answer.images < FEWEST_IMAGES:
        few = f"{answer.images} test images are too few, it takes {FEWEST_IMAGES}"
        return f"How sure that is cannot be said: {few}."
    names = shortened([each.name.in_words for each in answer.withheld])
    return f"A few images make up the difference to {names}: too few images for an interval."


def _more(answer: Answer, setting: Setting) -> str:
    return f"{answer.behind(setting):+.{answer.decimals}f} {within(setting.interval, answer.decimals)}"


def _score(answer: Answer, setting: Setting) -> str:
    return f"{setting.bits_per_dim:.{answer.decimals}f}"
