"""What is used is kept, also where that is in doubt; what is removed was listed and is used by nobody."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from vae_likelihoods.cells.cell import Cell
from vae_likelihoods.cells.identity import key_of
from vae_likelihoods.store.entry import DONE, Entry, ForeignError
from vae_likelihoods.sweeps import studies
from vae_likelihoods.sweeps.stages import STAGES
from vae_likelihoods.upkeep.inventory import Stored, inventory
from vae_likelihoods.upkeep.usage import Usage, drop

Make = Callable[..., Cell]
METRICS = ("bound", "latents", "reconstruction")


def of(cell: str) -> set[str]:
    """The names of a cell's entries: trained, evaluated, and what each metric measured."""
    return {cell, f"tiny/{cell}", *measured(cell)}


def measured(cell: str) -> set[str]:
    return {f"{cell} {metric}" for metric in METRICS}


ALL = of("binomial-2-0") | of("gaussian-2-0")


def unused(root: Path, *cells: Cell) -> set[str]:
    entries, _ = inventory(root / ".cells")
    usage = Usage(root, cells, entries)
    return {each.name for each in entries if not usage.uses(each)}


def tiny(root: Path) -> list[Cell]:
    return studies.grid("tiny", studies.axes(root / "params.yaml")["tiny"], root)


def test_the_entries_of_a_studys_cells_are_used_wherever_they_are_laid_out(tiny_root: Path) -> None:
    assert unused(tiny_root, *tiny(tiny_root)) == set()
    for folder in ("runs", "evaluations"):
        shutil.rmtree(tiny_root / folder)
    assert unused(tiny_root, *tiny(tiny_root)) == set()
    assert unused(tiny_root, tiny(tiny_root)[0]) == of("gaussian-2-0")
    assert unused(tiny_root) == ALL


def test_what_a_folder_was_laid_out_from_is_used(tiny_root: Path) -> None:
    assert unused(tiny_root) == set()
    shutil.rmtree(tiny_root / "evaluations" / "tiny" / "binomial-2-0")
    (tiny_root / "runs" / "tiny").rename(tiny_root / "runs" / "scratch")
    gone = {"tiny/binomial-2-0", *measured("binomial-2-0")}
    assert unused(tiny_root) == gone
    weights = tiny_root / "runs" / "scratch" / "gaussian-2-0" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    assert unused(tiny_root) == gone | {"gaussian-2-0"}


def test_what_another_user_may_be_computing_is_used(tiny_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("runs", "evaluations"):
        shutil.rmtree(tiny_root / folder)

    def refused(entry: Entry, wait_seconds: float = -1) -> None:
        raise ForeignError("runtime.store", entry.folder.parent, "another user's")

    monkeypatch.setattr(Entry, "locked", refused)
    assert unused(tiny_root) == set()


def test_an_evaluation_of_other_weights_is_not_used_and_of_unknown_ones_is(tiny_root: Path) -> None:
    (cell, _) = tiny(tiny_root)
    shutil.rmtree(tiny_root / "evaluations")
    shutil.rmtree(tiny_root / "runs")
    other = copied(tiny_root, "tiny/binomial-2-0", weights="ab" * 32)
    assert other.key not in kept(tiny_root, cell)
    cell.trained.forget()  # now its weights are nowhere
    assert {other.key, STAGES["train"].entry(cell).folder.name} <= kept(tiny_root, cell)


def kept(root: Path, *cells: Cell) -> set[str]:
    entries, _ = inventory(root / ".cells")
    usage = Usage(root, cells, entries)
    return {each.key for each in entries if usage.uses(each)}


def copied(root: Path, name: str, **changes: object) -> Stored:
    """Copy an entry to the key that it would have with `changes`."""
    stored = next(each for each in inventory(root / ".cells")[0] if each.name == name)
    identity = {**stored.identity, **changes}
    folder = shutil.copytree(stored.entry.folder, root / ".cells" / key_of(identity))
    (folder / "identity.json").write_text(json.dumps(identity))
    return Stored(Entry(folder))


def test_the_results_of_other_code_data_or_torch_are_not_used(tiny_root: Path) -> None:
    cells = tiny(tiny_root)
    shutil.rmtree(tiny_root / "runs")
    others = [copied(tiny_root, "binomial-2-0", **{name: "x"}) for name in ("code", "data", "torch")]
    assert not kept(tiny_root, *cells) & {each.key for each in others}


def test_while_data_are_not_prepared_all_entries_with_the_settings_are_used(tiny_root: Path) -> None:
    for folder in ("runs", "evaluations", "data"):
        path = tiny_root / folder
        path.unlink() if path.is_symlink() else shutil.rmtree(path)
    copied(tiny_root, "gaussian-2-0", data="x")
    cells = tiny(tiny_root)
    assert unused(tiny_root, *cells) == set()
    assert unused(tiny_root, cells[1]) == of("binomial-2-0")
    usage = Usage(tiny_root, cells, [])
    assert set(usage.unprepared) == {"tiny"}
    assert "pipelines/prepare.py dataset=digits" in str(usage.unprepared["tiny"])


def test_what_a_process_works_on_is_used(tiny_root: Path) -> None:
    shutil.rmtree(tiny_root / "runs")
    shutil.rmtree(tiny_root / "evaluations")
    (begun,) = [each for each in inventory(tiny_root / ".cells")[0] if each.name == "gaussian-2-0"]
    with begun.entry.locked():
        assert unused(tiny_root) == ALL - {"gaussian-2-0"}
    assert unused(tiny_root) == ALL


def test_an_entry_without_any_file_is_used_by_nobody(tiny_root: Path) -> None:
    (tiny_root / ".cells" / ("0" * 64)).mkdir()
    (tiny_root / "runs" / "tiny" / "empty").mkdir()
    assert unused(tiny_root, *tiny(tiny_root)) == {"-"}


def test_drop_removes_what_it_is_given(tiny_root: Path) -> None:
    entries, _ = inventory(tiny_root / ".cells")
    assert drop(entries[:3]) == entries[:3]
    assert [each.key for each in inventory(tiny_root / ".cells")[0]] == [each.key for each in entries[3:]]
    assert entries[3].entry.done()


@pytest.mark.parametrize("again", ["begun", "changed", "failed"])
def test_drop_leaves_alone_what_was_begun_since_it_was_listed(tiny_root: Path, again: str) -> None:
    entries, _ = inventory(tiny_root / ".cells")
    entry = entries[0].entry
    assert all(each.newest for each in entries)  # as when they are listed
    if again == "begun":
        with entry.locked():
            assert drop(entries) == entries[1:]
        assert entry.done()
    else:
        entry.forget()
        if again == "changed":
            entry.finish(["identity.json"])
        else:
            entry.fail("an error")
        assert drop(entries) == entries[1:]
        assert (entry.folder / DONE).exists() == (again == "changed")
    assert [each.key for each in inventory(tiny_root / ".cells")[0]] == [entries[0].key]


def test_drop_does_not_mind_what_somebody_else_dropped(tiny_root: Path) -> None:
    entries, _ = inventory(tiny_root / ".cells")
    assert entries[0].newest
    shutil.rmtree(entries[0].entry.folder)
    assert drop(entries) == entries
    assert list((tiny_root / ".cells").iterdir()) == []


def test_the_trials_of_a_race_are_used(tiny_root: Path) -> None:
    for folder in ("runs", "evaluations"):
        shutil.rmtree(tiny_root / folder)
    cell = tiny(tiny_root)[0]
    log = tiny_root / "logs" / "tune" / "mine.json"
    log.parent.mkdir(parents=True)
    log.write_text(json.dumps({"trials": [{"key": cell.key}]}))
    assert unused(tiny_root) == ALL - {cell.name}
    log.write_text('{"trials": [{}]}')
    assert unused(tiny_root) == ALL
