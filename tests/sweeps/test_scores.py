"""The end of a sweep: its cells ranked by the files that they left, and the next command."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from vae_likelihoods.cells.cell import Cell
from vae_likelihoods.sweeps import scores
from vae_likelihoods.sweeps.stages import STAGES
from vae_likelihoods.sweeps.sweep import Sweep, SweepError

Make = Callable[..., Cell]
TRAIN, EVALUATE = STAGES["train"], STAGES["evaluate"]


@pytest.fixture
def make(small_cell: Make, tmp_path: Path, prepared_root: Path) -> Make:
    """Return cells whose results lie in a folder of the test's own."""
    root = tmp_path / "a root"
    root.mkdir()
    (root / "data").symlink_to(prepared_root / "data")
    return lambda *overrides: small_cell(*overrides, root=root)


def trained(cell: Cell, *bits: float, best: int = 0) -> Cell:
    """Lay out a history with these validation scores, the epoch `best` (default: the last) kept."""
    rows = [
        {"epoch": epoch, "val_bits_per_dim": value, "best_epoch": min(epoch, best or len(bits))}
        for epoch, value in enumerate(bits, 1)
    ]
    cell.run_folder.mkdir(parents=True)
    pd.DataFrame(rows).to_csv(cell.run_folder / "history.csv", index=False)
    return cell


def evaluated(cell: Cell, bits: float, k: int | None = 128) -> Cell:
    """Lay out an evaluation: a bound with k samples, or an exact score."""
    cell.evaluation_folder.mkdir(parents=True)
    text = json.dumps({"bits_per_dim": bits, "importance_samples": k})
    (cell.evaluation_folder / "metrics.json").write_text(text)
    return cell


def test_the_best_cell_is_first_by_the_epoch_whose_weights_were_kept(make: Make) -> None:
    cells = [
        trained(make("seed=0"), 3.0, 2.0, 2.5, best=2),
        trained(make("seed=1"), 3.0, 2.25),
        trained(make("seed=2"), 1.0, 12.0),
    ]
    assert scores.summary(TRAIN, cells) == [
        "validation bits/dim on digits at 17 levels, best first:",
        "    2.0000  beta_binomial-8-0",
        "    2.2500  beta_binomial-8-1",
        "   12.0000  beta_binomial-8-2",
    ]


def test_the_score_of_the_last_weights_is_that_of_the_last_epoch(make: Make) -> None:
    cell = trained(make("training.keep=last"), 3.0, 2.0, 2.5, best=2)
    assert scores.summary(TRAIN, [cell])[1:] == ["    2.5000  beta_binomial-8-0"]


def test_scores_on_different_scales_are_not_ranked_together(make: Make) -> None:
    cells = [
        trained(make("levels=2", "likelihood=bernoulli").named("binary"), 0.5),
        trained(make("levels=2", "likelihood=bernoulli", "binarize=stochastic").named("drawn"), 0.7),
        trained(make().named("grey"), 0.6),
    ]
    assert scores.summary(TRAIN, cells) == [
        "validation bits/dim on digits at 17 levels, best first:",
        "    0.6000  grey",
        "validation bits/dim on digits at 2 levels, best first:",
        "    0.5000  binary",
        "validation bits/dim on digits at 2 levels drawn at random, best first:",
        "    0.7000  drawn",
    ]


def test_test_scores_of_another_number_of_samples_are_another_scale(make: Make) -> None:
    cells = [evaluated(make().named("many"), 1.5, k=128), evaluated(make().named("few"), 1.6, k=8)]
    lines = scores.summary(EVALUATE, cells)
    assert lines[0] == "test bits/dim on digits at 17 levels, k = 128, best first:"
    assert lines[2:] == ["test bits/dim on digits at 17 levels, k = 8, best first:", "    1.6000  few"]


def test_exact_scores_stand_among_the_bounds_with_the_most_samples(make: Make) -> None:
    cells = [
        evaluated(make().named("many"), 1.5, k=128),
        evaluated(make().named("few"), 1.6, k=8),
        evaluated(make("model=independent").named("direct"), 1.4, k=None),
        evaluated(make("model=independent", "seed=1").named("worse"), 1.7, k=None),
    ]
    assert scores.summary(EVALUATE, cells) == [
        "test bits/dim on digits at 17 levels, exact or k = 128, best first:",
        "    1.4000  direct (exact)",
        "    1.5000  many",
        "    1.7000  worse (exact)",
        "test bits/dim on digits at 17 levels, k = 8, best first:",
        "    1.6000  few",
    ]
    assert scores.summary(EVALUATE, cells[2:]) == [
        "test bits/dim on digits at 17 levels, exact, best first:",
        "    1.4000  direct",
        "    1.7000  worse",
    ]


def test_of_a_large_grid_the_best_twenty_are_shown(make: Make) -> None:
    cells = [trained(make(f"seed={seed}"), 1 + (7 * seed % 23) / 100) for seed in range(23)]
    lines = scores.summary(TRAIN, cells)
    assert [line.split()[0] for line in lines[1:21]] == [f"{1 + rank / 100:.4f}" for rank in range(20)]
    assert lines[21:] == ["  and 3 more"]


@pytest.mark.parametrize(
    "text",
    ["", "epoch\n1\n", "epoch,best_epoch,val_bits_per_dim\n1,1,nan\n", "\0", "epoch,best_epoch\n1,7\n"],
)
def test_a_damaged_history_leaves_its_cell_out(make: Make, text: str) -> None:
    cells = [trained(make("seed=0"), 2.0), trained(make("seed=1"), 1.0), make("seed=2")]
    (cells[1].run_folder / "history.csv").write_text(text)
    assert [line.split()[-1] for line in scores.summary(TRAIN, cells)[1:]] == [cells[0].name]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"importance_samples": 8, "bits_per_dim": null}'])
def test_a_damaged_evaluation_leaves_its_cell_out(make: Make, text: str) -> None:
    cells = [
        evaluated(make("seed=0"), 2.0),
        evaluated(make("seed=1"), math.inf),
        evaluated(make("seed=2"), 1),
    ]
    (cells[2].evaluation_folder / "metrics.json").write_text(text)
    assert [line.split()[-1] for line in scores.summary(EVALUATE, cells)[1:]] == [cells[0].name]


def test_without_any_score_nothing_is_shown(make: Make) -> None:
    assert scores.summary(TRAIN, [make()]) == []


def test_the_next_command_evaluates_with_the_same_overrides(make: Make) -> None:
    overrides = ["likelihood=binomial,gaussian", "network.hidden=[8, 8]", "runtime.root='/a root'"]
    line = scores.next_command(TRAIN, make(), ["-m", *overrides])
    assert line.startswith("next: .venv/bin/python ")
    assert shlex.split(line)[2:] == ["pipelines/evaluate.py", "-m", *overrides]


def test_after_an_evaluation_the_next_command_is_the_report(make: Make) -> None:
    cell = make("study=mine")
    words = shlex.split(scores.next_command(EVALUATE, cell, ["seed=0,1"]))[2:]
    assert words[:3] == ["pipelines/report.py", "--study", "mine"]
    folders = dict(zip(words[3::2], words[4::2], strict=True))
    assert folders == {
        f"--{name}": str(cell.root / name) for name in ("runs", "evaluations", "reports", "logs")
    }
    runtime = cell.settings.runtime.model_copy(update={"root": None})
    own = Cell(cell.settings.model_copy(update={"runtime": runtime}))
    assert scores.next_command(EVALUATE, own, []) == "next: .venv/bin/python pipelines/report.py --study mine"


def test_a_sweep_ends_with_its_ranking_and_the_next_command(
    make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    cells = [make("likelihood=binomial"), make("likelihood=gaussian")]
    for stage, step in (
        (TRAIN, "pipelines/evaluate.py -m seed=0"),
        (EVALUATE, "pipelines/report.py --study"),
    ):
        sweep = Sweep(stage, cells, ["seed=0"])
        sweep.run(
            lambda indices, stage=stage: [stage.perform(cells[i], lambda record: None) for i in indices]
        )
        counts, heading, first, second, following = capsys.readouterr().out.splitlines()
        assert counts == f"{stage.name} scratch: 2 done"
        assert heading.endswith("best first:")
        assert float(first.split()[0]) <= float(second.split()[0])
        assert {first.split()[1], second.split()[1]} == {cell.name for cell in cells}
        assert following.startswith(f"next: .venv/bin/python {step}")


def test_a_sweep_that_lacks_cells_ranks_the_others_and_names_no_next_command(
    make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    cells = [make("seed=0"), make("seed=1")]

    def launch(indices: list[int]) -> None:
        if 0 in indices:
            TRAIN.perform(cells[0], lambda record: None)

    with pytest.raises(SweepError):
        Sweep(TRAIN, cells, ["seed=0,1"]).run(launch)
    printed = capsys.readouterr().out
    assert printed.splitlines()[-1].split()[-1] == cells[0].name
    assert "next:" not in printed
