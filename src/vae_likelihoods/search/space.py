"""What tuning may vary of a likelihood's settings, and the settings that it tries."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vae_likelihoods.cells.settings import Settings
from vae_likelihoods.errors import require

_RATES = (5e-4, 1e-2)  # of Adam, for networks of this size
_DIGITS = 2  # significant ones of a number that is drawn: more would say more than is known


@dataclass(frozen=True)
class Range:
    """Numbers between two ends, drawn evenly, or evenly on a logarithmic scale."""

    low: float
    high: float
    log: bool = False


@dataclass(frozen=True)
class Discrete:
    """Some values, in an order in which neighbours are alike."""

    values: tuple[Any, ...]


Searched = Range | Discrete
Space = Mapping[str, Searched]
"""What is searched, by the key of the setting."""


def space(settings: Settings, latent_dims: Sequence[int], first_rung: int) -> dict[str, Searched]:
    """Return what is searched for the likelihood of `settings`: no key has one value alone.

    That is the latent size, the learning rate, the epochs in which the weight of the KL rises, and what the
    likelihood's YAML offers under `_search_`.

    Args:
        settings: of a cell with the likelihood's defaults.
        latent_dims: the latent sizes in the race.
        first_rung: the epochs after which trials are compared for the first time: the KL has its whole
            weight by then.

    Raises:
        SettingError: `_search_` has a key that the likelihood has not, or no range and no list.
    """
    found: dict[str, Searched] = {"latent_dim": Discrete(tuple(latent_dims))}
    if "lr" in settings.optimizer:
        found["optimizer.lr"] = Range(*_RATES, log=True)
    if "warmup_epochs" in settings.objective:
        found["objective.warmup_epochs"] = Discrete(tuple(sorted({0, first_rung // 2})))
    for key, content in settings.search.items():
        path = f"likelihood._search_.{key}"
        require(key in settings.likelihood, path, content, "is no setting of it", settings.likelihood)
        found[f"likelihood.{key}"] = searched(path, content)
    return {key: each for key, each in found.items() if isinstance(each, Range) or len(each.values) > 1}


def searched(path: str, content: Any) -> Searched:
    """Read what a YAML says of one setting.

    Raises:
        SettingError: it is no list of values, and no range.

    Example:
        >>> searched("components", [3, 5]), searched("scale", {"low": 0.01, "high": 1, "log": True})
        (Discrete(values=(3, 5)), Range(low=0.01, high=1.0, log=True))
    """
    reason = "must be a list of values, or {low: ..., high: ..., log: true|false}"
    if isinstance(content, list) and content:
        return Discrete(tuple(content))
    require(
        isinstance(content, Mapping) and {"low", "high"} <= {*content} <= {"low", "high", "log"},
        path,
        content,
        reason,
    )
    low, high, log = content["low"], content["high"], content.get("log", False)
    numbers = all(type(each) in (int, float) and math.isfinite(each) for each in (low, high))
    require(numbers and low < high and (low > 0 or not log), path, content, reason)
    return Range(float(low), float(high), bool(log))


def trials(space: Space, default: Mapping[str, Any], count: int, seed: int) -> list[dict[str, Any]]:
    """Return the settings of `count` trials: the default, then points that fill the space evenly.

    The points are those of a scrambled Sobol sequence, from Optuna. They hang on the space and the seed
    alone, so a race that was stopped goes on with the same ones.

    Args:
        space: what is searched.
        default: the default value of each of its keys.
        count: of trials.
        seed: of the sequence.
    """
    import optuna

    if not space:
        return [dict(default)]
    of_optuna = optuna.distributions
    distributions: dict[str, optuna.distributions.BaseDistribution] = {
        key: of_optuna.FloatDistribution(each.low, each.high, log=each.log)
        if isinstance(each, Range)
        else of_optuna.IntDistribution(0, len(each.values) - 1)
        for key, each in space.items()
    }
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.QMCSampler(seed=seed, scramble=True, warn_independent_sampling=False)
        study = optuna.create_study(sampler=sampler)
        # Optuna learns the space from a finished trial; its value means nothing.
        middle = {key: each.low if isinstance(each, Range) else 0 for key, each in space.items()}
        study.add_trial(optuna.trial.create_trial(params=middle, distributions=distributions, value=0.0))
        drawn = [study.ask(distributions).params for _ in range(count - 1)]
    return [
        dict(default),
        *({key: _value(space[key], each) for key, each in point.items()} for point in drawn),
    ]


def _value(searched: Searched, drawn: Any) -> Any:
    return float(f"{drawn:.{_DIGITS}g}") if isinstance(searched, Range) else searched.values[drawn]
