"""What is asked of `vae-likelihoods answer`, and the time that it has."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from vae_likelihoods.errors import require
from vae_likelihoods.files import PROJECT
from vae_likelihoods.sweeps.studies import AXES

FEWEST_MINUTES = 5.0
_LONGEST = 60  # characters of a name that is made of a folder's


@dataclass(frozen=True)
class Request:
    """What is asked.

    Args:
        source: the folder of images, or a file of arrays.
        size: height and width that images get; None: they must have the same already.
        colour: grey, rgb or auto.
        levels: K; None: those of the images.
        likelihoods: in the race; none: a shortlist by what the data card says.
        latents: sizes in the race; none: by the shape of the images.
        minutes: for everything.
        seed: of the race; the fresh seeds follow it.
        study: the name of a study of the project that the answer becomes; None: a folder of its own.
        out: that folder; None: answers/<name> in the project, and answers/<name>-<seed> for a seed but 0.
        conf: folders of configuration beside the project's, as Hydra's search path names them.
        options: further settings of every cell.
    """

    source: Path
    size: int | None = None
    colour: str = "auto"
    levels: int | None = None
    likelihoods: Sequence[str] = ()
    latents: Sequence[int] = ()
    minutes: float = 30.0
    seed: int = 0
    study: str | None = None
    out: Path | None = None
    conf: Sequence[str] = ()
    options: Sequence[str] = ()

    def __post_init__(self) -> None:
        fewest = f"must be at least {FEWEST_MINUTES:g}: with less, nothing is trained to an end"
        require(self.minutes >= FEWEST_MINUTES, "--minutes", self.minutes, fewest)
        require(
            self.study is None or self.out is None,
            "--out",
            self.out,
            "a study is written into the project; leave out --study or --out",
        )
        plain = self.study is None or _plain(self.study)
        reason = "may have letters a-z and A-Z, digits, _ and -, begins with a letter, and is no word of YAML"
        require(plain, "--study", self.study, reason)
        require(self.source.exists(), "images", self.source, "there is no such folder or file")
        source = self.source.absolute()
        for key, path in (("images", source), ("--out", self.out), *(("--conf", c) for c in self.conf)):
            shown = str(path)
            odd = "${" in shown or not shown.isprintable()
            reason = "its path has ${ or a character that cannot be shown; rename it"
            require(not odd, key, shown, reason)
        for word in self.options:
            key, _, value = word.partition("=")
            reason = "is what --likelihoods, --latents, --levels, --seed and --study say"
            require(key not in (*AXES, "study"), key, value, reason)
        sizes = all(size >= 1 for size in self.latents)
        require(sizes, "--latents", ",".join(map(str, self.latents)), "must be whole numbers, at least 1")
        require(self.seed >= 0, "--seed", self.seed, "must be a whole number, at least 0")

    @property
    def name(self) -> str:
        """The name of the data set, and of the study: `images-2024` for a folder that is called 2024."""
        own = re.sub(r"[^A-Za-z0-9_-]+", "-", self.source.absolute().stem).strip("-_")[:_LONGEST]
        return self.study or (own if _plain(own) else f"images-{own}".rstrip("-"))

    @property
    def words(self) -> tuple[list[str], list[str]]:
        """The further settings: those of the data set, without `dataset.`, and those of every cell."""
        own = [word for word in self.options if word.startswith("dataset.")]
        return [word.partition(".")[2] for word in own], [word for word in self.options if word not in own]

    @property
    def root(self) -> Path:
        """The folder of all results."""
        if self.study is not None:
            return PROJECT
        own = f"{self.name}-{self.seed}" if self.seed else self.name
        return (self.out or PROJECT / "answers" / own).expanduser().absolute()

    @property
    def content(self) -> dict[str, Any]:
        """What must be the same for the same command to go on; more minutes are welcome."""
        plain = json.loads(json.dumps(asdict(self), default=str))
        return {key: value for key, value in plain.items() if key not in ("minutes", "out")}


class Clock:
    """The time of an answer, over all its sessions."""

    def __init__(self, minutes: float, used: float) -> None:
        self.budget, self.before, self.start = 60 * minutes, used, time.monotonic()

    @property
    def used(self) -> float:
        """Seconds since the first session began, without the pauses between them."""
        return self.before + time.monotonic() - self.start

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return self.budget - self.used

    def __str__(self) -> str:
        return f"[{_minutes(self.used)} of {_minutes(self.budget)}]"


def _plain(name: str) -> bool:
    """Return whether a name stands for itself in YAML and in a command line."""
    letters = re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name) is not None
    return letters and isinstance(yaml.safe_load(name), str) and name.lower() not in ("nan", "inf")


def _minutes(seconds: float) -> str:
    return f"{int(max(0, seconds)) // 60}:{int(max(0, seconds)) % 60:02d}"
