"""Hostile input, given to every stage and command: one line, exit code 1, and nothing left behind."""

from __future__ import annotations

import logging
import re
import runpy
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra

from vae_likelihoods.cli.app import main
from vae_likelihoods.files import PROJECT

# The overrides, and what the line says: the setting, its value, and what to write instead.
SETTINGS: list[tuple[list[str], str]] = [
    (["latnt_dim=2"], "latnt_dim: there is no such setting. Did you mean latent_dim?"),
    (["-m", "latnt_dim=2,3"], "latnt_dim: there is no such setting. Did you mean latent_dim?"),
    (["+studyy=1"], "studyy=1: there is no such setting; did you mean study?"),
    (["likelihood=gausssian"], "gausssian.yaml. Did you mean gaussian? Choices: bernoulli, "),
    (["metric=[bond]"], "metric=bond: there is no conf/metric/bond.yaml. Did you mean bound? Choices: ais, "),
    (["dataset=nope"], "dataset=nope: there is no conf/dataset/nope.yaml. Choices: arrays, "),
    (["study=größe"], "study=größe: cannot be read; put quotes"),
    (['study="größe"'], "study=größe: may have letters a-z"),
    (["study=a b"], "study=a b: may have letters a-z"),
    (["latent_dim"], "latent_dim: has no value: write key=value."),
    (["latent_dim=[2"], "latent_dim=[2: cannot be read"),
    (["latent_dim="], "latent_dim=: must be a whole number."),
    (["training.epochs=0"], "training.epochs=0: must be at least 1."),
    (["training.precision=float16"], "must be 'float32', 'bfloat16' or 'float64'."),
    (["runtime.cells_at_once=x"], "runtime.cells_at_once=x: must be a whole number, or 'auto'."),
    (["optimizer.lr=-1"], "optimizer.lr=-1: Invalid learning rate."),
    (["optimizer.lr="], "optimizer.lr=: must be like 0.001."),
    (["optimizer.betas=[0.9]"], "optimizer.betas=[0.9]: must be like (0.9, 0.999)."),
    (["optimizer.betas=[0.9,null]"], "optimizer.betas=[0.9, None]: must be like (0.9, 0.999)."),
    (["optimizer.betas=[0.9,1.5]"], "'betas': [0.9, 1.5], 'eps': "),
    (["network.hidden=3"], "network.hidden=3: must be a list of widths"),
    (["seed=1,2"], "seed=1,2: several values: add -m"),
    (["levels=${foo}"], "levels: Interpolation key 'foo' not found."),
    (["likelihood=null"], "a group of conf/ is set to the name of one of its YAML files"),
    (["network=[3]"], "configuration: cannot be composed (TypeError"),
    (["likelihood._target_=nope.Law"], "likelihood._target_=nope.Law: cannot be imported: "),
]


@pytest.fixture
def _as_before() -> Iterator[None]:
    """Undo what a script does to its process: logging, signals, Hydra."""
    handlers, level = logging.root.handlers[:], logging.root.level
    handler = signal.getsignal(signal.SIGTERM)
    GlobalHydra.instance().clear()
    yield
    GlobalHydra.instance().clear()
    logging.root.handlers[:], logging.root.level = handlers, level
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture
def script(
    _as_before: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Run a script of pipelines/ that must refuse; return its line."""

    def run(stage: str, *overrides: str) -> str:
        path = PROJECT / "pipelines" / f"{stage}.py"
        logs = [f"hydra.{mode}.dir='{tmp_path}/logs'" for mode in ("run", "sweep")]
        monkeypatch.setattr(sys, "argv", [str(path), *overrides, *logs])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(path), run_name="__main__")
        printed = capsys.readouterr()
        assert (ended.value.code, printed.out) == (1, "")
        (line,) = printed.err.splitlines()
        return line

    return run


@pytest.mark.parametrize(("overrides", "said"), SETTINGS, ids=[" ".join(words) for words, _ in SETTINGS])
def test_a_setting_that_cannot_be_is_one_line(
    script: Callable[..., str], tmp_path: Path, prepared_root: Path, overrides: list[str], said: str
) -> None:
    root = tmp_path / "results"
    root.mkdir()
    (root / "data").symlink_to(prepared_root / "data")
    given = [] if "dataset=nope" in overrides else ["dataset=digits"]
    line = script("train", *overrides, *given, f"runtime.root='{root}'")
    assert said in line
    assert [path.name for path in root.iterdir()] == ["data"]


@pytest.mark.parametrize("stage", ["download", "prepare", "train", "evaluate"])
@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("dataset=nope", "dataset=nope: "),
        ("datasets=digits", "datasets: there is no such setting. Did you mean dataset"),
        ("dataset=größe", "cannot be read"),
    ],
)
def test_every_stage_refuses_in_one_line(
    script: Callable[..., str], stage: str, override: str, said: str
) -> None:
    assert said in script(stage, override)


def test_what_is_not_trained_cannot_be_evaluated(
    script: Callable[..., str], tmp_path: Path, prepared_root: Path
) -> None:
    (tmp_path / "data").symlink_to(prepared_root / "data")
    line = script("evaluate", "dataset=digits", "tracking=none", f"runtime.root='{tmp_path}'")
    assert line.startswith(
        "cell=beta_binomial-8-0: runs/scratch/beta_binomial-8-0 does not exist; train it with"
    )
    assert not (tmp_path / ".cells").exists()


def test_a_run_that_explodes_is_one_line_with_advice_and_a_sane_rate_works_then(
    script: Callable[..., str],
    tmp_path: Path,
    prepared_root: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "data").symlink_to(prepared_root / "data")
    few = [
        *("dataset=digits", "likelihood=gaussian_per_pixel", "tracking=none", "runtime.device=cpu"),
        *("network.hidden=[16]", "latent_dim=2", "training.epochs=1", "training.warmup_steps=0"),
        f"runtime.root='{tmp_path}'",
    ]
    line = script("train", *few, "optimizer.lr=1e30")
    assert line.startswith(
        "train gaussian_per_pixel-2-0: NonFiniteLossError: the loss is not finite in epoch 1, "
    )
    assert "; lower optimizer.lr (now 1e+30) or training.clip_norm (now 100000) (log: .cells/" in line
    assert not (tmp_path / "runs").exists()
    path = PROJECT / "pipelines" / "train.py"
    for done in ("", " (taken from the store)"):
        monkeypatch.setattr(sys, "argv", [str(path), *few, f"hydra.run.dir='{tmp_path}/logs'"])
        runpy.run_path(str(path), run_name="__main__")
        made, following = capsys.readouterr().out.splitlines()
        assert made == f"train: runs/scratch/gaussian_per_pixel-2-0{done}"
        assert following.startswith("next: .venv/bin/python pipelines/evaluate.py dataset=digits likelihood=")
    # A name of the user's own is checked like any other, and so is a sweep whose launcher names nothing.
    other = ["cell=gaussian_per_pixel-2-0", "optimizer.lr=0.01"]
    line = script("train", *few, *other)
    assert "was trained with optimizer.lr=0.003, this is optimizer.lr=0.01, and a result of other" in line
    line = script("train", "-m", "hydra/launcher=basic", *few, *other)
    assert "hydra/launcher=basic: gives the cells of a sweep no names" in line
    monkeypatch.setattr(sys, "argv", [str(path), *few, "cell=mine", f"hydra.run.dir='{tmp_path}/logs'"])
    runpy.run_path(str(path), run_name="__main__")
    made, following = capsys.readouterr().out.splitlines()
    assert made.startswith("train: runs/scratch/mine")
    assert following.endswith(" cell=mine")


def test_a_traceback_is_shown_if_it_is_asked_for(
    script: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(Exception, match="Could not override"):
        script("train", "latnt_dim=2")


def test_a_key_of_what_cannot_be_imported_is_refused(
    tiny_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    params = tiny_root / "params.yaml"
    params.write_text(params.read_text().replace("options: ", "options: likelihood._target_=nope.Law "))
    for source in ("params.yaml", "runs"):
        assert main(["why", "tiny/gaussian-2-0", "--root", str(tiny_root), "--params", str(params)]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("why: likelihood._target_=nope.Law: cannot be imported: "), source
        assert "No module named 'nope'" in line
        config = tiny_root / "runs" / "tiny" / "gaussian-2-0" / "config.yaml"
        text = config.read_text()
        config.write_text(
            re.sub(r"_target_: vae_likelihoods.likelihoods.location_scale.\w+", "_target_: nope.Law", text)
        )
        params.write_text("studies: {}\noptional: {}\n")


COMMANDS: list[tuple[list[str], str]] = [
    (["recommend", "--study", "nope"], "study=nope: no evaluated cell in "),
    (
        ["why", "tinny/gaussian-2-0"],
        "A=tinny: there is no such study. Did you mean tiny?",
    ),
    (
        ["why", "tiny/gausssian-2-0"],
        "A=tiny/gausssian-2-0: is not a cell of tiny. Did you mean tiny/gaussian-2-0?",
    ),
    (["why", "zz"], "A=zz: is neither the beginning of a key in the store nor <study>/<cell>."),
    (["gc", "--params", "/nope"], "params=/nope: no such file."),
    (["sync", "--root", "/nope"], "root=/nope: there is no such folder."),
    (["sync", "tinny"], "study=tinny: there is no cell in "),
    (["sync", "--uri", "sqlite:///"], "uri=sqlite:///: names no file or host; such as sqlite:///mlflow.db"),
    (["sync", "--uri", "nope"], "uri=nope: is not the address of an MLflow store. Choices: sqlite, "),
    (["study", "tinny"], "study=tinny: is not among the optional studies of params.yaml"),
    (["experiment", "iwe"], "experiment=iwe: there is no such experiment. Did you mean iwae?"),
    (
        ["experiment", "iwae", "latnt_dim=3", "--table"],
        "latnt_dim: there is no such setting. Did you mean latent_dim?",
    ),
    (["gallery", "--dataset", "nope"], "dataset=nope: it was not prepared: "),
    (["gallery", "--rows", "last_bim"], "rows=last_bim: there is no such row. Did you mean last_bin?"),
    (["translate", "--loss", "mae", "--reduction", "sum", "--dimensions", "4"], "loss=mae: "),
    (["cells", "pull", "/nope"], "/nope: "),
    (["cells", "push", "nope://x"], "nope://x: "),
]


@pytest.mark.parametrize(("words", "said"), COMMANDS, ids=[" ".join(words[:3]) for words, _ in COMMANDS])
def test_every_command_refuses_in_one_line(
    words: list[str], said: str, tiny_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(tiny_root.rglob("*"))
    places = {
        "--root": ("recommend", "why", "gc", "sync", "gallery"),
        "--params": ("why", "gc", "study"),
    }
    at = {
        "--root": str(tiny_root),
        "--params": str(tiny_root / "params.yaml"),
        "--store": str(tiny_root / ".cells"),
    }
    where = [
        word
        for option, commands in places.items()
        if words[0] in commands and option not in words
        for word in (option, at[option])
    ]
    where += ["--store", at["--store"]] if words[0] == "cells" else []
    code, printed = main([*words, *where]), capsys.readouterr()
    assert (code, printed.out) == (1, "")
    (line,) = printed.err.splitlines()
    assert line.startswith(f"{words[0]}: ")
    assert said in line
    assert sorted(tiny_root.rglob("*")) == before
