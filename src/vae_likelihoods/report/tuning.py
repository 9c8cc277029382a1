"""What tuning changed in a study: read from `tune/<study>.yaml`, which is in git."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from scipy.stats import kendalltau

from vae_likelihoods.errors import require
from vae_likelihoods.report.records import is_number
from vae_likelihoods.report.words import counted, listed
from vae_likelihoods.units.variants import USUAL, text

_NAMED = ("model", "likelihood")
_SCORE = "validation_bits_per_dim"


@dataclass(frozen=True)
class Tuned:
    """What tuning made of one likelihood, in bits/dim of the validation images; infinite if it failed.

    A model that has no likelihood stands in the place of one.
    """

    likelihood: str
    default: float
    best: float
    epochs: int
    failed: int  # trials that ended early
    chosen: tuple[str, ...]  # of each setting that was frozen, what was chosen for it


@dataclass(frozen=True)
class Tuning:
    """A race that was run before a study was trained.

    Args:
        trials: of each likelihood.
        rungs: the epochs after which trials were compared; the last is the end.
        images: of the validation split.
        likelihoods: the best after tuning first.
        keys: what was tuned.
    """

    trials: int
    rungs: tuple[int, ...]
    images: int
    likelihoods: tuple[Tuned, ...]
    keys: tuple[str, ...]

    @property
    def before(self) -> list[str]:
        """The likelihoods with their default settings, the best first."""
        return [each.likelihood for each in sorted(self.likelihoods, key=lambda each: each.default)]

    @property
    def tau(self) -> float | None:
        """Kendall's tau of the rankings before and after; None for one likelihood."""
        if len(self.likelihoods) < 2:
            return None
        pairs = [(each.default, each.best) for each in self.likelihoods]
        value = float(kendalltau(*zip(*pairs, strict=True)).statistic)
        return None if math.isnan(value) else value

    def sentences(self, noun: str) -> list[str]:
        """Return what tuning changed, in words; names in backticks.

        Args:
            noun: what they are names of, see `ranking.Answer`.
        """
        what = f"{counted(self.trials, 'trial')} of each {noun} over {listed(self.keys)}"
        failed, tried = sum(each.failed for each in self.likelihoods), self.trials * len(self.likelihoods)
        what += f"; {failed} of all {tried} failed" if failed else ""
        start = f"Each {noun} was tuned on the validation images ({what})"
        first, after = self.before[0], self.likelihoods[0].likelihood
        if self.tau is None:
            return [f"{start}."]
        taus = f"Kendall's tau of the rankings before and after is {self.tau:.2f}"
        if first == after:
            return [f"{start}: {taus}, and the first place did not hang on it."]
        return [
            f"{start}: {taus}, and the first place hung on it: with the default settings, `{first}` comes "
            f"before `{after}`."
        ]

    def rows(self) -> list[tuple[str, ...]]:
        """Return the texts of a table, one row for each likelihood; `HEADER` is what follows its name."""
        return [
            (
                f"`{each.likelihood}`",
                _score(each.default),
                _score(each.best),
                f"{each.epochs:,}",
                str(each.failed),
                "; ".join(each.chosen),
            )
            for each in self.likelihoods
        ]


HEADER = ("default settings", "tuned", "epochs trained", "failed trials", "chosen")
NOTE = (
    "Bits/dim of the validation images in the race, one seed: what tuning gained. The scores of the study "
    "are those of other seeds, on the test images."
)


def of_study(study: str, home: Path, cells: pd.DataFrame) -> Tuning | None:
    """Return the race of a study whose cells say that they were tuned; None for any other.

    Args:
        study: its name.
        home: the folder of params.yaml, which has `tune/<study>.yaml` beside it; without the file, nothing is
            known of the race.
        cells: rows of `summary.collect`.
    """
    path = home / "tune" / f"{study}.yaml"
    own = cells[cells["study"] == study]
    return read(path) if any(map(bool, own["tuned"])) and path.is_file() else None


def read(path: Path) -> Tuning | None:
    """Read the file of a study; None if it says that the study is not tuned.

    Raises:
        SettingError: if it is damaged.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        choices, race = content["choices"], content.get("race")
        tuning = None if not choices else _tuning(choices, race)
        whole = True
    except (AttributeError, LookupError, StopIteration, TypeError, ValueError, yaml.YAMLError):
        tuning, whole = None, False
    require(whole, "tune", path.as_posix(), f"is damaged; run `.venv/bin/dvc repro tune@{path.stem}`")
    return tuning


def _tuning(choices: Any, race: Mapping[str, Any]) -> Tuning:
    chosen: dict[str, list[str]] = {}
    keys: dict[str, None] = {}
    for each in choices:
        own = {key: value for key, value in each.items() if key not in (*_NAMED, _SCORE)}
        keys |= dict.fromkeys(own)
        parts = (f"{key.rpartition('.')[2]} {text(value)}" for key, value in own.items())
        chosen.setdefault(_named(each, race["likelihoods"]), []).append(", ".join(parts))
    tuned = [
        Tuned(
            str(name),
            _number(own["default_bits_per_dim"]),
            _number(own["tuned_bits_per_dim"]),
            int(own["epochs"]),
            int(own["failed"]),
            tuple(chosen.get(str(name), ["failed"])),
        )
        for name, own in race["likelihoods"].items()
    ]
    tuned.sort(key=lambda each: (each.best, each.likelihood))
    marks = tuple(int(mark) for mark in race["rungs"])
    ordered = [*(key for key in USUAL if key in keys), *sorted(keys.keys() - set(USUAL))]
    return Tuning(int(race["trials"]), marks, int(race["validation_images"]), tuple(tuned), tuple(ordered))


def _named(choice: Mapping[str, Any], names: Collection[str]) -> str:
    """Return the name in a race whose choice it is: a likelihood, a model, or a model with a likelihood."""
    own = [str(choice[key]) for key in _NAMED if key in choice]
    return next(name for name in ("-".join(own), *reversed(own)) if name in names)


def _number(value: Any) -> float:
    return float(value) if is_number(value) else math.inf


def _score(value: float) -> str:
    return f"{value:.4f}" if math.isfinite(value) else "failed"
