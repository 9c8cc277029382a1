from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from vae_likelihoods.cells.run_files import EVALUATION_RESULTS
from vae_likelihoods.errors import SettingError
from vae_likelihoods.report import summary
from vae_likelihoods.report.comparable import UnlikeUnits
from vae_likelihoods.report.records import METRICS, PER_IMAGE, PICTURES
from vae_likelihoods.units.quantity import Quantity

COLUMNS = [
    "study", "cell", "dataset", "levels", "dimensions", "model", "likelihood", "latent_dim", "seed",
    "bits_per_dim", "bits_per_dim_se", "nll_nats", "elbo_nats", "rate_nats", "distortion_nats",
    "importance_samples", "effective_sample_size", "active_units", "squared_error",
    "trained_on", "score_is", "parameters", "multiply_adds", "multiply_adds_to_draw", "epochs",
    "scale", "split",
]  # fmt: skip


@pytest.fixture
def cells(root: Path) -> pd.DataFrame:
    return summary.collect(root / "evaluations", {"grey": ["gaussian", "binomial"]})


def test_a_report_reads_files_that_an_evaluation_writes() -> None:
    assert {METRICS, PER_IMAGE, *PICTURES} <= set(EVALUATION_RESULTS)


def test_every_cell_is_a_row_in_the_order_of_params(cells):
    assert len(cells) == 24
    assert list(dict.fromkeys(cells["likelihood"])) == [
        "gaussian",
        "binomial",
        "beta_binomial",
        "gaussian_learned",
    ]
    assert list(cells["cell"][:6]) == [f"gaussian-{size}-{seed}" for size in (2, 8, 32) for seed in (0, 1)]


def test_summary_has_the_columns_and_nine_digits(cells, tmp_path):
    summary.write_summary(cells, tmp_path / "summary.csv")
    written = pd.read_csv(tmp_path / "summary.csv")
    assert list(written.columns) == COLUMNS
    assert written["effective_sample_size"][0] == 11.2345678
    assert written["squared_error"][0] == 0.0123456789
    assert written["multiply_adds"].dtype.kind == "i"


@pytest.mark.parametrize(("value", "rounded"), [(1234567.0, 1234570.0), (0.00012345678, 0.000123457), (7, 7)])
def test_significant(value, rounded):
    assert summary.significant(value) == rounded
    assert type(summary.significant(value)) is type(value)


def test_a_metric_that_a_model_does_not_have_stays_empty(root, study, tmp_path):
    study.save(root, study.record("grey", "binomial", 2, 0, 11.0, effective_sample_size=None))
    cells = summary.collect(root / "evaluations", {"grey": []})
    summary.write_summary(cells, tmp_path / "summary.csv")
    written = pd.read_csv(tmp_path / "summary.csv").set_index("cell")
    assert written["effective_sample_size"].isna().sum() == 1
    assert pd.isna(written.loc["binomial-2-0", "effective_sample_size"])


def test_what_any_metric_measures_is_a_column(root, study, tmp_path):
    metrics = study.add(study.record("grey", "binomial", 2, 0, 11.0), "frechet", 1.23456789, better="lower")
    path = study.save(root, study.add(metrics, "curve_nats", [1.0, 2.0]))
    for other in set(path.parents[1].iterdir()) - {path.parent}:
        shutil.rmtree(other)
    cells = summary.collect(root / "evaluations", {"grey": []})
    declared = summary.declared(cells)["frechet"]
    assert (declared.unit.measure, declared.better) == ("share of images", "lower")
    summary.write_summary(cells, tmp_path / "summary.csv")
    written = pd.read_csv(tmp_path / "summary.csv")
    assert sorted(written.columns) == sorted([*COLUMNS, "frechet"])
    assert written["frechet"].tolist() == [1.23456789]


def test_a_number_that_some_cells_lack_is_empty_and_a_line_says_in_how_many(root, study, tmp_path):
    """Neither the number nor its declaration is in the others; each number is named."""
    for seed in (0, 1):
        metrics = study.add(study.record("grey", "binomial", 2, seed, 11.0), "mig", 0.5)
        study.save(root, study.add(metrics, "spread", None) if seed else metrics)
    cells = summary.collect(root / "evaluations", {"grey": []})
    assert summary.missing(cells) == "mig is missing in 22 of 24 cells; spread is missing in 24 of 24 cells"
    summary.write_summary(cells, tmp_path / "summary.csv")
    written = pd.read_csv(tmp_path / "summary.csv").set_index("cell")
    assert written["mig"].dropna().to_dict() == {"binomial-2-0": 0.5, "binomial-2-1": 0.5}


def test_the_reasons_of_missing_numbers_are_in_the_line(root, study):
    """Numbers that are missing in as many cells for another reason are named apart."""
    for path in sorted((root / "evaluations/grey").glob("*/metrics.json")):
        metrics = study.add(study.add(json.loads(path.read_text()), "accuracy", None), "accuracy_se", None)
        metrics = study.add(study.add(metrics, "mig", None), "spread", None)
        reasons = {"accuracy": "no labels", "accuracy_se": "no labels", "mig": "no factors"}
        study.save(root, {**metrics, "missing": reasons})
    cells = summary.collect(root / "evaluations", {"grey": []})
    assert summary.missing(cells) == (
        "accuracy, accuracy_se are missing in 24 of 24 cells (no labels); "
        "mig is missing in 24 of 24 cells (no factors); spread is missing in 24 of 24 cells"
    )


@pytest.mark.parametrize("missing", [["mig"], "mig", {"mig": None}, {"mig": 1}])
def test_reasons_that_are_no_words_are_refused(root, study, missing):
    study.save(root, {**study.record("grey", "binomial", 2, 0, 11.0), "missing": missing})
    with pytest.raises(SettingError, match=r"missing=.* must be a mapping of names to reasons"):
        summary.collect(root / "evaluations", {"grey": []})


def test_a_metric_that_some_cells_lack_is_one_line_however_many_numbers_it_has(root, study):
    metrics = study.record("grey", "binomial", 2, 0, 11.0)
    for place in range(40):
        metrics = study.add(metrics, f"number_{place}", 1.0)
    study.save(root, metrics)
    cells = summary.collect(root / "evaluations", {"grey": []})
    assert summary.missing(cells) == "number_0, number_1 and 38 others are missing in 23 of 24 cells"


def test_units_are_compared_among_the_cells_that_have_the_number(root, study):
    for seed, measure in enumerate(("share of images", "share of pixels")):
        metrics = study.add(
            study.record("grey", "binomial", 2, seed, 11.0), "mig", 0.5, quantity=Quantity(measure)
        )
        study.save(root, metrics)
    message = (
        r"measure of mig: share of images \(grey/binomial-2-0\), share of pixels \(grey/binomial-2-1\)\.$"
    )
    with pytest.raises(UnlikeUnits, match=message):
        summary.collect(root / "evaluations", {"grey": []})


def test_a_number_that_is_a_word_is_refused(root, study):
    study.save(root, study.add(study.record("grey", "binomial", 2, 0, 11.0), "frechet", "low"))
    with pytest.raises(SettingError, match="frechet='low': is not what its declaration says"):
        summary.collect(root / "evaluations", {"grey": []})


def test_all_studies_of_params_or_those_chosen():
    params = {"studies": {"b": {"likelihood": "x, y"}, "a": {"likelihood": "z"}}}
    assert list(summary.study_axes(params).items()) == [("b", ["x", "y"]), ("a", ["z"])]
    assert list(summary.study_axes(params, ["extra", "a"]).items()) == [("extra", []), ("a", ["z"])]


def test_an_optional_study_is_reported_only_if_chosen_and_in_the_order_of_params():
    params = {"studies": {"a": {"likelihood": "z"}}, "optional": {"c": {"likelihood": "y,x"}}}
    assert summary.study_axes(params) == {"a": ["z"]}
    assert summary.study_axes(params, ["c"]) == {"c": ["y", "x"]}


def test_a_sweep_of_hydra_is_no_likelihood():
    assert summary.study_axes({"studies": {"a": {"likelihood": "glob(gaussian*),y"}}}) == {"a": ["y"]}


def test_a_study_without_cells_names_the_command(root):
    with pytest.raises(SettingError, match=r"study=none.*dvc repro evaluate@none"):
        summary.collect(root / "evaluations", {"grey": [], "none": ["gaussian"]})


def test_an_optional_study_without_cells_names_its_command(root):
    with pytest.raises(SettingError, match=r"study=none.*make study STUDY=none"):
        summary.collect(root / "evaluations", {"none": ["gaussian"]}, optional=["none"])


def test_no_study_at_all(root):
    with pytest.raises(SettingError, match=r"params\.yaml"):
        summary.collect(root / "evaluations", {})


def test_missing_cells_are_no_error(root):
    (root / "evaluations/grey/binomial-2-0/metrics.json").unlink()
    assert len(summary.collect(root / "evaluations", {"grey": []})) == 23


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"study": "grey"}'])
def test_a_damaged_file_is_named(root, text):
    (root / "evaluations/grey/binomial-2-0/metrics.json").write_text(text, encoding="utf-8")
    with pytest.raises(SettingError, match=r"binomial-2-0/metrics\.json.*damaged.*evaluate@grey"):
        summary.collect(root / "evaluations", {"grey": ["gaussian"]})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bits_per_dim": float("nan")}, "bits_per_dim=nan: is not finite"),
        ({"nll_nats": None}, "nll_nats=None: is not what its declaration says"),
        ({"seed": "0"}, "seed='0': is not what its declaration says"),
        ({"seed": None}, "seed=None: is not what its declaration says"),
        ({"epochs": True}, "epochs=True: is not what its declaration says"),
        ({"epochs": 2.5}, "epochs=2.5: is not what its declaration says"),
        ({"likelihood": 3}, "likelihood=3: is not what its declaration says"),
    ],
)
def test_a_bad_number_is_named(root, study, change, message):
    study.save(root, study.record("grey", "binomial", 2, 0, 11.0) | change)
    with pytest.raises(SettingError, match=message):
        summary.collect(root / "evaluations", {"grey": ["gaussian"]})


def test_a_file_of_another_cell_is_refused(root, study):
    path = root / "evaluations/grey/binomial-2-0/metrics.json"
    path.write_bytes((root / "evaluations/grey/binomial-2-1/metrics.json").read_bytes())
    with pytest.raises(SettingError, match="belongs to grey/binomial-2-1"):
        summary.collect(root / "evaluations", {"grey": ["gaussian"]})


def test_unlike_units_are_not_ranked(root, study, unlike):
    study.save(root, study.record("grey", "zeta", 2, 0, 11.0, **unlike))
    with pytest.raises(UnlikeUnits, match=study.refused(unlike, "grey/beta_binomial-2-0", "grey/zeta-2-0")):
        summary.collect(root / "evaluations", {"grey": []})


def test_the_measure_of_any_number_must_be_the_same(root, study):
    record = study.record("grey", "zeta", 2, 0, 11.0)
    record["declarations"]["rate_nats"]["unit"]["measure"] = "bits per image"
    study.save(root, record)
    message = r"ranking\. measure of rate_nats: nats per image \(.*\), bits per image \(grey/zeta-2-0\)\.$"
    with pytest.raises(UnlikeUnits, match=message):
        summary.collect(root / "evaluations", {"grey": []})


def test_studies_may_differ_from_each_other(root, study):
    study.save(root, study.record("small", "binomial", 2, 0, 1.0, dataset="digits", levels=17, dimensions=64))
    cells = summary.collect(root / "evaluations", {"grey": [], "small": []})
    assert set(cells["dimensions"]) == {784, 64}


def test_every_row_says_its_scale_split_and_dimensions(cells, tmp_path):
    summary.write_summary(cells, tmp_path / "summary.csv")
    written = pd.read_csv(tmp_path / "summary.csv")
    assert (written["scale"] == "mass").all()
    assert (written["split"] == "test").all()
    assert (written["dimensions"] == 784).all()


def without_declarations(record):
    """What evaluations held before every number was declared."""
    units = {name: each["unit"] for name, each in record["declarations"].items() if "unit" in each}
    return {**{key: record[key] for key in record if key != "declarations"}, "units": units, "better": {}}


def changed(record, name, **fields):
    """Return the record with another declaration of a number."""
    declared = record["declarations"]
    return record | {"declarations": declared | {name: declared[name] | fields}}


def without(record, name):
    return record | {"declarations": {k: v for k, v in record["declarations"].items() if k != name}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: {k: v for k, v in r.items() if k != "test_sha256"}, "the file: lacks test_sha256"),
        (without_declarations, "written by an older version: the file: lacks declarations"),
        (lambda r: r | {"declarations": None}, "declarations=None: must be a mapping"),
        (lambda r: without(r, "nll_nats"), "nll_nats must be declared"),
        (lambda r: without(r, "seed"), "seed must be declared"),
        (
            lambda r: changed(r, "nll_nats", unit="nats"),
            r"declarations\.nll_nats\.unit=nats: needs exactly the fields",
        ),
        (lambda r: changed(r, "nll_nats", unit=None), "needs exactly the fields"),
        (lambda r: r | {"levels": 2}, r"not of the file's own levels"),
        (lambda r: r | {"dimensions": 64}, r"not of the file's own levels"),
        (
            lambda r: changed(r, "nll_nats", unit=r["declarations"]["nll_nats"]["unit"] | {"split": "train"}),
            r"unit=nll_nats: not of the file's own levels, dimensions and split",
        ),
    ],
)
def test_values_without_declarations_of_their_own_are_refused_with_a_remedy(root, study, change, message):
    study.save(root, change(study.record("grey", "binomial", 2, 0, 11.0)))
    with pytest.raises(
        SettingError, match=rf"binomial-2-0/metrics\.json.*{message}.*run .*evaluate@grey"
    ) as caught:
        summary.collect(root / "evaluations", {"grey": ["gaussian"]})
    assert "\n" not in str(caught.value)


def test_a_score_without_a_unit_is_refused(root, study):
    record = study.record("grey", "binomial", 2, 0, 11.0)
    del record["declarations"]["bits_per_dim"]["unit"]
    study.save(root, record)
    with pytest.raises(SettingError, match="declarations=bits_per_dim: no unit is stored"):
        summary.collect(root / "evaluations", {"grey": []})
