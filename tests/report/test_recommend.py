"""The advice says what the numbers say, and what they do not."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vae_likelihoods.cli.app import main
from vae_likelihoods.report import ranking, recommend, summary
from vae_likelihoods.report.comparable import UnlikeUnits
from vae_likelihoods.report.recommend import Recommendation
from vae_likelihoods.units.quantity import NATS, Quantity

# Best at coding: a. The features of samples like b, the probe likes c. Seeds hardly differ.
FRECHET = {"a": 9.0, "b": 4.0, "c": 20.0}
PROBE = {"a": 0.60, "b": 0.62, "c": 0.90}
# As the metrics declare them.
DECLARED: dict[str, dict[str, Any]] = {
    "frechet_draws": {"header": "Fréchet distance", "better": "lower", "purpose": "samples"},
    "coverage_draws": {"header": "coverage", "better": "higher", "purpose": "diverse samples"},
    "linear_probe_accuracy": {"header": "probe accuracy", "better": "higher", "purpose": "representation"},
    "knn_accuracy": {"header": "kNN accuracy", "better": "higher", "purpose": "representation"},
}


@pytest.fixture
def recommended(root, study):
    """The advice of a study of three likelihoods and two seeds, with numbers of further metrics."""

    def advice(**numbers: dict[str, Any]) -> Recommendation:
        for place, name in enumerate("abc"):
            for seed in (0, 1):
                bits = 1 + 0.05 * place + 0.0005 * seed
                metrics = study.record(
                    "trio", name, 8, seed, bits, parameters=1000 - place, multiply_adds=2000
                )
                for number, values in numbers.items():
                    metrics = study.add(
                        metrics, number, values[name] * (1 + 0.001 * seed), **DECLARED[number]
                    )
                study.save(root, metrics)
        return recommend.recommend(of(root))

    return advice


def of(root: Path, study: str = "trio") -> ranking.Answer:
    return ranking.answer(summary.collect(root / "evaluations", {study: []}), root / "evaluations")


def test_a_setting_is_not_ahead_of_its_equal(recommended):
    """The setting with the best score is named, though another with the same accuracy comes before it."""
    advice = recommended(knn_accuracy={"a": 0.0, "b": 0.0, "c": 0.0})
    assert "For representation it is the best too (kNN accuracy 0)." in plain(advice.paragraph)


def test_a_purpose_that_cannot_be_judged_says_why(root, study, recommended):
    """A data set without labels has no accuracy; nothing else changes."""
    before = plain(recommended().paragraph)
    for path in sorted((root / "evaluations/trio").glob("*/metrics.json")):
        metrics = json.loads(path.read_text())
        for number in ("knn_accuracy", "probe_accuracy"):
            metrics = study.add(metrics, number, None, purpose="representation")
        study.save(root, {**metrics, "missing": {"knn_accuracy": "no labels", "probe_accuracy": "no labels"}})
    after = plain(recommend.recommend(of(root)).paragraph)
    said = "Not measured: samples and diverse samples; representation (no labels)."
    assert after == before.replace("Not measured: samples, diverse samples and representation.", said)


def plain(text: str) -> str:
    return text.replace("\u00a0", " ")


def test_the_paragraph_has_all_that_was_asked(recommended):
    text = plain(recommended().paragraph)
    assert text.startswith("On mnist5k at 256 levels, `a` with 8 latents is best: 1.000 ± 0.0")
    assert "The best has 1,000 parameters and takes 2,000 multiply-adds an image." in text
    assert "For reconstructions it is the best too (squared error 0.01235)." in text
    assert "Not measured: samples, diverse samples and representation." in text
    unknown = text.partition("Not known: ")[2]
    for part in (
        "what other seeds give (each setting has 2)",
        "of k = 128 samples 11.2 are effective for the best",
        "whether the ranking holds at fewer levels or at another k (not measured)",
        "what training settings chosen for each likelihood give",
        "whether this holds beyond the 50 test images of mnist5k",
    ):
        assert part in unknown


def test_the_text_says_the_same_as_the_numbers(recommended):
    """Every number of the sentence on the runner-up, and every one of its row."""
    advice = recommended()
    answer, second = advice.answer, advice.answer.runner_up
    assert second is not None
    sentence = re.search(
        r"The runner-up, `b` with 8 latents, needs (\S+) \[(\S+), (\S+)\] more \((\S+)\)",
        advice.paragraph,
    )
    assert sentence is not None
    numbers = (answer.behind(second), *second.interval, second.bits_per_dim)
    assert [float(number) for number in sentence.groups()] == pytest.approx(numbers, abs=6e-4)
    row = next(row for row in advice.table.rows if row[0] == "`b`")
    assert [float(text) for text in re.findall(r"[-+.\d]+", row[3])] == pytest.approx(numbers[:3], abs=6e-4)
    assert advice.table.rows[0][3] == "best"
    share = float(advice.table.rows[0][5].removesuffix("\u00a0%").replace("over\u00a0", ""))
    assert share / 100 == pytest.approx(answer.best.best_share, abs=0.01)


def test_a_tie_in_the_table_is_a_tie_in_the_text(root, study):
    for name, seeds in {"a": (1.0, 1.1), "b": (1.06, 1.07), "c": (3.0, 3.01)}.items():
        for seed, bits in enumerate(seeds):
            study.save(root, study.record("trio", name, 8, seed, bits))
    advice = recommend.recommend(of(root))
    assert [row[3].endswith(", tie") for row in advice.table.rows] == [False, True, False]
    assert "`b` with 8 latents (+0.015 [-" in advice.paragraph
    assert "is indistinguishable from it." in advice.paragraph


def test_another_purpose_may_prefer_another_setting(recommended):
    advice = recommended(frechet_draws=FRECHET, linear_probe_accuracy=PROBE)
    assert "For samples prefer `b` with 8 latents (Fréchet distance 4.002 against 9.005)." in advice.paragraph
    assert "For representation prefer `c` with 8 latents (probe accuracy 0.9" in advice.paragraph
    assert "Not measured: diverse samples." in advice.paragraph
    assert advice.table.header[-3:] == ("Fréchet distance", "probe accuracy", "squared error")
    assert advice.table.rows[0][-3:] == ("9.005", "0.6003", "0.01235")


def test_a_lead_that_may_be_noise_is_not_preferred(recommended):
    close = {"a": 9.0, "b": 8.995, "c": 20.0}
    text = recommended(frechet_draws=close).paragraph
    assert "For samples, `b` with 8 latents (Fréchet distance 8.999 against 9.005) is ahead, but" in text


def test_single_images_tell_more_than_seeds(root, study):
    """The probe is right on 20 and on 40 of 50 images: a difference that one seed each can show."""
    for place, (name, right) in enumerate({"a": 20, "b": 40}.items()):
        column = (np.arange(study.images) < right).astype(float)
        metrics = study.record("trio", name, 8, 0, 1 + place)
        number = "linear_probe_accuracy"
        metrics = study.add(metrics, number, right / study.images, **DECLARED[number])
        study.save(root, metrics, **{number: column})
    text = recommend.recommend(of(root)).paragraph
    assert "For representation prefer `b` with 8 latents (probe accuracy 0.8 against 0.4)." in text


def test_with_one_seed_and_no_images_nothing_is_known_of_noise(root, study):
    for place, (name, distance) in enumerate({"a": 9.0, "b": 4.0}.items()):
        metrics = study.record("trio", name, 8, 0, 1 + place)
        study.save(root, study.add(metrics, "frechet_draws", distance, **DECLARED["frechet_draws"]))
    text = recommend.recommend(of(root)).paragraph
    assert "For samples, `b` with 8 latents (Fréchet distance 4 against 9) is ahead; whether by more" in text
    assert "Each setting has one seed, so this is about these trained models" in text


def test_metrics_json_says_the_direction(root, study):
    for place, (name, coverage) in enumerate({"a": 0.9, "b": 0.1}.items()):
        for seed in (0, 1):
            metrics = study.record("trio", name, 8, seed, 1 + place)
            declared = {**DECLARED["coverage_draws"], "better": "lower"}
            study.save(root, study.add(metrics, "coverage_draws", coverage + 0.001 * seed, **declared))
    assert "For diverse samples prefer `b`" in recommend.recommend(of(root)).paragraph


def test_a_purpose_that_only_a_metric_of_ones_own_declares_is_judged_too(root, study):
    for place, (name, share) in enumerate({"a": 0.9, "b": 0.1}.items()):
        for seed in (0, 1):
            metrics = study.record("trio", name, 8, seed, 1 + place)
            declared = {"header": "false alarms", "better": "lower", "purpose": "detecting faults"}
            study.save(root, study.add(metrics, "false_alarms", share + 0.001 * seed, **declared))
    advice = recommend.recommend(of(root))
    assert (
        "For detecting faults prefer `b` with 8 latents (false alarms 0.1005 against 0.9005)."
        in advice.paragraph
    )
    assert advice.table.header[-1] == "false alarms"


def test_numbers_without_a_common_unit_are_not_ranked(root, study):
    for place, name in enumerate("ab"):
        metrics = study.record("trio", name, 8, 0, 1 + place)
        quantity = Quantity(f"squared distance in features {name}")
        study.save(root, study.add(metrics, "frechet_draws", 1.0, quantity=quantity))
    with pytest.raises(UnlikeUnits, match=r"squared distance in features a .*squared distance in features b"):
        recommend.recommend(of(root))


def test_a_number_that_some_cells_lack_is_not_ranked(recommended, root, study):
    recommended(knn_accuracy=PROBE)
    metrics = study.record("trio", "d", 8, 0, 2.0)
    for lacking in (metrics, study.add(metrics, "knn_accuracy", None, **DECLARED["knn_accuracy"])):
        study.save(root, lacking)
        text = recommend.recommend(of(root)).paragraph
        assert "For representation" not in text
        assert "representation" in text.partition("Not measured: ")[2]


def test_the_first_declared_number_that_all_cells_have_speaks_for_a_purpose(recommended, root, study):
    recommended(linear_probe_accuracy=PROBE, knn_accuracy=FRECHET)
    assert "(probe accuracy 0.9" in recommend.recommend(of(root)).paragraph
    metrics = study.record("trio", "d", 8, 0, 2.0)
    study.save(root, study.add(metrics, "knn_accuracy", 30.0, **DECLARED["knn_accuracy"]))
    assert "(kNN accuracy 30" in recommend.recommend(of(root)).paragraph


def test_the_cheapest_of_those_that_may_be_best_is_named(root, study):
    for name, cost in (("a", 3000), ("b", 1000), ("c", 10)):
        for seed, bits in enumerate((1.0, 1.1) if name == "a" else (1.06, 1.07)):
            bits += 2.0 * (name == "c")
            study.save(root, study.record("trio", name, 8, seed, bits, multiply_adds=cost))
    text = recommend.recommend(of(root)).paragraph
    assert "The cheapest that is indistinguishable from it is `b` with 8 latents: 1,000 multiply-adds" in text


def test_a_loose_bound_is_named(root, study):
    for name, effective in (("a", 3.8), ("b", 1.2)):
        study.save(root, study.record("trio", name, 8, 0, 1.0, effective_sample_size=effective))
    text = recommend.recommend(of(root)).paragraph
    assert "of k = 128 samples 3.8 are effective for the best, 1.2 for `b` with 8 latents" in text


def test_what_annealing_finds_beyond_the_bound_is_said(root, study):
    metrics = study.record("trio", "a", 8, 0, 1.0)
    study.save(root, study.add(metrics, "iwae_gap_nats", 2.34, quantity=Quantity(NATS, "mass", 128)))
    text = recommend.recommend(of(root)).paragraph
    assert "in nats an image, annealing finds 2.3 for `a` with 8 latents" in text


def test_a_number_that_a_model_does_not_have_is_a_dash_and_one_that_none_has_no_column(root, study):
    for name in "ab":
        study.save(root, study.record("trio", name, 8, 0, 1.0, effective_sample_size=None))
    assert "ESS" not in recommend.recommend(of(root)).table.header
    study.save(root, study.record("trio", "b", 8, 0, 1.1))
    advice = recommend.recommend(of(root))
    column = advice.table.header.index("ESS")
    assert [row[column] for row in advice.table.rows] == ["–", "11.2"]
    assert "nan" not in advice.paragraph


@pytest.fixture
def command(root):
    return lambda *arguments: main(["recommend", "--root", str(root), *arguments])


def test_the_command_prints_paragraph_and_table(command, capsys):
    assert command("--study", "grey") == 0
    text = capsys.readouterr().out
    assert command("--study", "grey") == 0
    assert capsys.readouterr().out == text
    paragraph, _, table = text.partition("\n\n")
    assert paragraph.startswith("On mnist5k at 256 levels, `beta_binomial` with 32 latents is best: ")
    lines = table.splitlines()
    assert lines[0].split()[:2] == ["likelihood", "latents"]
    assert lines[1].startswith("beta_binomial ")
    assert {line.split()[0] for line in lines[1:]} == {
        "beta_binomial",
        "gaussian_learned",
        "gaussian",
        "binomial",
    }
    assert len({len(line) for line in lines}) == 1


@pytest.mark.parametrize("variables", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C"}], ids=str)
def test_an_ascii_terminal_gets_the_same_in_ascii(root, command, capsys, variables):
    arguments = ["-m", "vae_likelihoods", "recommend", "--study", "grey", "--root", str(root)]
    done = subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, **variables},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert command("--study", "grey") == 0
    paragraph, _, table = done.stdout.decode("ascii").partition("\n\n")
    expected = capsys.readouterr().out.replace("±", "+-").replace("é", "e").partition("\n\n")
    assert paragraph.split() == expected[0].split()
    assert table.split() == expected[2].split()
    assert "+-" in table
    assert len({len(line) for line in table.splitlines()}) == 1


def test_a_study_that_was_not_evaluated_is_one_line(command, capsys):
    assert command("--study", "none") == 1
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert printed.err.startswith("recommend: study=none: no evaluated cell")


def test_what_the_diagnostics_name_in_the_best_and_its_ties_is_said(root, study):
    for name, bits, share in (("a", 1.0, 0.5), ("b", 1.01, 1.0), ("c", 3.0, 1.0)):
        for seed in (0, 1):
            collapsed = {"collapsed_share": share, "posterior_collapse": int(share == 1.0 and seed == 0)}
            metrics = study.record("trio", name, 8, seed, bits + 0.02 * seed)
            for number, value in collapsed.items():
                metrics = study.add(metrics, number, value)
            study.save(root, metrics)
    advice = recommend.recommend(of(root))
    text, column = advice.paragraph, advice.table.header.index("findings")
    assert [row[column] for row in advice.table.rows] == [
        "dead latents",
        "posterior collapse (1 of 2), dead latents (1 of 2)",
        "posterior collapse (1 of 2), dead latents (1 of 2)",
    ]
    assert "But: `a` with 8 latents: dead latents in 2 of 2 seeds (50% of the latents " in text
    assert "; `b` with 8 latents: posterior collapse in 1 of 2 seeds (100% of the latents " in text
    assert " and dead latents in 1 of 2 seeds (" in text
    assert "`c` with 8 latents: " not in text.partition("But: ")[2]


@pytest.mark.parametrize(("gain", "named"), [(0.02, True), (0.005, False), (None, False)])
def test_a_likelihood_that_still_comes_closer_is_named(root, study, gain, named):
    """`b` is 0.02 behind `a`, which gained 0.003 in the last third of its epochs."""
    for name, bits, gained in (("a", 1.0, 0.003), ("b", 1.02, gain)):
        metrics = study.record("trio", name, 8, 0, bits)
        if gained is not None:
            metrics = study.add(metrics, "late_gain_bits", gained, quantity=None)
        study.save(root, metrics)
    text = recommend.recommend(of(root)).paragraph
    expected = (
        "More training may change the order: in the last third of the epochs `b` with 8 latents came 0.017"
    )
    assert (expected in text) == named


def test_a_study_without_a_finding_has_no_sentence_on_findings(recommended):
    assert "But: " not in recommended().paragraph
