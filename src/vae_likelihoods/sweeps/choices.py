"""What tuning chose for a study: `tune/<study>.yaml`, a small file in git that `dvc repro` trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.types import Override

from vae_likelihoods.errors import require
from vae_likelihoods.files import write_text
from vae_likelihoods.units.variants import CHOSEN, text

FOLDER = "tune"
_HEAD = "# Written by pipelines/tune.py, and read by the stage train: do not edit.\n"
_UNTUNED = "# This study is not tuned: params.yaml has no `tune` for it.\n"


@dataclass(frozen=True)
class Choice:
    """One setting that a study trains, with every one of its seeds.

    Args:
        settings: key -> value; the likelihood by the name of its YAML, the latent size, and what was tuned.
        bits_per_dim: its score on the validation images, in the race.
    """

    settings: Mapping[str, Any]
    bits_per_dim: float

    @property
    def words(self) -> list[str]:
        """The settings as Hydra's overrides."""
        return [f"{key}={text(value)}" for key, value in self.settings.items()]

    @property
    def tuned(self) -> list[str]:
        """The keys that were tuned: all but the axes that every study has."""
        return sorted(key for key in self.settings if key not in CHOSEN)


@dataclass(frozen=True)
class Choices:
    """All settings that tuning chose, the best first, and how it came to them.

    Args:
        choices: the settings; none: the study is not tuned.
        race: what the report says of the race, see `search.race`.
        asked: a hash of what was asked of the race; while it is the same, the choices stay.
    """

    choices: Sequence[Choice]
    race: Mapping[str, Any] = field(default_factory=dict)
    asked: str = ""

    @property
    def tuned(self) -> list[str]:
        """The keys that tuning varied."""
        return sorted({key for choice in self.choices for key in choice.tuned})

    def jobs(self, overrides: Sequence[Override]) -> list[list[str]]:
        """Return the overrides of every job: each choice with each combination of the axes in `overrides`.

        Raises:
            SettingError: if the study was not tuned, or `overrides` have a key that was.
        """
        require(bool(self.choices), "tune", "(none)", "no choices; run the stage tune first")
        chosen = {key for choice in self.choices for key in choice.settings}
        for each in overrides:
            reason = "is what tuning chose, in tune/<study>.yaml; leave it out, or take another study"
            require(each.key_or_group not in chosen, each.key_or_group, _value(each), reason)
        (rest,) = BasicSweeper.split_arguments(list(overrides), max_batch_size=None)
        mark = f"tuned=[{','.join(self.tuned)}]"
        return [[*choice.words, mark, *job] for choice in self.choices for job in rest]

    def write(self, path: Path) -> None:
        """Write the file."""
        if not self.choices:
            write_text(path, _HEAD + _UNTUNED + "choices: []\n")
            return
        content = {
            "choices": [
                {**choice.settings, "validation_bits_per_dim": choice.bits_per_dim} for choice in self.choices
            ],
            "race": dict(self.race),
            "asked": self.asked,
        }
        write_text(path, _HEAD + yaml.safe_dump(content, sort_keys=False, width=110))

    @classmethod
    def read(cls, path: Path) -> Choices:
        """Read the file.

        Raises:
            SettingError: if it is missing or damaged.
        """
        remedy = f"run `.venv/bin/dvc repro tune@{path.stem}`"
        require(path.is_file(), "tune", path, f"there is no such file; {remedy}")
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
            choices = [
                Choice(
                    {key: value for key, value in each.items() if key != "validation_bits_per_dim"},
                    float(each["validation_bits_per_dim"]),
                )
                for each in content["choices"]
            ]
            race, asked = dict(content.get("race") or {}), str(content.get("asked", ""))
            whole = all({"model", "likelihood"} & {*each.settings} for each in choices)
        except (AttributeError, KeyError, TypeError, ValueError, yaml.YAMLError):
            whole, choices, race, asked = False, [], {}, ""
        require(whole, "tune", path, f"is damaged; {remedy}")
        return cls(choices, race, asked)


def _value(override: Override) -> str:
    return str(override.input_line).partition("=")[2]
