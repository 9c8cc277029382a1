"""What tuning changed: in the answer, in the tables, and no axis of the study."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from vae_likelihoods.errors import SettingError
from vae_likelihoods.report import ranking, recommend, summary, tables, tuning

CHOICES = [
    {"likelihood": "gaussian", "latent_dim": 4, "optimizer.lr": 0.002, "validation_bits_per_dim": 2.9},
    {"likelihood": "binomial", "latent_dim": 8, "optimizer.lr": 0.01, "validation_bits_per_dim": 3.1},
]
RACE: dict[str, Any] = {
    "trials": 9, "rungs": [7, 20, 60], "seed": 0, "validation_images": 500,
    "likelihoods": {
        "binomial": {"default_bits_per_dim": 3.2, "tuned_bits_per_dim": 3.1, "epochs": 195, "failed": 0},
        "gaussian": {"default_bits_per_dim": 7.9, "tuned_bits_per_dim": 2.9, "epochs": 195, "failed": 0},
    },
}  # fmt: skip


@pytest.fixture
def tuned(root: Path, study: Any) -> Path:
    """A study whose two settings have learning rates and latent sizes of their own, and two seeds."""
    for choice in CHOICES:
        for seed in (1, 2):
            bits = choice["validation_bits_per_dim"] + 0.004 * seed
            own = study.record(
                *("tuned", choice["likelihood"], choice["latent_dim"], seed, bits),
                settings={"optimizer.lr": choice["optimizer.lr"]},
                tuned=["optimizer.lr"],
            )
            study.save(root, own)
    write(root, {"choices": CHOICES, "race": RACE})
    return root


def write(root: Path, content: Any) -> None:
    (root / "tune").mkdir(exist_ok=True)
    (root / "tune" / "tuned.yaml").write_text(yaml.safe_dump(content))


def advice_of(root: Path) -> recommend.Recommendation:
    cells = summary.collect(root / "evaluations", {"tuned": ["gaussian", "binomial"]})
    answer = ranking.answer(cells, root / "evaluations")
    return recommend.recommend(answer, tuning.of_study("tuned", root, cells))


def test_what_was_tuned_is_no_axis_of_the_study(tuned: Path) -> None:
    answer = advice_of(tuned).answer
    assert answer.varied == ()
    assert [setting.name.in_words for setting in answer.settings] == [
        "`gaussian` with 4 latents",
        "`binomial` with 8 latents",
    ]
    assert {setting.seeds for setting in answer.settings} == {2}


def test_the_answer_says_what_the_first_place_hung_on(tuned: Path) -> None:
    text = advice_of(tuned).paragraph
    assert "9 trials of each likelihood over latent_dim and optimizer.lr" in text
    assert "Kendall's tau of the rankings before and after is -1.00" in text
    assert "with the default settings, `binomial` comes before `gaussian`" in text
    assert "all had the same" not in text
    assert "what settings beyond latent_dim and optimizer.lr give" in text


def test_the_answer_says_that_it_did_not_hang_on_it(tuned: Path) -> None:
    likelihoods = {**RACE["likelihoods"]}
    likelihoods["gaussian"] = {**likelihoods["gaussian"], "default_bits_per_dim": 3.0}
    write(tuned, {"choices": CHOICES, "race": {**RACE, "likelihoods": likelihoods}})
    assert "is 1.00, and the first place did not hang on it" in advice_of(tuned).paragraph


def test_a_table_has_both_scores_and_what_was_chosen(tuned: Path) -> None:
    table = advice_of(tuned).tuning
    assert table is not None
    assert table.rows[0] == ("`gaussian`", "7.9000", "2.9000", "195", "0", "latent_dim 4, lr 0.002")
    assert re.search(r"\| `binomial` +\| +3\.2000 \| +3\.1000 \|", tables.markdown([advice_of(tuned)]))


def test_a_likelihood_all_of_whose_trials_failed_is_last(tuned: Path) -> None:
    likelihoods = {**RACE["likelihoods"]}
    likelihoods["laplace"] = {
        "default_bits_per_dim": None,
        "tuned_bits_per_dim": None,
        "epochs": 3,
        "failed": 9,
    }
    write(tuned, {"choices": CHOICES, "race": {**RACE, "likelihoods": likelihoods}})
    table = advice_of(tuned).tuning
    assert table is not None
    assert "; 9 of all 27 failed)" in advice_of(tuned).paragraph
    assert table.rows[-1] == ("`laplace`", "failed", "failed", "3", "9", "failed")


def test_without_the_file_nothing_is_said(tuned: Path) -> None:
    (tuned / "tune" / "tuned.yaml").unlink()
    assert advice_of(tuned).tuning is None


@pytest.mark.parametrize(
    "content", [{"choices": CHOICES}, {"choices": CHOICES, "race": {}}, 3, {"choices": 3}]
)
def test_a_damaged_file_is_refused(tuned: Path, content: Any) -> None:
    write(tuned, content)
    with pytest.raises(SettingError, match="is damaged"):
        advice_of(tuned)
