"""The studies of the last commit, computed again from nothing and compared with what the commit says."""

from __future__ import annotations

import io
import json
import math
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd
import yaml

from vae_likelihoods.errors import SettingError, require
from vae_likelihoods.files import PROJECT
from vae_likelihoods.report.records import merged
from vae_likelihoods.units.declaration import Declaration
from vae_likelihoods.verify import by_setting
from vae_likelihoods.verify.clean_clone import DEFAULT, ENVIRONMENT, OPTIONAL, CleanClone, git
from vae_likelihoods.verify.contradictions import contradictions
from vae_likelihoods.verify.reproduction import (
    Environments,
    Stages,
    ValueDifference,
    differences,
    evaluated,
    needed,
    other_versions,
    unlike,
    unlike_stages,
)

Read = Callable[[str], str]  # a file's path from the project -> its text, empty if there is no such file


def check(studies: Sequence[str], tolerance: float) -> int:
    """Clone, compute, compare; return 0 if everything is reproduced, else 1 after a line for each fault.

    Args:
        studies: optional ones of the last commit; none: the default ones.
        tolerance: how far a number may differ where all is computed in float64 and bytes need not agree.

    Raises:
        SettingError: if a name is not an optional study of the last commit.
    """
    check_studies(studies)
    folder: Path | None = None
    try:
        folder = Path(tempfile.mkdtemp(prefix="vae-likelihoods-verify-"))
        faults = verify(folder, studies, tolerance)
    except SettingError as error:
        faults = [str(error)]
    except KeyboardInterrupt:
        faults = ["interrupted"]
    for fault in faults:
        print(f"verify: {fault}", file=sys.stderr)
    if faults or folder is None:
        kept = f"; the clone is kept in {folder}" if folder else ""
        print(f"verify: NOT reproduced{kept}", file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    say("reproduced; the clone is removed")
    return 0


def verify(folder: Path, studies: Sequence[str], tolerance: float) -> list[str]:
    """Reproduce HEAD in `folder`; return one sentence for all that differs from what HEAD says."""
    if changed := git(PROJECT, "status", "--porcelain").splitlines():
        listed = ", ".join(line[3:] for line in changed[:5]) + (", ..." if len(changed) > 5 else "")
        say(f"the last commit is checked; what is not committed does not count: {listed}")
    clone = CleanClone(PROJECT, folder / "clone")
    clone.check_imports()
    say(f"computing {git(clone.folder, 'log', '-1', '--format=%h %s').strip()} in {clone.folder}")
    reproduce(clone, studies)
    return [fault for study in studies or [""] for fault in judge(clone.folder, study, tolerance)]


def check_studies(studies: Sequence[str]) -> None:
    """Refuse a folder without a commit, and a name that is not an optional study of the commit.

    Raises:
        SettingError: naming the choices.
    """
    text = of_commit(PROJECT)("params.yaml")
    require(bool(text), "project", PROJECT, "is not a git repository with a commit; verify compares with one")
    params = yaml.safe_load(text)
    choices = list(params["optional"])
    for study in studies:
        default = study in params["studies"]
        reason = "is checked without --study" if default else "is not an optional study of the last commit"
        require(study in choices, "study", study, reason, choices)
        there = bool(of_commit(PROJECT)(f"reports/{study}/summary.csv"))
        require(there, "study", study, f"has no results in the last commit; make study STUDY={study}")


def reproduce(clone: CleanClone, studies: Sequence[str]) -> None:
    """Run every stage of `studies`, or of the default ones.

    Raises:
        SettingError: if a stage fails.
    """
    targets = [f"optional/dvc.yaml:report@{study}" for study in studies]
    code = clone.run("-m", "dvc", "repro", "--force", "--no-run-cache", *targets).returncode
    require(code == 0, "dvc repro", f"exit code {code}", "the stages did not run through")


def judge(clone: Path, study: str, tolerance: float) -> list[str]:
    """Compare an optional study, or with an empty name the default ones, with the commit.

    Prints in which of three ways they are compared and why, and the largest difference.
    """
    label, reports = study or "default studies", f"reports/{study}".rstrip("/")
    commit, folder = of_commit(clone), of_folder(clone)
    recorded, here = (environments(read(f"{reports}/{ENVIRONMENT}")) for read in (commit, folder))
    committed, computed = (table(read(f"{reports}/summary.csv")) for read in (commit, folder))
    plots = [table(read(f"{reports}/plots/bits_per_dim.csv")) for read in (commit, folder)]
    records = evaluated(clone / "evaluations", computed)
    declarations = merged(record["declarations"] for record in records)
    numbers = differences(committed, computed, declarations)
    other = other_bytes(clone, study, reports)
    if not (reasons := unlike(recorded, here)):
        say(f"{label}: comparing byte for byte, for this is the recorded platform, torch and thread count")
        versions = other_versions(recorded, here)
        faults = [*other, *(f"versions differ too: {difference}" for difference in versions if other)]
    else:
        say(f"{label}: the bytes need not agree:")
        print("\n".join(f"  {reason}" for reason in reasons))
        say(f"{label}: {f'{len(other)} stages and files differ' if other else 'yet every byte is the same'}")
        faults = [str(each) for each in numbers if each.size == math.inf and each.exact]
        if {record["settings"].get("training.precision") for record in records} == {"float64"}:
            say(f"{label}: comparing number by number within {tolerance:g}, for all is computed in float64")
            faults += number_by_number(label, numbers, declarations, tolerance)
        else:
            say(f"{label}: comparing setting by setting, as another processor is another seed")
            faults += setting_by_setting(label, committed, computed, plots)
    largest = max(numbers, key=lambda difference: difference.size)
    say(f"{label}: largest difference of {len(numbers)} values: {largest if largest.size else 'none'}")
    faults += contradictions(committed, json.loads(commit(f"{reports}/metrics.json")), plots[0])
    return [f"{label}: {fault}" for fault in faults]


def number_by_number(
    label: str,
    numbers: Sequence[ValueDifference],
    declarations: Mapping[str, Declaration],
    tolerance: float,
) -> list[str]:
    """Return the continuous numbers that are not reproduced; print the counts, which may jump."""
    apart = [each for each in numbers if not each.size <= tolerance and not each.exact]
    counts = [each for each in apart if declarations[each.column].format.endswith("d")]
    for each in counts:
        say(f"{label}: a count, not judged: {each}")
    return [str(each) for each in apart if each not in counts]


def setting_by_setting(
    label: str, committed: pd.DataFrame, computed: pd.DataFrame, plots: Sequence[pd.DataFrame]
) -> list[str]:
    """Return the settings that moved by more than other seeds would move them, and what is contradicted."""
    faults = []
    for name, rows in committed.groupby("study", sort=False):
        moved = by_setting.shifts(rows, computed[computed["study"] == name])
        faults += by_setting.faults(moved)
        faults += by_setting.contradicted(*(each[each["study"] == name] for each in plots))
        if moved:
            furthest = max(moved, key=lambda shift: shift.spreads)
            alarms = f"of right reproductions, {by_setting.FALSE_ALARMS:.0%} are called wrong"
            say(f"{label}: {name}, {len(moved)} settings ({alarms}); furthest: {furthest}")
        else:
            say(f"{label}: {name} has one seed a setting: what others would give is not known, nor judged")
    say(f"{label}: other numbers are shown and not judged")
    return faults


def other_bytes(clone: Path, study: str, reports: str) -> list[str]:
    """Return the stages whose entry in the lock files, and the reports whose text, is not the commit's."""
    committed, computed = (
        {**stages(read(DEFAULT)), **(stages(read(OPTIONAL)) if study else {})}
        for read in (of_commit(clone), of_folder(clone))
    )
    if study:
        names = needed(computed, f"report@{study}") | {
            name for name in committed if name.endswith(f"@{study}")
        }
        committed, computed = (
            {k: v for k, v in side.items() if k in names} for side in (committed, computed)
        )
    lines = git(clone, "status", "--porcelain", "--untracked-files=all", "--", reports).splitlines()
    files = [line[3:] for line in lines if Path(line[3:]).name != ENVIRONMENT]
    return [*unlike_stages(committed, computed), *(f"{file} is not what the stages write" for file in files)]


def table(text: str) -> pd.DataFrame:
    """Return the content of a CSV."""
    return pd.read_csv(io.StringIO(text))


def stages(text: str) -> Stages:
    """Return the entries of a lock file."""
    computed: Stages = yaml.safe_load(text)["stages"] if text else {}
    return computed


def environments(text: str) -> Environments:
    """Return the content of an environment.json."""
    computed: Environments = json.loads(text) if text else []
    return computed


def of_commit(repository: Path) -> Read:
    """Return a reader of the files of HEAD."""
    return lambda path: git(repository, "show", f"HEAD:{path}", check=False)


def of_folder(folder: Path) -> Read:
    """Return a reader of the files of a folder."""
    return lambda path: (folder / path).read_text(encoding="utf-8") if (folder / path).is_file() else ""


def say(text: str) -> None:
    """Print a line at once: what is run afterwards prints too."""
    print(f"verify: {text}", flush=True)
