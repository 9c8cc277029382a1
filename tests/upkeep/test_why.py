"""`vae-likelihoods why`: the reason why a result is not taken from the store, by name."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from vae_likelihoods.cells.identity import key_of
from vae_likelihoods.cli.app import main
from vae_likelihoods.store import code
from vae_likelihoods.store.definitions import Place, Reader, Text
from vae_likelihoods.upkeep.inventory import Stored, inventory

DONE = "nothing differs: it is in the store, done"


@pytest.fixture
def run(tiny_root: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    return Run(tiny_root, capsys)


class Run:
    """Runs the command in this process."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.root, self.capsys = root, capsys

    def __call__(self, *arguments: str, code: int = 0) -> list[str]:
        place = ["--root", str(self.root), "--params", str(self.root / "params.yaml")]
        assert main(["why", *arguments, *place]) == code
        captured = self.capsys.readouterr()
        return (captured.err if code else captured.out).splitlines()

    def entry(self, name: str) -> Stored:
        return next(each for each in inventory(self.root / ".cells")[0] if each.name == name)

    def option(self, old: str, new: str) -> None:
        params = self.root / "params.yaml"
        text = params.read_text()
        assert old in text
        params.write_text(text.replace(old, new))


def differing(lines: list[str]) -> list[list[str]]:
    return [line.split(maxsplit=1) for line in lines if "  " in line.strip()]


@pytest.mark.parametrize("cell", ["tiny/gaussian-2-0", "tiny/binomial-2-0"])
@pytest.mark.parametrize("stage", [[], ["--evaluation"]])
def test_what_is_in_the_store_differs_in_nothing(run: Run, cell: str, stage: list[str]) -> None:
    first, last = run(cell, *stage)
    kind = "evaluation" if stage else "training"
    key = run.entry(cell if stage else cell.partition("/")[2]).key
    assert first == f"{cell}: {kind}, key {key[:12]}"
    assert last == DONE
    assert run(key) == [f"{key[:12]}: {kind}, key {key[:12]}", DONE]
    assert run(cell, key[:7])[2:] == [DONE]  # of the key's kind, whether asked for or not


def test_a_setting_that_was_changed_in_params_yaml_is_named(run: Run) -> None:
    run.option("training.epochs=2", "training.epochs=2 optimizer.lr=5e-3 ")
    lines = run("tiny/gaussian-2-0")
    stored = run.entry("gaussian-2-0")
    assert lines[1] == "it is not in the store"
    assert lines[2].startswith(f"beside {stored.key[:12]} (gaussian-2-0, done, ")
    assert differing(lines[3:4]) == [["settings.optimizer.lr", "0.005 | 0.003"]]
    assert lines[4].startswith(f"beside {run.entry('binomial-2-0').key[:12]} ")
    assert differing(run("tiny/gaussian-2-0", stored.key))[-1:] == [
        ["settings.optimizer.lr", "0.005 | 0.003"]
    ]
    assert differing(run(stored.key, "tiny/gaussian-2-0"))[-1:] == [
        ["settings.optimizer.lr", "0.003 | 0.005"]
    ]


def test_a_cell_that_was_never_trained_is_compared_with_the_nearest(run: Run) -> None:
    run.option("seed: 0", "seed: 0,1")
    lines = run("tiny/gaussian-2-1")
    assert differing(lines)[0] == ["settings.seed", "1 | 0"]
    assert run.entry("gaussian-2-0").key[:12] in lines[2]


def test_a_file_that_was_edited_is_named_for_the_cells_that_need_it(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    edited(monkeypatch, "location_scale")
    lines = run("tiny/gaussian-2-0")
    changed = [line.strip() for line in lines if line.endswith("  changed")]
    path = "src/vae_likelihoods/likelihoods/location_scale.py"
    assert [line.split() for line in changed] == [
        [f"{path}:", name, "changed"] for name in ("LocationScale", "ScaledLikelihood", "checked_law")
    ]
    assert len(lines) == 6  # the other likelihood has other settings: it is no candidate
    assert run("tiny/binomial-2-0")[-1] == DONE


def edited(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    """Let every definition of a module say something else."""
    text: Callable[[Reader, Place], Text] = Reader.text

    def edited_text(self: Reader, place: Place) -> Text:
        plain = text(self, place)
        return replace(plain, digest="edited") if place.module.endswith(f".{module}") else plain

    monkeypatch.setattr(Reader, "text", edited_text)
    code.forget()


@pytest.fixture(autouse=True)
def _as_it_is() -> Iterator[None]:
    yield
    code.forget()


def test_an_evaluation_is_compared_with_its_like(run: Run) -> None:
    run.option("metric.bound.samples=8", "metric.bound.samples=16")
    assert run("tiny/gaussian-2-0")[-1] == DONE
    lines = run("tiny/gaussian-2-0", "--evaluation")
    assert differing(lines)[0] == ["metric.bound.samples", "16 | 8"]
    key = run.entry("tiny/gaussian-2-0").key
    assert differing(run(key[:20], "tiny/gaussian-2-0"))[-1] == ["metric.bound.samples", "8 | 16"]
    (error,) = run(key, run.entry("gaussian-2-0").key, code=1)
    assert error.startswith(f"why: A={key}: is of kind evaluation; it cannot be compared with training")
    (error,) = run(run.entry("gaussian-2-0").key, "--evaluation", code=1)
    assert "is of kind training; it cannot be compared with evaluation" in error


def test_what_shall_be_evaluated_and_was_trained_otherwise_is_one_line(run: Run) -> None:
    run.option("training.epochs=2", "training.epochs=3")
    (error,) = run("tiny/gaussian-2-0", "--evaluation", code=1)
    assert "runs/tiny/gaussian-2-0 was trained with training.epochs=2, this configuration says 3" in error


def test_other_data_another_torch_and_an_older_entry(run: Run) -> None:
    stored = run.entry("binomial-2-0")
    identity = {**stored.identity, "data": "ab" * 32, "torch": "1.0", "code": "cd" * 32}
    folder = shutil.copytree(stored.entry.folder, run.root / ".cells" / key_of(identity))
    (folder / "identity.json").write_text(json.dumps(identity))
    shutil.rmtree(stored.entry.folder)
    short = folder.name[:12]
    unlike = differing(run("tiny/binomial-2-0"))
    assert [name for name, _ in unlike] == ["data", "torch", "code"]
    assert unlike[0][1].endswith(" | abababababab")
    assert unlike[2][1] == f"differs ({short} does not record the definitions)"


@pytest.mark.parametrize("state", ["failed", "half done", "damaged"])
def test_an_entry_that_is_not_done_says_how_far_it_is(run: Run, state: str) -> None:
    entry = run.entry("gaussian-2-0").entry
    if state == "damaged":
        (entry.folder / "history.csv").write_text("")
    else:
        entry.forget()
    if state == "failed":
        entry.fail("NonFiniteLossError: the loss is not finite\n\nTraceback")
    for name in ("tiny/gaussian-2-0", entry.folder.name[:9]):
        lines = run(name)
        reason = ": NonFiniteLossError: the loss is not finite" if state == "failed" else ""
        assert lines[1] == f"it is in the store, {state}{reason}"
        assert lines[2].startswith("beside ")  # another one


def test_a_cell_that_only_lies_in_runs_is_read_from_there(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    (run.root / "params.yaml").write_text("studies: {}\n")
    assert run("tiny/gaussian-2-0")[-1] == DONE
    assert run("tiny/gaussian-2-0", "--evaluation")[-1] == DONE  # with the metrics that it was evaluated with
    shutil.rmtree(run.root / "evaluations")
    assert ["metric.bound.samples", "128 | 8"] in differing(run("tiny/gaussian-2-0", "--evaluation"))
    edited(monkeypatch, "trainer")
    path = "src/vae_likelihoods/training/trainer.py"
    assert any(line.split() == [f"{path}:", "Trainer", "changed"] for line in run("tiny/gaussian-2-0"))


def test_an_empty_store_is_said(run: Run) -> None:
    shutil.rmtree(run.root / ".cells")
    lines = run("tiny/gaussian-2-0")
    assert lines[1:] == ["it is not in the store", "the store has no other training"]
    (error,) = run("abc", code=1)
    assert error.startswith(
        "why: A=abc: is neither the beginning of a key in the store nor <study>/<cell>. Choices: tiny/"
    )


def test_what_is_not_there_is_one_line_with_what_there_is(run: Run) -> None:
    entries, _ = inventory(run.root / ".cells")
    keys = {each.key for each in entries if each.kind != "measurement"}
    (error,) = run("xyz", code=1)
    assert error.startswith(
        "why: A=xyz: is neither the beginning of a key in the store nor <study>/<cell>. Choices: "
    )
    assert all(key[:12] in error for key in keys)
    assert "tiny/<cell>" in error
    (error,) = run("tiny/gaussian-2-0", "", code=1)
    assert error.startswith("why: B=(none): is neither the beginning of a key")
    (error,) = run("tiny/laplace-2-0", code=1)
    assert (
        "A=tiny/laplace-2-0: is not a cell of tiny. Choices: tiny/binomial-2-0, tiny/gaussian-2-0." in error
    )
    (error,) = run("huge/laplace-2-0", code=1)
    assert "A=huge: there is no such study. Choices: tiny." in error
    for text in ("../x", "/", "tiny/", "tiny/../tiny/gaussian-2-0", "tiny/a/b"):
        assert len(run(text, code=1)) == 1


def test_the_beginning_of_several_keys_is_one_line_with_those(run: Run) -> None:
    first = run.entry("gaussian-2-0").key
    other = first[:8] + ("0" if first[8] != "0" else "1") + first[9:]
    (run.root / ".cells" / other).mkdir()
    (error,) = run(first[:8], code=1)
    assert error.startswith(f"why: A={first[:8]}: is the beginning of several keys. Choices: ")
    assert first[:12] in error
    assert other[:12] in error
    assert run(first[:9])[-1] == DONE
    (error,) = run(other[:9], code=1)
    assert error == f"why: A={other[:9]}: is empty and does not record which result it is."


def test_data_that_are_not_prepared_are_one_line(run: Run) -> None:
    (run.root / "data").unlink()
    (error,) = run("tiny/gaussian-2-0", code=1)
    assert "dataset=digits: it was not prepared" in error


def test_as_a_process(tiny_root: Path) -> None:
    place = ["--root", str(tiny_root), "--params", str(tiny_root / "params.yaml")]
    command = [sys.executable, "-m", "vae_likelihoods", "why", "tiny/gaussian-2-0", *place]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.splitlines()[-1:], done.stderr) == (0, [DONE], "")
