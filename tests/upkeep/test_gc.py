"""`vae-likelihoods gc`: what it lists, what it drops, and that it drops nothing else."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from vae_likelihoods.cli.app import main
from vae_likelihoods.upkeep import usage
from vae_likelihoods.upkeep.inventory import inventory


@pytest.fixture
def run(tiny_root: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    return Run(tiny_root, capsys)


class Run:
    """Runs the command in this process."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.root, self.capsys = root, capsys

    def __call__(self, *arguments: str, code: int = 0) -> str:
        params = str(self.root / "params.yaml")
        assert main(["gc", "--root", str(self.root), "--params", params, *arguments]) == code
        captured = self.capsys.readouterr()
        return captured.err if code else captured.out

    def without(self, *folders: str) -> None:
        for folder in folders:
            shutil.rmtree(self.root / folder)

    def no_study(self) -> None:
        (self.root / "params.yaml").write_text("studies: {}\n")


def measured(cell: str) -> set[tuple[str, ...]]:
    """What every metric measured on a cell, as lines of the table."""
    return {("measurement", f"{cell} {metric}", "done") for metric in ("bound", "latents", "reconstruction")}


def listed(output: str) -> set[tuple[str, ...]]:
    """Return kind, cell and state of every line of the table."""
    rows = [line.split("  ") for line in output.splitlines()]
    words = [[word.strip() for word in row if word.strip()] for row in rows]
    return {tuple(row[1:4]) for row in words if len(row) == 6 and row[0] != "key"}


def test_what_is_used_is_counted_and_not_listed(run: Run) -> None:
    output = run("--drop")
    assert listed(output) == set()
    assert "every entry is used" in output
    assert "used      10 entries, " in output
    assert "not used  0 entries, 0.0 MB" in output
    assert "dropped   0 entries, 0.0 MB" in output


def test_what_is_not_used_is_listed_and_dropped_only_when_asked_for(run: Run) -> None:
    run.without("evaluations/tiny/gaussian-2-0")
    run.no_study()
    before = {each.key: each.size_bytes for each in inventory(run.root / ".cells")[0]}
    output = run()
    assert listed(output) == {("evaluation", "tiny/gaussian-2-0", "done"), *measured("gaussian-2-0")}
    assert "used      6 entries, " in output
    assert "not used  4 entries, " in output
    assert "make gc DROP=yes" in output
    assert {each.key: each.size_bytes for each in inventory(run.root / ".cells")[0]} == before
    keys = [line[:12] for line in output.splitlines() if "gaussian-2-0" in line]
    assert "dropped   4 entries" in run("--drop")
    left, _ = inventory(run.root / ".cells")
    assert {each.key: each.size_bytes for each in left} == {
        each: size for each, size in before.items() if each[:12] not in keys
    }
    assert all(each.state == "done" for each in left)
    assert listed(run()) == set()


def test_the_study_that_was_widened_and_narrowed_again(run: Run, tiny_params: str) -> None:
    run.without("runs", "evaluations")
    (run.root / "params.yaml").write_text(tiny_params.replace("binomial,gaussian", "gaussian,beta_binomial"))
    assert listed(run()) == {
        ("training", "binomial-2-0", "done"),
        ("evaluation", "tiny/binomial-2-0", "done"),
        *measured("binomial-2-0"),
    }
    (run.root / "params.yaml").write_text(
        tiny_params.replace("studies", "optional", 1).split("optional: {}")[0]
    )
    assert listed(run()) == set()
    (run.root / "params.yaml").write_text(
        tiny_params.replace("optimizer.lr", "lr").replace("epochs=2", "epochs=3")
    )
    assert len(listed(run())) == 10


def test_every_state_is_listed_and_only_what_is_older_if_asked_for(run: Run) -> None:
    run.without("runs", "evaluations/tiny/binomial-2-0")
    run.no_study()
    entries = {each.name: each.entry for each in inventory(run.root / ".cells")[0]}
    entries["binomial-2-0"].forget()
    entries["gaussian-2-0"].forget()
    entries["gaussian-2-0"].fail("an error")
    weights = entries["tiny/binomial-2-0"].folder / "metrics.json"
    weights.write_text("{}")
    (run.root / ".cells" / ("0" * 64)).mkdir()
    expected = {
        ("training", "binomial-2-0", "half done"),
        ("training", "gaussian-2-0", "failed"),
        *measured("binomial-2-0"),
        ("evaluation", "tiny/binomial-2-0", "damaged"),
        ("unknown", "-", "empty"),
    }
    assert listed(run()) == expected
    assert "younger   7 entries" in run("--older-than", "1")
    for path in (entries["binomial-2-0"].folder).rglob("*"):
        os.utime(path, (time.time() - 2 * 86400,) * 2)
    output = run("--older-than", "1.5", "--drop")
    assert listed(output) == {("training", "binomial-2-0", "half done")}
    assert "2 days" in output
    assert "dropped   1 entry" in output
    assert listed(run()) == expected - {("training", "binomial-2-0", "half done")}


def test_a_study_whose_data_are_not_prepared_keeps_all_with_its_settings(run: Run) -> None:
    run.without("runs", "evaluations")
    (run.root / "data").unlink()
    output = run("--drop")
    assert listed(output) == set()
    assert "kept: every result with the settings of study tiny" in output
    assert "pipelines/prepare.py dataset=digits" in output
    assert len(inventory(run.root / ".cells")[0]) == 10


@pytest.mark.parametrize("broken", ["likelihood: poisson", "likelihood: '{'", "seed: -1"])
def test_a_study_that_cannot_be_composed_is_one_line_and_nothing_is_dropped(
    run: Run, tiny_params: str, broken: str
) -> None:
    run.without("runs", "evaluations")
    key = broken.partition(":")[0]
    lines = [line if key not in line else f"    {broken}" for line in tiny_params.splitlines()]
    (run.root / "params.yaml").write_text("\n".join(lines))
    error = run("--drop", code=1)
    assert error.startswith("gc: study=tiny: cannot be composed: ")
    assert error.count("\n") == 1
    assert len(inventory(run.root / ".cells")[0]) == 10
    assert "no such file" in run("--params", str(run.root / "absent.yaml"), code=1)


def test_what_is_no_entry_is_left_alone_and_named(run: Run) -> None:
    store = run.root / ".cells"
    (store / "notes.txt").write_text("mine")
    (store / "folder").mkdir()
    (store / ("a" * 64)).symlink_to(run.root / "data")
    run.without("runs", "evaluations")
    run.no_study()
    output = run("--drop")
    for name in ("notes.txt", "folder", "a" * 64):
        assert f"left alone: {name} is not an entry of the store" in output
    assert {path.name for path in store.iterdir()} == {"notes.txt", "folder", "a" * 64}
    assert (run.root / "data" / "prepared" / "digits" / "manifest.json").is_file()


def test_what_a_process_begins_after_the_listing_is_left_alone_and_named(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.without("runs", "evaluations")
    run.no_study()
    entry = inventory(run.root / ".cells")[0][0].entry
    drop = usage.drop

    def drop_while_held(entries: list[object]) -> object:
        with entry.locked():
            return drop(entries)

    monkeypatch.setattr(usage, "drop", drop_while_held)
    output = run("--drop")
    assert f"left alone: {entry.folder.name[:12]}" in output
    assert "dropped   9 entries" in output
    assert entry.done()


def test_a_store_that_is_not_there_is_no_error(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAE_LIKELIHOODS_STORE", str(run.root / "absent"))
    assert run("--drop") == f"gc: there is no store at {run.root / 'absent'}\n"
    assert not (run.root / "absent").exists()


def test_a_store_elsewhere_is_looked_after_and_its_other_users_are_mentioned(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (run.root / ".cells").rename(tmp_path / "elsewhere")
    monkeypatch.setenv("VAE_LIKELIHOODS_STORE", str(tmp_path / "elsewhere"))
    output = run()
    assert "used      10 entries" in output
    assert f"only results in {run.root} were checked" in output
