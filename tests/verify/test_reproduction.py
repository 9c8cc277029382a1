"""What `make verify` accepts and what it does not; tests/faults/test_verify.py has it compute."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from omegaconf import OmegaConf

from vae_likelihoods.cells.build import build
from vae_likelihoods.report.records import merged
from vae_likelihoods.units.declaration import Declaration
from vae_likelihoods.verify.contradictions import contradictions
from vae_likelihoods.verify.reproduction import (
    CELL,
    differences,
    evaluated,
    needed,
    other_versions,
    unlike,
    unlike_stages,
)

PROJECT = Path(__file__).parents[2]
CONF = PROJECT / "conf"
Declared = dict[str, Declaration]
REPORTS = sorted(path.parent for path in (PROJECT / "reports").rglob("metrics.json"))
every_report = pytest.mark.parametrize("reports", REPORTS, ids=lambda path: path.name)

EXACT = [
    "dataset", "levels", "likelihood", "latent_dim", "seed", "importance_samples", "trained_on", "parameters",
    "multiply_adds", "multiply_adds_to_draw", "model", "score_is", "scale", "split", "dimensions",
    "warmup_share",
]  # fmt: skip
CLOSE = [
    "bits_per_dim", "nll_nats", "elbo_nats", "rate_nats", "distortion_nats", "bits_per_dim_se",
    "effective_sample_size", "active_units", "squared_error", "epochs",
]  # fmt: skip
"""Numbers that are measured against themselves or what they are a part of; others against their column."""

HERE: dict[str, Any] = {
    "platform": {"system": "Linux", "machine": "x86_64", "processor": "Xeon", "libc": "glibc 2.36"},
    "kernels": {"cpu": "AVX512", "mkldnn_bfloat16": True, "amx": True, "limits": {}},
    "threads": 1,
    "device": "cpu",
    "python": "3.11.7",
    "packages": {"torch": "2.13.0+cpu", "numpy": "2.4.6"},
}


@pytest.fixture
def committed() -> pd.DataFrame:
    return pd.read_csv(PROJECT / "reports" / "summary.csv")


@pytest.fixture(scope="module")
def declarations(tiny_done: Path) -> dict[str, Declaration]:
    """What a default study declares: the facts of evaluated cells, and the numbers of all default metrics."""
    cells = pd.DataFrame(
        [{"study": "tiny", "cell": path.name} for path in (tiny_done / "evaluations" / "tiny").iterdir()]
    )
    records = evaluated(tiny_done / "evaluations", cells)
    facts = merged(record["declarations"] for record in records)
    (names,) = [each.metric for each in OmegaConf.load(CONF / "config.yaml").defaults if "metric" in each]
    nodes = {name: OmegaConf.load(CONF / "metric" / f"{name}.yaml")[name] for name in names}
    metrics = [build(f"metric.{name}", OmegaConf.to_container(node)) for name, node in nodes.items()]
    return facts | {each.name: each for metric in metrics for each in metric.declarations(256)}


def compare(
    committed: pd.DataFrame, computed: pd.DataFrame, declarations: Declared, tolerance: float
) -> list[str]:
    """Return one sentence for everything that is farther apart than `tolerance`."""
    return [
        str(each) for each in differences(committed, computed, declarations) if not each.size <= tolerance
    ]


# Numbers


def test_the_same_numbers_pass_in_any_order(committed: pd.DataFrame, declarations: Declared) -> None:
    assert compare(committed, committed.sample(frac=1, random_state=0), declarations, tolerance=0) == []


def test_last_digits_pass_and_other_numbers_do_not(committed: pd.DataFrame, declarations: Declared) -> None:
    computed = committed.copy()
    computed["nll_nats"] *= 1.001
    assert compare(committed, computed, declarations, tolerance=0.01) == []
    computed.loc[3, "bits_per_dim"] *= 1.5
    (fault,) = compare(committed, computed, declarations, tolerance=0.01)
    assert committed.loc[3, "cell"] in fault
    assert "bits_per_dim" in fault
    assert "5.0e-01 apart" in fault


@pytest.mark.parametrize("column", CLOSE)
def test_every_measured_number_is_compared(
    committed: pd.DataFrame, declarations: Declared, column: str
) -> None:
    computed = committed.astype({column: float})
    computed.loc[5, column] += 2 * committed.loc[5, ["nll_nats", "importance_samples"]].max()
    (fault,) = compare(committed, computed, declarations, tolerance=0.5)
    assert column in fault


@pytest.mark.parametrize("column", EXACT)
def test_what_is_no_measurement_must_be_the_same(
    committed: pd.DataFrame, declarations: Declared, column: str
) -> None:
    value = committed.loc[5, column]
    computed = committed.copy()
    computed.loc[5, column] = f"{value}x" if isinstance(value, str) else value + 1
    (fault,) = compare(committed, computed, declarations, tolerance=1e6)
    assert fault.startswith(f"{column} of ")


def test_a_number_that_is_a_part_of_nothing_is_compared_with_the_largest_of_its_column(
    committed: pd.DataFrame, declarations: Declared
) -> None:
    declarations = {**declarations, "frechet": Declaration("frechet", "a distance", format=".2f")}
    committed = committed.assign(frechet=[0.0, *[10.0] * (len(committed) - 1)])
    computed = committed.copy()
    computed.loc[0, "frechet"] = 0.4
    assert compare(committed, computed, declarations, tolerance=0.05) == []
    computed.loc[0, "frechet"] = 0.6
    (fault,) = compare(committed, computed, declarations, tolerance=0.05)
    assert "frechet of" in fault
    committed["frechet"] = computed["frechet"] = 0.0
    assert compare(committed, computed, declarations, tolerance=0) == []
    computed.loc[0, "frechet"] = 0.1
    assert len(compare(committed, computed, declarations, tolerance=0.05)) == 1


def test_every_column_is_compared_and_declared(committed: pd.DataFrame, declarations: Declared) -> None:
    late = Declaration("late_gain_bits", "what two epochs are too few for", format=".4f")
    declarations = {**declarations, late.name: late}
    assert declarations.keys() - {"kl_per_latent_nats"} == set(committed)  # a list has no column
    pairs = differences(committed, committed, declarations)
    assert len(pairs) == len(committed) * (len(committed.columns) - len(CELL))
    assert {column for column in declarations if declarations[column].exact} == {*CELL, *EXACT}


def test_a_column_that_nothing_declares_must_be_the_same(
    committed: pd.DataFrame, declarations: Declared
) -> None:
    committed = committed.assign(extra=1.0)
    assert compare(committed, committed, declarations, tolerance=0) == []
    faults = compare(committed, committed.assign(extra=1.0001), declarations, tolerance=1)
    assert len(faults) == len(committed)


def test_a_part_is_measured_against_the_whole(committed: pd.DataFrame, declarations: Declared) -> None:
    """A rate of 1 nat beside a bound of 100 may double without anything being wrong."""
    row = committed.iloc[:1]
    computed = row.assign(rate_nats=row["rate_nats"] + 0.02 * row["nll_nats"])
    assert compare(row, computed, declarations, tolerance=0.021) == []
    assert len(compare(row, computed, declarations, tolerance=0.019)) == 1


def test_a_number_that_is_none_does_not_pass(committed: pd.DataFrame, declarations: Declared) -> None:
    computed = committed.copy()
    computed.loc[0, "elbo_nats"] = float("nan")
    assert compare(committed, computed, declarations, tolerance=0.5)
    assert compare(computed, committed, declarations, tolerance=0.5)
    assert compare(computed, computed, declarations, tolerance=0) == []


def test_other_cells_and_other_models_do_not_pass(committed: pd.DataFrame, declarations: Declared) -> None:
    (fault,) = compare(committed, committed.iloc[1:], declarations, tolerance=1)
    assert committed.loc[0, "cell"] in fault
    faults = compare(committed, committed.assign(parameters=1), declarations, tolerance=1)
    assert len(faults) == len(committed)
    assert all(fault.startswith("parameters of ") for fault in faults)
    (fault,) = compare(committed, committed.drop(columns="epochs"), declarations, tolerance=1)
    assert fault.startswith("the list of columns")


def test_the_largest_difference_has_its_place(committed: pd.DataFrame, declarations: Declared) -> None:
    computed = committed.copy()
    computed.loc[7, "squared_error"] *= 1.02
    computed.loc[9, "bits_per_dim_se"] *= 1.01
    largest = max(differences(committed, computed, declarations), key=lambda each: each.size)
    assert largest.place == f"squared_error of {committed.loc[7, 'study']}/{committed.loc[7, 'cell']}"
    assert largest.size == pytest.approx(0.02)


# Environments


def record(**changes: Any) -> dict[str, Any]:
    return {"trained": 1, "evaluated": 1, "environment": {**HERE, **changes}}


def test_the_same_environment_asks_for_bytes_whatever_the_counts() -> None:
    assert unlike([{**record(), "trained": 5}], [record()]) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"threads": 2}, "threads: 2 in the commit, 1 here"),
        ({"device": "NVIDIA H100"}, "device: NVIDIA H100 in the commit, cpu here"),
        ({"packages": {"torch": "2.14.0"}}, "torch: 2.14.0 in the commit, 2.13.0+cpu here"),
        ({"platform": {**HERE["platform"], "processor": "EPYC"}}, "platform processor: EPYC"),
        ({"kernels": {**HERE["kernels"], "cpu": "AVX2"}}, "kernels cpu: AVX2 in the commit, AVX512 here"),
        ({"kernels": {**HERE["kernels"], "limits": {"MKL_CBWR": "AVX2"}}}, "limits: MKL_CBWR=AVX2"),
    ],
)
def test_another_environment_is_named(changes: dict[str, Any], words: str) -> None:
    (reason,) = unlike([record(**changes)], [record()])
    assert words in reason


def test_results_of_two_environments_ask_for_no_bytes() -> None:
    (reason,) = unlike([record(), record(threads=2)], [record()])
    assert reason == "threads: 1 and 2 in the commit, 1 here"


@pytest.mark.parametrize("recorded", [[], [record(), {**record(), "environment": None}]])
def test_without_a_record_of_all_results_no_bytes_are_asked_for(recorded: list[dict[str, Any]]) -> None:
    (reason,) = unlike(recorded, [record()])
    assert "does not say" in reason


def test_other_packages_are_named_but_ask_for_bytes_all_the_same() -> None:
    recorded = [record(python="3.12.1", packages={"torch": "2.13.0+cpu", "numpy": "2.3.0"})]
    assert unlike(recorded, [record()]) == []
    assert other_versions(recorded, [record()]) == [
        "python: 3.12.1 in the commit, 3.11.7 here",
        "numpy: 2.3.0 in the commit, 2.4.6 here",
    ]
    assert other_versions([record()], [record()]) == []


# Lock files

LOCK: dict[str, dict[str, Any]] = {
    "prepare@d": {"cmd": "p", "outs": [{"path": "data/d", "md5": "1"}]},
    "train@a": {
        "cmd": "t",
        "deps": [{"path": "data/d", "md5": "1"}, {"path": "src", "md5": "2"}],
        "params": {"params.yaml": {"optional.a": {"seed": "0"}}},
        "outs": [{"path": "runs/a", "md5": "3"}],
    },
    "report@a": {
        "cmd": "r",
        "deps": [{"path": "runs/a", "md5": "3"}],
        "outs": [{"path": "reports/a/summary.csv", "md5": "4"}, {"path": "reports/a/plots", "md5": "5"}],
    },
    "train@b": {"cmd": "t", "deps": [{"path": "src", "md5": "2"}], "outs": [{"path": "runs/b", "md5": "6"}]},
}


def test_a_study_needs_its_own_stages_and_its_data() -> None:
    assert needed(LOCK, "report@a") == {"report@a", "train@a", "prepare@d"}


def test_the_same_entries_are_the_same() -> None:
    assert unlike_stages(LOCK, copy.deepcopy(LOCK)) == []


@pytest.mark.parametrize(
    ("stage", "key", "place", "words"),
    [
        ("report@a", "outs", 0, "report@a gives another reports/a/summary.csv"),
        ("train@a", "outs", 0, "train@a gives another runs/a"),
        ("train@a", "deps", 1, "train@a is locked with another src than the commit has"),
    ],
)
def test_another_hash_is_named_with_its_stage(stage: str, key: str, place: int, words: str) -> None:
    computed = copy.deepcopy(LOCK)
    computed[stage][key][place]["md5"] = "0"
    assert unlike_stages(LOCK, computed) == [words]


def test_a_result_that_differs_is_named_once_not_again_where_it_is_read() -> None:
    computed = copy.deepcopy(LOCK)
    computed["train@a"]["outs"][0]["md5"] = computed["report@a"]["deps"][0]["md5"] = "0"
    assert unlike_stages(LOCK, computed) == ["train@a gives another runs/a"]


def test_a_stage_that_is_not_there_and_another_command_are_named() -> None:
    computed = copy.deepcopy(LOCK)
    del computed["train@b"]
    computed["train@a"]["params"]["params.yaml"]["optional.a"]["seed"] = "1"
    named = "train@a is locked with another command or other parameters than the commit has"
    assert unlike_stages(LOCK, computed) == [named, "train@b stands in the commit alone"]


# Whether the reports of a commit agree


def parts(reports: Path) -> tuple[pd.DataFrame, dict[str, Any], pd.DataFrame]:
    plots = pd.read_csv(reports / "plots" / "bits_per_dim.csv")
    return pd.read_csv(reports / "summary.csv"), json.loads((reports / "metrics.json").read_text()), plots


@every_report
def test_the_reports_here_follow_from_their_summary(reports: Path) -> None:
    assert contradictions(*parts(reports)) == []


@every_report
def test_an_edited_headline_contradicts_the_summary(reports: Path) -> None:
    summary, headlines, plots = parts(reports)
    for study, numbers in headlines.items():
        for name, value in numbers.items():
            edited = copy.deepcopy(headlines)
            number = isinstance(value, float)
            edited[study][name] = value + 1e-3 * numbers["bits_per_dim"] if number else "edited"
            (fault,) = contradictions(summary, edited, plots)
            assert f"{study}.{name}" in fault


@every_report
def test_an_edited_score_contradicts_what_follows_from_it(reports: Path) -> None:
    summary, headlines, plots = parts(reports)
    best = summary["bits_per_dim"].idxmin()
    for name in ("bits_per_dim", "nll_nats", "elbo_nats", "rate_nats", "distortion_nats"):
        edited = summary.copy()
        edited.loc[best, name] += 1e-3 * summary.loc[best, "nll_nats"]
        assert any(summary.loc[best, "cell"] in fault for fault in contradictions(edited, headlines, plots))


@every_report
def test_an_edited_plot_contradicts_the_summary(reports: Path) -> None:
    summary, headlines, plots = parts(reports)
    edited = plots.copy()
    edited.loc[0, "bits_per_dim"] *= 1.001
    (fault,) = contradictions(summary, headlines, edited)
    assert plots.loc[0, "likelihood"] in fault
    (fault,) = contradictions(summary, headlines, plots.iloc[1:])
    assert "other settings" in fault
