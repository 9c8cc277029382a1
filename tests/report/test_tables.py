from __future__ import annotations

import pandas as pd
import pytest

from vae_likelihoods.errors import SettingError
from vae_likelihoods.report import ranking, summary, tables

UNIT = "bits per dimension (mass, test, D=784, K=256, k=128)"


@pytest.fixture
def found(root) -> list[ranking.Answer]:
    return ranking.answers(summary.collect(root / "evaluations", {"grey": []}))


def test_markdown_is_ranked_and_marks_the_best(found):
    lines = tables.markdown(found).replace("\u00a0", " ").splitlines()
    table = [line for line in lines if line.startswith("| ")]
    assert table[0] == "| likelihood | 2 latents | 8 latents | 32 latents |"
    assert table[2].endswith("| **1.261 ± 0.012** |")
    assert [row.split("`")[1] for row in table[2:]] == [
        "beta_binomial",
        "gaussian_learned",
        "gaussian",
        "binomial",
    ]
    assert lines[0].startswith("**grey**: On mnist5k at 256 levels, `beta_binomial` with 32 latents")


def test_headlines(found):
    line = tables.headlines(found)["grey"]
    assert line["unit"] == UNIT
    assert (line["likelihood"], line["latent_dim"], line["bits_per_dim"]) == ("beta_binomial", 32, 1.261)
    assert (line["runner_up"], line["difference"], line["distinguishable"]) == (
        "gaussian_learned",
        0.582,
        True,
    )


def test_plots_hold_one_row_a_setting(found, tmp_path):
    tables.write_plots(found, tmp_path / "plots")
    rows = pd.read_csv(tmp_path / "plots/bits_per_dim.csv")
    assert list(rows.columns) == ["study", "likelihood", "latent_dim", "bits_per_dim", "unit"]
    assert set(rows["unit"]) == {UNIT}
    assert len(rows) == 12
    assert rows.query("likelihood == 'gaussian' and latent_dim == 8")["bits_per_dim"].item() == pytest.approx(
        7.9
    )


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
