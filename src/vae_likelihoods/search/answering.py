"""From a folder of images to an answer, within some minutes: what `vae-likelihoods answer` does."""

from __future__ import annotations

import json
import math
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from vae_likelihoods.cells.build import likelihoods_for
from vae_likelihoods.cells.cell import Cell
from vae_likelihoods.datasets.card import level_counts_of
from vae_likelihoods.datasets.prepared import PreparedDataset
from vae_likelihoods.errors import SettingError, require
from vae_likelihoods.files import PROJECT, write_json, write_text
from vae_likelihoods.report import writing
from vae_likelihoods.report.writing import ReportFolders
from vae_likelihoods.search import answer_text, planning
from vae_likelihoods.search.answer_images import RequestImages
from vae_likelihoods.search.choosing import chosen
from vae_likelihoods.search.fresh_seeds import train_seeds
from vae_likelihoods.search.joining import join_project
from vae_likelihoods.search.planning import MOST_SEEDS, NETWORKS, Counts, Plan, Speed
from vae_likelihoods.search.race import Race
from vae_likelihoods.search.request import Clock, Request
from vae_likelihoods.search.shortlist import latent_dims, shortlist
from vae_likelihoods.search.tuning import leading, log_of, race_of
from vae_likelihoods.search.workers import Workers
from vae_likelihoods.sweeps import studies
from vae_likelihoods.sweeps.choices import FOLDER, Choices
from vae_likelihoods.tracking.connection import store_uri
from vae_likelihoods.tracking.registry import register_reported

STATE = "answer.json"
"""In the folder of an answer: the plan, with which the same command goes on, and the time it has used."""

_EVERY = 0.05  # of the race: how often a line says how it stands
_FURTHER = 2  # settings beside the best of each likelihood that may be trained with fresh seeds
_SEED_STEP = 1000  # between the seeds of two answers, so that they share none

Say = Callable[[str], None]


def answer(request: Request, say: Say) -> str:
    """Answer a request; return the answer as text.

    Raises:
        SettingError: if the images or settings cannot be, or the time is too short for them.
        KeyboardInterrupt: after the best answer so far was said and written.
    """
    state_path = _state_path(request)
    state = _state(state_path, request)
    clock = Clock(request.minutes, float(state.get("used_seconds", 0.0)))

    def keep() -> None:
        state["used_seconds"] = round(clock.used, 1)
        write_json(state_path, state)

    runner = Answering(request, clock, say)
    try:
        runner.prepare()
        if "plan" not in state:
            state["plan"] = asdict(runner.planned())
        keep()
        choices = runner.raced(Plan(**state["plan"]))
        runner.train_and_score(choices, state, keep)
    except KeyboardInterrupt:
        runner.stopped()
        raise
    except SettingError:
        if "plan" not in state:
            runner.images.withdraw()
        raise
    finally:
        if "plan" in state:
            keep()
    assert runner.race is not None
    return f"\n{runner.written(answer_text.finished(request, runner.race, runner.card))}\n\n{clock} done"


def _state_path(request: Request) -> Path:
    logs = request.root / "logs" / "answers" / request.name if request.study else request.root
    return logs / STATE


def _state(path: Path, request: Request) -> dict[str, Any]:
    """Return what an earlier session of the same request left; nothing if there was none."""
    if not path.is_file():
        return {"request": request.content}
    state: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    asked, there = request.content, state["request"]
    for key, value in asked.items():
        other, unlike = there.get(key), value
        if isinstance(value, list) and isinstance(other, list):
            unlike = [each for each in value if each not in other]
            other = [each for each in other if each not in value]
        reason = f"{path.parent} holds an answer to {key}={_plain(other)}; take another --out, or remove it"
        require(there.get(key) == value, key, _plain(unlike), reason)
    return state


class Answering:
    """The steps of an answer, one after the other."""

    def __init__(self, request: Request, clock: Clock, say: Say) -> None:
        self.request, self.clock = request, clock
        self.name, self.root = request.name, request.root
        self.race: Race | None = None
        self.study: dict[str, Any] = {}
        self.images = RequestImages(request)
        self.card: dict[str, Any] = {}
        self._say, self._shown = say, -1.0

    def say(self, text: str) -> None:
        """Say a line with the time."""
        self._say(f"{self.clock} {text}")

    # 1. Data

    def prepare(self) -> None:
        """Read the images, and say what they are."""
        if not any(word.startswith("tracking") for word in self.request.words[1]):
            store_uri(os.environ.get("MLFLOW_TRACKING_URI"), self.root)  # refused now, not after the race
        self._check_words()
        self.card = self.images.prepared(self.say)
        counts, shape = self.card["counts"], " x ".join(map(str, self.card["shape"]))
        splits = ", ".join(f"{count:,} {split}" for split, count in counts.items())
        self.say(f"{splits} images of {shape}; look at {self._sheet} and data_card.md")

    def _check_words(self) -> None:
        """Refuse settings and likelihoods that are none, before the images are read."""
        likelihoods = self.request.likelihoods or [next(likelihoods_for(self.request.levels or 2))]
        given = [studies.quoted(path) for path in self.request.conf]
        path = [f"hydra.searchpath=[{','.join(given)}]"] if given else []
        study = {
            "dataset": "digits",  # in the place of one that is not written yet
            "levels": self.request.levels or 2,
            "likelihood": ",".join(likelihoods),
            "latent_dim": max(self.request.latents, default=2),
            "seed": 0,
            "options": shlex.join([*path, *self.request.words[1]]),
        }
        studies.grid(self.name, study, self.root)

    # 2. Plan

    def planned(self) -> Plan:
        """Measure, and return what fits into the time.

        Raises:
            SettingError: nothing does.
        """
        self.say(f"measuring how fast these train: {', '.join(self.likelihoods)}")
        counts = Counts(**self.card["counts"])
        given = any(word.startswith("network=") for word in self.request.words[1])
        networks = [[]] if given else NETWORKS
        grids = [self.cells([*words, f"training.batch_size={counts.batch}"]) for words in networks]
        for cell in (cell for cells in grids for cell in cells):
            cell.check()
        workers = grids[0][0].settings.runtime.parallel
        with Workers(workers) as pool:
            for network, cells in zip(networks, grids, strict=True):
                last = network is networks[-1]
                one = [] if last else self._speeds(pool, cells[:1]) * len(cells)
                if one and planning.plan(network, one, counts, self.clock.left, workers)[0] is None:
                    continue  # far too slow, as one likelihood shows already
                speeds = self._speeds(pool, cells)
                plan, least = planning.plan(network, speeds, counts, self.clock.left, workers, last)
                if plan is not None:
                    return plan
        reason = f"too short for these images on this machine: about {math.ceil(least)} are needed"
        reason += ", or fewer --likelihoods"
        raise SettingError("--minutes", f"{self.request.minutes:g}", reason)

    def _speeds(self, pool: Workers, cells: Sequence[Cell]) -> list[Speed]:
        speeds: dict[int, Speed] = {}
        for index, outcome in pool.map(planning.measured, [(cell,) for cell in cells]):
            name = cells[index].settings.names["likelihood"]
            require(outcome.error is None, "likelihood", name, str(outcome.error))
            speeds[index] = outcome.value
        return [speeds[index] for index in range(len(cells))]

    @property
    def likelihoods(self) -> list[str]:
        """The likelihoods of the race."""
        return list(self.request.likelihoods) or self._shortlist[0]

    @cached_property
    def _shortlist(self) -> tuple[list[str], str]:
        """Likelihoods and a reason, by the train images alone: test images are opened when all is frozen."""
        data = PreparedDataset(self.images.folder)
        counts, _ = level_counts_of(data.split("train").images.numpy(), data.native_levels)
        return shortlist(counts.tolist(), self.levels)

    @property
    def levels(self) -> int:
        """K of the study."""
        return self.request.levels or int(self.card["native_levels"])

    @property
    def latents(self) -> list[int]:
        """The latent sizes of the race."""
        return sorted(set(self.request.latents)) or latent_dims(self.card["shape"])

    def _search_path(self) -> list[str]:
        own = [] if self.request.study else [f"file://{self.root / 'conf'}"]
        paths = [studies.quoted(path) for path in (*own, *self.request.conf)]
        return [f"hydra.searchpath=[{','.join(paths)}]"] if paths else []

    def cells(self, words: Sequence[str]) -> list[Cell]:
        """Return a cell of each likelihood with the largest latent size."""
        study = {
            "dataset": self.name,
            "levels": self.levels,
            "likelihood": ",".join(self.likelihoods),
            "latent_dim": max(self.latents),
            "seed": 0,
            "options": shlex.join([*self._search_path(), *words, *self.request.words[1]]),
        }
        return studies.grid(self.name, study, self.root)

    # 3. Race, and what it chose

    def raced(self, plan: Plan) -> Choices:
        """Run the race; return what it chose, which is frozen in a file from here on."""
        first = _SEED_STEP * self.request.seed
        self.study = {
            "dataset": self.name,
            "levels": self.levels,
            "likelihood": ",".join(self.likelihoods),
            "latent_dim": ",".join(map(str, self.latents)),
            "seed": self._fresh(MOST_SEEDS),
            "options": shlex.join([*self._search_path(), *plan.options, *self.request.words[1]]),
            "tune": {
                "trials": plan.trials,
                "seed": first,
                "finalists": len(self.likelihoods) + _FURTHER,
            },
        }
        self.race, _ = race_of(self.name, self.study, self.root)
        reason = "by request" if self.request.likelihoods else self._shortlist[1]
        self.say(
            f"the race: {plan.trials} trials of each of {', '.join(self.likelihoods)} ({reason}) with "
            f"{', '.join(map(str, self.latents))} latents, {' '.join(plan.network) or 'the given network'}, "
            f"up to {self.race.rungs[-1]} epochs"
        )
        with Workers(self.race.trials[0].cell.settings.runtime.parallel) as workers:
            self.race.run(workers, self._told)
            failed = [trial.error for trial in self.race.trials if trial.error]
            require(
                bool(self.race.finished), "race", self.name, f"every trial failed; the first: {failed[:1]}"
            )
            choices = chosen(self.race, workers, len(self.likelihoods) + _FURTHER)
        choices.write(self.root / FOLDER / f"{self.name}.yaml")
        write_json(self.root / "logs" / FOLDER / f"{self.name}.json", log_of(self.race))
        return choices

    def train_and_score(self, choices: Choices, state: dict[str, Any], keep: Callable[[], None]) -> None:
        """Train the choices with fresh seeds, score and report them; with further seeds, if time is left.

        How many seeds there are hangs on the time alone, never on a score.

        Args:
            choices: of the race.
            state: gets the number of seeds: the same command has the same ones when it is given again.
            keep: writes the state.
        """

        def train(done: int, seeds: int) -> None:
            count = f"{seeds - done} fresh seed{'s' if seeds - done > 1 else ''}"
            each = f"{count} more, as there is time" if done else f"each is trained with {count}, and scored"
            self.say(f"frozen: {len(choices.choices)} settings; now {each}")
            self._train_and_score(seeds)

        train_seeds(lambda: self._seeds(choices), state, self.clock, train, keep)
        self._report()

    def _train_and_score(self, seeds: int) -> None:
        self.study["seed"] = self._fresh(seeds)
        if self.request.study:
            join_project(self.name, self.study)
        else:
            content = {"datasets": [self.name], "studies": {self.name: self.study}}
            write_text(self.root / "params.yaml", yaml.safe_dump(content, sort_keys=False, width=110))
        words = ["-m", *studies.overrides(self.name, self.study, self.root / FOLDER)]
        elsewhere = [] if self.request.study else [f"runtime.root={studies.quoted(str(self.root))}"]
        for stage in ("train", "evaluate"):
            self._stage(stage, [*words, *elsewhere])

    def _fresh(self, count: int) -> str:
        """Return so many seeds that the race has not seen, as an axis of a sweep."""
        first = _SEED_STEP * self.request.seed
        return ",".join(str(first + 1 + each) for each in range(count))

    def _told(self, race: Race, done: int, planned: int) -> None:
        if done / planned - self._shown >= _EVERY or done == planned:
            self._shown = done / planned
            self.say(f"race: {done:,} of {planned:,} epochs; leads: {leading(race)}")

    def _seeds(self, choices: Choices) -> int:
        """Return how many fresh seeds fit into the time that is left, by what the race's epochs took."""
        assert self.race is not None
        workers = self.race.trials[0].cell.settings.runtime.parallel
        an_epoch: dict[str, float] = {}
        for trial in self.race.trials:
            if trial.epochs:
                slowest = max(an_epoch.get(trial.likelihood, 0.0), trial.seconds / trial.epochs)
                an_epoch[trial.likelihood] = slowest
        names = [str(choice.settings["likelihood"]) for choice in choices.choices]
        training = sum(an_epoch[name] * self.race.rungs[-1] for name in names)
        scoring = training * planning.SCORING / (1 - planning.SCORING)
        room = (self.clock.left - planning.STARTS) * workers * planning.SPARE
        fit = int(room / (training + scoring))
        return max(1, min(MOST_SEEDS, fit - 1))  # one less than fit: what these take says whether it does

    def _stage(self, stage: str, words: Sequence[str]) -> None:
        """Run a stage as its script does, so that everything is logged and laid out as in any study.

        On a terminal its progress bar is shown.
        """
        command = [sys.executable, str(PROJECT / "pipelines" / f"{stage}.py"), *words]
        errors = None if sys.stderr.isatty() else subprocess.PIPE
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=errors, text=True, check=False)
        if done.returncode:
            lines = [line for line in (done.stdout + (done.stderr or "")).splitlines() if line.strip()]
            raise SettingError(stage, self.name, f"ended with an error: {' | '.join(lines[-3:])}")
        self.say(done.stdout.splitlines()[0] if done.stdout else stage)

    def _report(self) -> None:
        runs, evaluations, logs = (self.root / name for name in ("runs", "evaluations", "logs"))
        folders = ReportFolders(runs, evaluations, logs, self._reports)
        writing.write(self.root / "params.yaml", [self.name], folders, None)
        register_reported(self.root / "runs", self.root / "evaluations", [self.name])

    @property
    def _reports(self) -> Path:
        return self.root / "reports" / self.name

    @property
    def _sheet(self) -> Path:
        return self.images.folder / "contact_sheet.png"

    def stopped(self) -> None:
        """Say the best answer so far, and write it if there is one."""
        text = answer_text.interrupted(self.race)
        self.say(self.written(text) if self.race is not None and self.race.leader is not None else text)

    def written(self, text: str) -> str:
        """Write what is said to answer.txt beside the report; return it."""
        write_text(self._reports / "answer.txt", text + "\n")
        return text


def _plain(value: Any) -> str:
    """Return a part of a request as a user writes it."""
    if isinstance(value, list):
        return " ".join(value) or "(none)"
    return "(none)" if value is None else str(value)
