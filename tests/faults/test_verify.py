"""`make verify` on a small copy of the project: what it computes, what it catches, what it leaves alone."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml

from vae_likelihoods.errors import SettingError
from vae_likelihoods.verify import last_commit
from vae_likelihoods.verify.clean_clone import CleanClone

pytestmark = pytest.mark.faults

PROJECT = Path(__file__).parents[2]
TINY = {
    "dataset": "digits",
    "levels": 17,
    "likelihood": "binomial,gaussian_learned",
    "latent_dim": "2",
    "seed": "0",
    "options": "network.hidden=[16] training.epochs=2 training.precision=float64 metric.bound.samples=4"
    " tracking=none runtime.cells_at_once=1",
}
ELSEWHERE = "a processor that is not here"


def run(folder: Path, *command: str, code: int = 0) -> str:
    """Run a command, with the sources of `folder`, to its end; kill all of it after a while."""
    variables = {key: value for key, value in os.environ.items() if not key.startswith(("DVC_", "GIT_"))}
    variables |= {"PYTHONPATH": str(folder / "src"), "OMP_NUM_THREADS": "1", "TMPDIR": str(folder.parent)}
    variables |= {f"DVC_{kind}_DIR": str(folder.parent / kind) for kind in ("GLOBAL_CONFIG", "SITE_CACHE")}
    variables |= {f"GIT_{who}_{what}": "x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    with subprocess.Popen(
        command, cwd=folder, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    ) as process:  # fmt: skip
        try:
            output, _ = process.communicate(timeout=400)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    assert process.returncode == code, output
    return output


def python(folder: Path, *arguments: str, code: int = 0) -> str:
    return run(folder, ".venv/bin/python", *arguments, code=code)


def verify(folder: Path, *arguments: str, code: int = 0) -> str:
    return python(folder, "-m", "vae_likelihoods", "verify", *arguments, code=code)


def commit(project: Path, message: str) -> str:
    """Commit everything; return the hash."""
    run(project, "git", "add", "--all")
    run(project, "git", "commit", "--quiet", "--message", message)
    return run(project, "git", "rev-parse", "HEAD").strip()


def values(project: Path) -> int:
    """How many values of summary.csv are compared: all but study and cell, which say whose they are."""
    with (project / "reports" / "summary.csv").open() as handle:
        return sum(len(row) - 2 for row in csv.DictReader(handle))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project as it lies here with two tiny studies, one of them optional: computed, committed."""
    folder = tmp_path_factory.mktemp("verify") / "with space"
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    for name in listed:
        if (PROJECT / name).is_file() and not name.startswith("reports/") and not name.endswith("dvc.lock"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(PROJECT / name, folder / name)
    (folder / ".venv").symlink_to(Path(sys.prefix).resolve())
    studies = {"datasets": ["digits"], "studies": {"tiny": TINY}, "optional": {"digits": TINY}}
    (folder / "params.yaml").write_text(yaml.safe_dump(studies))
    stages = yaml.safe_load((folder / "dvc.yaml").read_text())
    deps = [dep for dep in stages["stages"]["report"]["deps"] if not dep.startswith("evaluations/")]
    stages["stages"]["report"]["deps"] = [*deps, "evaluations/tiny"]
    (folder / "dvc.yaml").write_text(yaml.safe_dump(stages))
    run(folder, "git", "init", "--quiet", "--initial-branch", "main")
    (folder / ".git" / "info" / "exclude").write_text("/.venv\n")
    python(folder, "-m", "dvc", "repro")
    python(folder, "-m", "dvc", "repro", "optional/dvc.yaml:report@digits")
    commit(folder, "Computed")
    return folder


def edit_headline(project: Path, study: str = "tiny", reports: str = "reports") -> None:
    path = project / reports / "metrics.json"
    headlines = json.loads(path.read_text())
    headlines[study]["bits_per_dim"] *= 0.5
    path.write_text(json.dumps(headlines, indent=2) + "\n")


def edit_summary(column: str, factor: float) -> Callable[[Path], None]:
    def edit(project: Path) -> None:
        path = project / "reports" / "summary.csv"
        table = pd.read_csv(path)
        table.loc[0, column] *= factor
        table.to_csv(path, index=False, lineterminator="\n")

    return edit


def edit_evaluation(project: Path) -> None:
    """Change a number that no report shows."""
    path = project / "evaluations" / "tiny" / "binomial-2-0" / "per_image.csv"
    path.write_text(path.read_text().replace("1", "2", 1))


def forge(project: Path) -> None:
    """Make every cell a fifth better, and all reports from that: nothing contradicts anything."""
    record = (project / "reports" / "environment.json").read_text()
    for path in (project / "evaluations" / "tiny").glob("*/metrics.json"):
        numbers = json.loads(path.read_text())
        for name in ("bits_per_dim", "nll_nats", "elbo_nats", "distortion_nats", "rate_nats"):
            numbers[name] *= 0.8
        path.write_text(json.dumps(numbers))
        per_image = pd.read_csv(path.with_name("per_image.csv"))
        per_image["nll_nats"] *= 0.8
        per_image.to_csv(path.with_name("per_image.csv"), index=False)
    python(project, "pipelines/report.py")
    (project / "reports" / "environment.json").write_text(record)  # the report says that it knows none


def move_record(project: Path, reports: str = "reports") -> None:
    """Say that the results were computed on another machine."""
    path = project / reports / "environment.json"
    record = json.loads(path.read_text())
    for entry in record:
        entry["environment"]["platform"]["processor"] = ELSEWHERE
    path.write_text(json.dumps(record, indent=2) + "\n")


@pytest.fixture(scope="module")
def edited(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Commit edits to a branch of their own, with hashes in dvc.lock that fit them; return the commit."""
    (computed,) = run(project, "git", "rev-parse", "HEAD").split()
    saved = tmp_path_factory.mktemp("saved") / "evaluations"
    shutil.copytree(project / "evaluations", saved)

    def commit_of(*edits: Callable[[Path], None]) -> str:
        for edit in edits:
            edit(project)
        if edits != (move_record,):
            python(project, "-m", "dvc", "commit", "--force", "evaluate@tiny", "report")
        assert "up to date" in python(project, "-m", "dvc", "status", "dvc.yaml")
        edited_commit = commit(project, "Edited by hand")
        run(project, "git", "reset", "--quiet", "--hard", computed)
        shutil.rmtree(project / "evaluations")
        shutil.copytree(saved, project / "evaluations")
        return edited_commit

    return commit_of


@pytest.fixture(scope="module")
def failed(project: Path, edited: Callable[..., str]) -> tuple[str, Path]:
    """What verify prints of a commit whose headline was edited, and the clone that it keeps."""
    base = run(project, "git", "rev-parse", "HEAD").strip()
    run(project, "git", "reset", "--quiet", "--hard", edited(edit_headline))
    output = verify(project, code=1)
    run(project, "git", "reset", "--quiet", "--hard", base)
    folder = output.splitlines()[-1].partition("the clone is kept in ")[2]
    return output, Path(folder) / "clone"


def files_of(project: Path) -> dict[str, int]:
    """Return path -> time of change of all files but git's own and Python's."""
    files = (path for path in project.rglob("*") if path.is_file() and not path.is_symlink())
    own = (path for path in files if not {".git", "__pycache__"} & set(path.parts))
    return {str(path): path.stat().st_mtime_ns for path in own}


def test_the_commit_is_reproduced_byte_for_byte_whatever_lies_beside_it(project: Path) -> None:
    broken = project / "src" / "vae_likelihoods" / "recipes" / "training.py"
    text = broken.read_text()
    broken.write_text("this is not committed")
    before = files_of(project)
    try:
        output = verify(project)
    finally:
        broken.write_text(text)
    assert "what is not committed does not count: src/vae_likelihoods/recipes/training.py" in output
    assert "comparing byte for byte" in output
    assert f"largest difference of {values(project)} values: none" in output
    assert output.splitlines()[-1] == "verify: reproduced; the clone is removed"
    assert {**files_of(project), str(broken): before[str(broken)]} == before
    assert not list(project.parent.glob("vae-likelihoods-verify-*"))


def test_an_edited_headline_is_caught_and_the_clone_is_kept(project: Path, failed: tuple[str, Path]) -> None:
    output, clone = failed
    assert "comparing byte for byte" in output
    assert "report gives another reports/metrics.json" in output
    assert "reports/metrics.json is not what the stages write" in output
    assert "metrics.json has tiny.bits_per_dim" in output
    assert (clone / "reports" / "metrics.json").read_bytes() == (
        project / "reports/metrics.json"
    ).read_bytes()


@pytest.fixture
def judged(
    project: Path,
    edited: Callable[..., str],
    failed: tuple[str, Path],
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., tuple[str, list[str]]]:
    """Compare what was computed in the kept clone with a commit of edits: what is printed, and the faults."""
    clone = failed[1]

    def judge(*edits: Callable[[Path], None], tolerance: float = 1e-6) -> tuple[str, list[str]]:
        done = edited(*edits)
        run(clone, "git", "fetch", "--quiet", str(project), done)
        run(clone, "git", "reset", "--quiet", "--mixed", done)
        faults = last_commit.judge(clone, "", tolerance)
        return capsys.readouterr().out, faults

    return judge


@pytest.mark.parametrize(
    ("edit", "fault"),
    [
        (edit_summary("squared_error", 1.0001), "report gives another reports/summary.csv"),
        (edit_evaluation, "evaluate@tiny gives another evaluations/tiny"),
        (forge, "evaluate@tiny gives another evaluations/tiny"),
    ],
    ids=["summary", "evaluation", "forgery"],
)
def test_any_other_byte_is_caught_where_it_was_computed(
    judged: Callable[..., tuple[str, list[str]]], edit: Callable[[Path], None], fault: str
) -> None:
    printed, faults = judged(edit)
    assert "comparing byte for byte" in printed
    assert f"default studies: {fault}" in faults


@pytest.mark.parametrize(
    ("edit", "fault"),
    [
        (edit_summary("squared_error", 1.2), "squared_error of tiny/binomial-2-0 is"),
        (edit_headline, "metrics.json has tiny.bits_per_dim"),
        (forge, "bits_per_dim of tiny/gaussian_learned-2-0 is"),
    ],
    ids=["summary", "headline", "forgery"],
)
def test_a_number_beyond_the_tolerance_is_caught_elsewhere(
    judged: Callable[..., tuple[str, list[str]]], edit: Callable[[Path], None], fault: str
) -> None:
    printed, faults = judged(edit, move_record)
    assert "comparing number by number within 1e-06, for all is computed in float64" in printed
    assert f"platform processor: {ELSEWHERE} in the commit" in printed
    assert [line for line in faults if line.startswith(f"default studies: {fault}")]


def test_last_digits_pass_elsewhere_and_the_tolerance_is_the_users(
    project: Path,
    judged: Callable[..., tuple[str, list[str]]],
) -> None:
    printed, faults = judged(edit_summary("squared_error", 1 + 3e-7), move_record)
    assert faults == []
    assert f"largest difference of {values(project)} values: squared_error of tiny/binomial-2-0" in printed
    _, faults = judged(edit_summary("squared_error", 1 + 3e-7), move_record, tolerance=1e-7)
    assert len(faults) == 1
    printed, faults = judged(edit_summary("active_units", 2), move_record)
    assert faults == []
    assert "a count, not judged: active_units of tiny/binomial-2-0" in printed


def test_an_optional_study_is_reproduced_elsewhere(project: Path) -> None:
    base = run(project, "git", "rev-parse", "HEAD").strip()
    move_record(project, "reports/digits")
    commit(project, "Computed elsewhere")
    try:
        output = verify(project, "--study", "digits")
    finally:
        run(project, "git", "reset", "--quiet", "--hard", base)
    assert "digits: comparing number by number within 1e-06" in output
    assert ELSEWHERE in output
    assert "digits: yet every byte is the same" in output
    assert "train@tiny" not in output
    assert output.splitlines()[-1] == "verify: reproduced; the clone is removed"


def test_a_study_that_cannot_be_checked_is_refused_at_once(project: Path) -> None:
    output = verify(project, "--study", "nosuch", code=1)
    assert output == "verify: study=nosuch: is not an optional study of the last commit. Choices: digits.\n"
    assert "study=tiny: is checked without --study" in verify(project, "--study", "tiny", code=1)
    assert "clone" not in output


def test_a_clone_that_would_import_another_tree_is_refused(project: Path, tmp_path: Path) -> None:
    clone = CleanClone(project, tmp_path / "clone")
    clone.check_imports()
    shutil.rmtree(clone.folder / "src" / "hydra_plugins")  # now Hydra finds what is installed
    with pytest.raises(SettingError, match=r"hydra_plugins.vae_likelihoods_sweeps\S*=.*is not of the commit"):
        clone.check_imports()
