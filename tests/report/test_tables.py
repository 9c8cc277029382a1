from __future__ import annotations

import re

import pandas as pd
import pytest

from vae_likelihoods.errors import SettingError
from vae_likelihoods.report import ranking, recommend, summary, tables
from vae_likelihoods.report.recommend import Recommendation
from vae_likelihoods.verify.contradictions import contradictions

UNIT = "bits per dimension (mass, test, D=784, K=256, k=128)"


@pytest.fixture
def recommendations(root) -> list[Recommendation]:
    cells = summary.collect(root / "evaluations", {"grey": []})
    return [recommend.recommend(each) for each in ranking.answers(cells, root / "evaluations")]


@pytest.fixture
def answers(recommendations) -> list[ranking.Answer]:
    return [each.answer for each in recommendations]


def columns_of(line: str) -> list[str]:
    """Return the texts of a line of a Markdown table."""
    return [text.strip() for text in line.strip("|").split("|")]


def test_markdown_has_the_paragraph_and_the_intervals_above_every_setting(recommendations):
    lines = tables.markdown(recommendations).replace("\u00a0", " ").splitlines()
    assert lines[0] == f"**grey**: {recommendations[0].paragraph}".replace("\u00a0", " ")
    assert lines[0].startswith("**grey**: On mnist5k at 256 levels, `beta_binomial` with 32 latents")
    heads = [columns_of(line) for line in lines if line.startswith("| likelihood")]
    assert heads[0][:6] == ["likelihood", "latents", "bits/dim", "behind the best", "p", "best in"]
    assert heads[1] == ["likelihood", "2 latents", "8 latents", "32 latents"]
    names = [line.split("`")[1] for line in lines if line.startswith("| `")]
    assert names[-4:] == ["beta_binomial", "gaussian_learned", "gaussian", "binomial"]
    best = recommendations[0].answer.best
    second = next(place for place, line in enumerate(lines) if columns_of(line) == heads[1])
    assert columns_of(lines[second + 2])[-1] == f"**1.261 ± {best.uncertainty:.3f}**"
    rules = columns_of(lines[second + 1])
    assert [rule.endswith(":") for rule in rules] == [False, True, True, True]  # numbers to the right
    assert len({len(line) for line in lines[second : second + 6]}) == 1


def test_bold_is_what_cannot_be_told_from_the_best(recommendations):
    answer = recommendations[0].answer
    text = tables.markdown(recommendations).replace("\u00a0", " ")
    bold = set(re.findall(r"\| +\*\*(.*?)\*\* ", text))
    assert bold == {f"{s.bits_per_dim:.3f} ± {s.uncertainty:.3f}" for s in answer.candidates}


def test_headlines(answers):
    line = tables.headlines(answers)["grey"]
    assert line["unit"] == UNIT
    assert (line["likelihood"], line["latent_dim"], line["bits_per_dim"]) == ("beta_binomial", 32, 1.261)
    assert (line["runner_up"], line["difference"], line["distinguishable"]) == (
        "gaussian_learned",
        0.582,
        True,
    )
    assert 0 < line["difference_low"] < 0.582 < line["difference_high"]
    assert 0 < line["standard_error"] < 0.1
    assert 0.5 < line["best_share"] <= 1


def test_plots_hold_one_row_a_setting(recommendations, tmp_path):
    tables.write_plots(recommendations, tmp_path / "plots")
    rows = pd.read_csv(tmp_path / "plots/bits_per_dim.csv")
    assert list(rows.columns) == [
        "study", "likelihood", "latent_dim", "bits_per_dim", "standard_error", "score",
        "behind", "behind_low", "behind_high", "best_share", "beats_baselines", "unit",
    ]  # fmt: skip
    assert set(rows["unit"]) == {UNIT}
    assert len(rows) == 12
    row = rows.query("likelihood == 'gaussian' and latent_dim == 8").iloc[0]
    assert row["bits_per_dim"] == pytest.approx(7.9)
    assert row["behind"] == pytest.approx(7.9 - 1.261)
    assert row["behind_low"] < row["behind"] < row["behind_high"]
    assert rows["best_share"].sum() == pytest.approx(1)


def test_reports_follow_from_each_other_as_verify_asks(recommendations, answers, root, tmp_path):
    """What is written here, `contradictions` accepts; an interval that is edited it does not."""
    cells = summary.collect(root / "evaluations", {"grey": []})
    summary.write_summary(cells, tmp_path / "summary.csv")
    tables.write_plots(recommendations, tmp_path)
    written = [pd.read_csv(tmp_path / name) for name in ("summary.csv", "bits_per_dim.csv")]
    headlines = tables.headlines(answers)
    assert contradictions(written[0], headlines, written[1]) == []
    edited = {"grey": headlines["grey"] | {"difference_low": 0.5}}
    (fault,) = contradictions(written[0], edited, written[1])
    assert "metrics.json has grey.difference_low 0.5" in fault
    moved = written[1].assign(behind=written[1]["behind"] + 0.01 * (written[1]["likelihood"] == "gaussian"))
    assert len(contradictions(written[0], headlines, moved)) == 3
    (fault,) = contradictions(written[0], headlines, written[1].drop(columns="behind_low"))
    assert fault == "plots/bits_per_dim.csv has no behind_low"


def test_the_plots_say_how_the_ranking_holds(recommendations, tmp_path):
    tables.write_plots(recommendations, tmp_path / "plots")
    rows = pd.read_csv(tmp_path / "plots/stability.csv", keep_default_na=False)
    assert rows[["axis", "reference", "ranking"]].to_numpy().tolist() == [
        ["latents", "32 latents", "2 latents"],
        ["latents", "32 latents", "8 latents"],
    ]
    assert set(rows["kendall_tau"]) == {1.0}
    assert set(rows["flips"]) == set(rows["firm_flips"]) == {""}


def test_readme_is_replaced_between_the_markers_only(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("# Title\n\n<!-- results -->\nold\n<!-- /results -->\n\nend\n", encoding="utf-8")
    assert tables.update_readme(readme, "new ±\n")
    first = readme.read_bytes()
    assert first.decode() == "# Title\n\n<!-- results -->\nnew ±\n<!-- /results -->\n\nend\n"
    assert not tables.update_readme(readme, "new ±\n")
    assert readme.read_bytes() == first


@pytest.mark.parametrize("text", ["", "<!-- results -->", "<!-- /results --> <!-- results -->"])
def test_a_readme_without_markers_is_refused_and_kept(tmp_path, text):
    readme = tmp_path / "README.md"
    readme.write_text(text, encoding="utf-8")
    with pytest.raises(SettingError, match="markers"):
        tables.update_readme(readme, "new")
    assert readme.read_text(encoding="utf-8") == text


def test_a_missing_readme(tmp_path):
    with pytest.raises(SettingError, match="no such file"):
        tables.update_readme(tmp_path / "README.md", "new")
