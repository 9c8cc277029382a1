"""A grid without processes: what is taken, what is made again, what is reported."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from hydra_plugins.vae_likelihoods_sweeps.launcher import name_with, swept
from vae_likelihoods.cells import Cell
from vae_likelihoods.errors import SettingError
from vae_likelihoods.stages import STAGES
from vae_likelihoods.store import Entry, hashes
from vae_likelihoods.sweeps import ROUNDS, Sweep, SweepError, check_names

Make = Callable[..., Cell]
TRAIN = STAGES["train"]


@pytest.fixture
def cells(small_cell: Make, tmp_path: Path) -> list[Cell]:
    """Two cells whose results are this test's own."""
    store = f"runtime.store='{tmp_path / 'cells'}'"
    return [small_cell(store, f"study={tmp_path.name}", f"seed={seed}") for seed in (0, 1)]


def perform(cells: list[Cell]) -> Callable[[list[int]], None]:
    def launch(indices: list[int]) -> None:
        for index in indices:
            TRAIN.perform(cells[index], lambda record: None)

    return launch


def test_what_is_there_is_taken_and_the_rest_is_run(
    cells: list[Cell], capsys: pytest.CaptureFixture[str]
) -> None:
    TRAIN.perform(cells[0], lambda record: None)
    sweep, asked = Sweep(TRAIN, cells), []
    sweep.take_stored()

    def launch(indices: list[int]) -> None:
        asked.append(indices)
        perform(cells)(indices)

    sweep.run(launch)
    assert asked == [[1]]
    assert "1 done, 1 taken from the store" in capsys.readouterr().out


def test_a_damaged_result_is_made_again(cells: list[Cell]) -> None:
    for cell in cells:
        TRAIN.perform(cell, lambda record: None)
    weights = TRAIN.entry(cells[0]).folder / "model.safetensors"
    good = weights.read_bytes()
    weights.write_bytes(good[:-1] + b"x")
    sweep = Sweep(TRAIN, cells)
    sweep.take_stored()
    assert [sweep.state(cell) for cell in cells] == ["missing", "stored"]
    sweep.run(perform(cells))
    assert (cells[0].run_folder / "model.safetensors").read_bytes() == good


def test_cells_that_are_lost_are_started_again_and_then_reported(
    cells: list[Cell], capsys: pytest.CaptureFixture[str]
) -> None:
    sweep, asked = Sweep(TRAIN, cells), []
    with pytest.raises(SweepError, match="2 of 2 cells have no result"):
        sweep.run(asked.append)
    assert len(asked) == ROUNDS
    assert f"missing  {cells[0].name}: its process was lost" in capsys.readouterr().out


def test_an_error_outside_the_work_is_recorded(cells: list[Cell], capsys: pytest.CaptureFixture[str]) -> None:
    sweep = Sweep(TRAIN, cells)

    def launch(indices: list[int]) -> None:
        sweep.note_error(cells[0], MemoryError("none left"))
        sweep.note_error(cells[1], None)
        perform(cells)([1])

    with pytest.raises(SweepError):
        sweep.run(launch)
    assert f"failed   {cells[0].name}: MemoryError: none left" in capsys.readouterr().out


def test_a_failed_cell_gets_another_chance_in_the_next_sweep(cells: list[Cell]) -> None:
    entry = TRAIN.entry(cells[0])
    entry.folder.mkdir(parents=True)
    entry.fail("an earlier reason")
    sweep = Sweep(TRAIN, cells)
    sweep.take_stored()
    assert sweep.state(cells[0]) == "missing"


def test_what_another_driver_finishes_meanwhile_is_kept_and_laid_out(
    cells: list[Cell], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    taken = TRAIN.take
    TRAIN.entry(cells[0]).fail("an earlier reason")

    def looked_too_early(cell: Cell) -> bool:
        monkeypatch.setattr(TRAIN, "take", taken)
        TRAIN.perform(cell.named("for another study"), lambda record: None)
        return False

    monkeypatch.setattr(TRAIN, "take", looked_too_early)
    sweep = Sweep(TRAIN, cells[:1])
    sweep.take_stored()
    assert TRAIN.entry(cells[0]).done()
    assert not cells[0].run_folder.exists()
    sweep.run(lambda indices: pytest.fail("it is there"))
    assert "1 done" in capsys.readouterr().out
    assert TRAIN.entry(cells[0]).files().items() <= hashes(cells[0].run_folder).items()


def test_what_is_damaged_while_it_is_taken_is_made_again(
    cells: list[Cell], monkeypatch: pytest.MonkeyPatch
) -> None:
    TRAIN.perform(cells[0], lambda record: None)
    shutil.rmtree(cells[0].run_folder)
    weights, lay_out = TRAIN.entry(cells[0]).folder / "model.safetensors", Entry.lay_out
    good = weights.read_bytes()

    def damaged_first(entry: Entry, target: Path, texts: Mapping[str, str]) -> None:
        monkeypatch.setattr(Entry, "lay_out", lay_out)
        weights.write_bytes(good[:-1] + b"x")
        lay_out(entry, target, texts)

    monkeypatch.setattr(Entry, "lay_out", damaged_first)
    TRAIN.perform(cells[0], lambda record: None)
    assert (cells[0].run_folder / "model.safetensors").read_bytes() == good


def test_two_cells_with_one_name_are_refused(cells: list[Cell]) -> None:
    check_names(cells)
    with pytest.raises(SettingError, match="two different cells would be written"):
        check_names([cells[0].named("one"), cells[1].named("one")])


def test_names_carry_what_else_is_swept() -> None:
    jobs = [
        ["likelihood=a", "seed=0", "network.hidden=[8]"],
        ["likelihood=b", "seed=0", "network.hidden=[9]"],
    ]
    assert swept(jobs) == ["network.hidden"]
    assert name_with("a-8-0", jobs[0], ["network.hidden"]) == "a-8-0-hidden=8"
    assert name_with("a-8-0", jobs[0], []) == "a-8-0"
