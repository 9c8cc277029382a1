"""A grid without processes: what is taken, what is made again, what is reported."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from vae_likelihoods.cells.cell import Cell
from vae_likelihoods.errors import SettingError
from vae_likelihoods.files import hashes
from vae_likelihoods.store.entry import Entry
from vae_likelihoods.sweeps.checks import check_folders, check_names, check_replaced
from vae_likelihoods.sweeps.names import name_with, swept
from vae_likelihoods.sweeps.stages import STAGES
from vae_likelihoods.sweeps.sweep import ROUNDS, JobError, Sweep, SweepError

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
    sweep, launched = Sweep(TRAIN, cells), []
    sweep.take_stored()

    def launch(indices: list[int]) -> None:
        launched.append(indices)
        perform(cells)(indices)

    sweep.run(launch)
    assert launched == [[1]]
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
    sweep, launched = Sweep(TRAIN, cells), []
    with pytest.raises(SweepError, match="2 of 2 cells have no result"):
        sweep.run(launched.append)
    assert len(launched) == ROUNDS
    assert f"missing  {cells[0].name}: its process was lost" in capsys.readouterr().out


def test_an_error_outside_the_work_is_recorded(cells: list[Cell], capsys: pytest.CaptureFixture[str]) -> None:
    sweep = Sweep(TRAIN, cells)

    def launch(indices: list[int]) -> None:
        sweep.note_error(cells[0], JobError("MemoryError: none left"))
        perform(cells)([1])
        sweep.note_error(cells[1], None)

    with pytest.raises(SweepError):
        sweep.run(launch)
    assert f"failed   {cells[0].name}: MemoryError: none left" in capsys.readouterr().out
    assert TRAIN.entry(cells[0]).failure == "MemoryError: none left"


def test_a_failure_that_could_not_be_recorded_is_reported(
    cells: list[Cell], capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = Sweep(TRAIN, cells[:1])
    TRAIN.entry(cells[0]).folder.parent.write_text("no folder, as good as a full disk")

    def launch(indices: list[int]) -> None:
        sweep.note_error(cells[0], JobError("OSError: No space left on device\nand more"))

    with pytest.raises(SweepError, match="1 of 1 cells have no result"):
        sweep.run(launch)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == f"  failed   {cells[0].name}: OSError: No space left on device"


def test_a_result_that_could_not_be_laid_out_is_no_success(cells: list[Cell]) -> None:
    sweep = Sweep(TRAIN, cells[:1])

    def launch(indices: list[int]) -> None:
        perform(cells)(indices)
        sweep.note_error(cells[0], JobError("OSError: read-only"))

    with pytest.raises(SweepError):
        sweep.run(launch)


def test_a_job_that_was_lost_is_started_again_whatever_its_engine_raised(cells: list[Cell]) -> None:
    sweep, launched = Sweep(TRAIN, cells), []

    def launch(indices: list[int]) -> None:
        launched.append(indices)
        if len(launched) == 1:
            sweep.note_error(cells[0], RuntimeError("the node is gone"))
            perform(cells)([1])
        else:
            perform(cells)(indices)

    sweep.run(launch)
    assert launched == [[0, 1], [0]]


def test_a_result_whose_job_was_lost_at_its_very_end_is_laid_out(cells: list[Cell]) -> None:
    sweep = Sweep(TRAIN, cells)

    def launch(indices: list[int]) -> None:
        perform(cells)(indices)
        shutil.rmtree(cells[0].run_folder)

    sweep.run(launch)
    assert (cells[0].run_folder / "model.safetensors").exists()


def test_where_workers_die_together_the_last_chance_is_alone(
    cells: list[Cell], capsys: pytest.CaptureFixture[str]
) -> None:
    sweep, launched = Sweep(TRAIN, cells), []

    def launch(indices: list[int]) -> None:
        launched.append(indices)
        if 0 in indices:  # it always dies, and takes the others along
            TRAIN.entry(cells[0]).folder.mkdir(parents=True, exist_ok=True)
        else:
            perform(cells)(indices)

    with pytest.raises(SweepError, match="1 of 2 cells have no result"):
        sweep.run(launch, one_by_one=True)
    assert launched == [[0, 1], [1, 0], [1], [0]]
    assert "1 done, 1 missing" in capsys.readouterr().out


def test_the_table_is_printed_when_the_sweep_is_interrupted(
    cells: list[Cell], capsys: pytest.CaptureFixture[str]
) -> None:
    def launch(indices: list[int]) -> None:
        perform(cells)([0])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Sweep(TRAIN, cells).run(launch)
    head, line = capsys.readouterr().out.splitlines()
    assert head.endswith(": 1 done, 1 missing")
    assert line == f"  missing  {cells[1].name}: interrupted"


def test_what_another_process_computes_is_left_alone_and_run_last(
    cells: list[Cell], caplog: pytest.LogCaptureFixture
) -> None:
    sweep, launched = Sweep(TRAIN, cells), []
    entry = TRAIN.entry(cells[0])
    with entry.locked():
        entry.fail("an earlier reason")
        sweep.take_stored()
        assert entry.failure == "an earlier reason"
        entry.forget()

        def launch(indices: list[int]) -> None:
            launched.append(indices)
            perform(cells)([1])

        with pytest.raises(SweepError):
            sweep.run(launch)
    assert launched == [[1, 0], [0], [0]]
    assert "waiting for 1 of 2 cells, which another process computes" in caplog.text


@pytest.mark.parametrize("key", ["runtime.root", "runtime.store"])
def test_a_folder_that_cannot_be_written_to_is_refused(small_cell: Make, tmp_path: Path, key: str) -> None:
    (tmp_path / "file").touch()  # permissions do not stop root, a file in the way does
    blocked = {"runtime.root": tmp_path / "runs", "runtime.store": tmp_path / "cells"}[key]
    blocked.symlink_to(tmp_path / "file")
    (tmp_path / "data").symlink_to(small_cell().root / "data")
    cell = small_cell(f"runtime.store='{tmp_path / 'cells'}'", root=tmp_path)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(SettingError, match=f"^{key}={tmp_path}.*cannot be written to"):
        check_folders(TRAIN, cell)
    blocked.unlink()
    check_folders(TRAIN, cell)
    assert sorted(tmp_path.iterdir()) == [path for path in before if path != blocked]


def test_a_failed_cell_gets_another_chance_in_the_next_sweep(cells: list[Cell]) -> None:
    entry = TRAIN.entry(cells[0])
    entry.folder.mkdir(parents=True)
    entry.fail("an earlier reason")
    sweep = Sweep(TRAIN, cells)
    sweep.take_stored()
    assert sweep.state(cells[0]) == "missing"


def test_what_another_driver_lays_out_right_now_is_taken_from_the_store(
    cells: list[Cell], capsys: pytest.CaptureFixture[str]
) -> None:
    TRAIN.perform(cells[0].named("elsewhere"), lambda record: None)
    sweep = Sweep(TRAIN, cells[:1])
    with TRAIN.entry(cells[0]).locked():
        sweep.take_stored()
    sweep.run(lambda indices: pytest.fail("it is there"))
    assert (cells[0].run_folder / "model.safetensors").exists()
    assert "1 taken from the store" in capsys.readouterr().out


def test_what_another_driver_finishes_meanwhile_is_kept_and_laid_out(
    cells: list[Cell], capsys: pytest.CaptureFixture[str]
) -> None:
    entry, sweep = TRAIN.entry(cells[0]), Sweep(TRAIN, cells[:1])
    entry.fail("an earlier reason")
    with entry.locked():  # by the other driver, for a study of its own
        sweep.take_stored()
    assert not sweep.stored
    TRAIN.perform(cells[0].named("elsewhere"), lambda record: None)
    assert not cells[0].run_folder.exists()
    sweep.run(lambda indices: pytest.fail("it is there"))
    assert "1 done" in capsys.readouterr().out
    assert entry.files().items() <= hashes(cells[0].run_folder).items()


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


def test_only_what_lies_there_and_is_of_other_settings_is_not_replaced(
    cells: list[Cell], small_cell: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    check_replaced(TRAIN, cells)
    TRAIN.perform(cells[0], lambda record: None)
    check_replaced(TRAIN, cells)
    assert not caplog.messages

    shutil.rmtree(tmp_path / "cells")
    check_replaced(TRAIN, cells)
    (line,) = caplog.messages
    assert line.startswith(f"1 of 2 cells in runs/{tmp_path.name}: trained again, as code, data")

    other = small_cell(f"study={tmp_path.name}", "seed=0", "training.batch_size=7")
    with pytest.raises(SettingError, match=r"trained with training.batch_size=\d+, this is .*=7, and"):
        check_replaced(TRAIN, [cells[1], other])
    check_replaced(STAGES["evaluate"], [other])  # has its own check

    (cells[0].run_folder / "config.yaml").write_text("a: [")
    with pytest.raises(SettingError, match=r"config\.yaml is damaged \(\w+\); remove its folder"):
        check_replaced(TRAIN, cells)


def test_names_carry_what_else_is_swept() -> None:
    jobs = [
        ["likelihood=a", "seed=0", "network.hidden=[8]"],
        ["likelihood=b", "seed=0", "network.hidden=[9]"],
    ]
    assert swept(["likelihood=a,b", "seed=0", "network.hidden=[8],[9]"]) == ["network.hidden"]
    assert name_with("a-8-0", jobs[0], ["network.hidden"]) == "a-8-0-hidden=8"
    assert name_with("a-8-0", jobs[0], []) == "a-8-0"
