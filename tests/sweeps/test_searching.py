"""Sweepers that search get a cell's validation score back, whatever they are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from processes import folder_with_data, run

SWEEPER = '''
"""Halves or doubles the learning rate, whichever the last scores say is better."""

from dataclasses import dataclass

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper


@dataclass
class DescentConf:
    _target_: str = "hydra_plugins.descent.Descent"
    rounds: int = 3


ConfigStore.instance().store(group="hydra/sweeper", name="descent", node=DescentConf, provider="tests")


class Descent(Sweeper):
    def __init__(self, rounds):
        self.rounds = rounds

    def setup(self, *, hydra_context, task_function, config):
        self.config = config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments):
        rate = 0.02
        for turn in range(self.rounds):
            rates = [rate / 2, rate * 2]
            jobs = [[*arguments, f"optimizer.lr={each}"] for each in rates]
            scores = [result.return_value for result in self.launcher.launch(jobs, 2 * turn)]
            print("scores", turn, *rates, *scores, flush=True)
            rate = rates[scores.index(min(scores))]
        print("found", rate, flush=True)
'''


@pytest.fixture
def searching(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plugin with a sweeper of the tests' own, as any package may bring one."""
    plugins = tmp_path / "plugins" / "hydra_plugins"
    plugins.mkdir(parents=True)
    (plugins / "descent.py").write_text(SWEEPER)
    paths = [str(plugins.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))


@pytest.mark.usefixtures("searching")
def test_a_sweeper_that_searches_gets_validation_scores(prepared_root: Path, tmp_path: Path) -> None:
    root = folder_with_data(prepared_root, tmp_path)
    words = ["-m", "hydra/sweeper=descent", "likelihood=gaussian_learned", "latent_dim=2", "tracking=none"]
    said = run("train", root, *words).stdout
    rounds = [line.split() for line in said.splitlines() if line.startswith("scores")]
    assert len(rounds) == 3
    scores: dict[float, float] = {}
    for _, _, low, high, first, second in rounds:
        scores |= {float(low): float(first), float(high): float(second)}
    folders = {path.name for path in (root / "runs" / "scratch").iterdir()}
    assert folders == {f"gaussian_learned-2-0-lr={rate}" for rate in scores}  # no cell was replaced
    for rate, score in scores.items():
        rows = (root / "runs" / "scratch" / f"gaussian_learned-2-0-lr={rate}" / "history.csv").read_text()
        column = rows.splitlines()[0].split(",").index("val_bits_per_dim")
        best = min(float(row.split(",")[column]) for row in rows.splitlines()[1:])
        assert score == best
    found = float(next(line for line in said.splitlines() if line.startswith("found")).split()[1])
    assert found in scores
    assert "6 taken" not in said
