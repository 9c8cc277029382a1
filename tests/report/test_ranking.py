from __future__ import annotations

import math
from typing import Any

import pandas as pd
import pytest

from vae_likelihoods.report import ranking, summary
from vae_likelihoods.units import BITS, Quantity, UnlikeUnits


def cells(*rows: tuple[str, int, int, float], error: float | None = 0.01, **changes: Any) -> pd.DataFrame:
    columns = ["likelihood", "latent_dim", "seed", "bits_per_dim"]
    shared = {"study": "s", "dataset": "mnist5k", "test_sha256": "5ca1e", "scale": "mass", "split": "test"}
    counts = {"levels": 256, "dimensions": 784, "importance_samples": 128, "bits_per_dim_se": error}
    named = [f"{likelihood}-{size}-{seed}" for likelihood, size, seed, _ in rows]
    unit = Quantity(BITS, "mass", 128).on("test", 784, 256)
    units = [{"bits_per_dim": unit} for _ in rows]
    return pd.DataFrame(rows, columns=columns).assign(**shared, **counts, cell=named, units=units, **changes)


def test_a_clear_winner():
    found = ranking.answer(
        cells(("a", 2, 0, 2.0), ("a", 2, 1, 2.06), ("b", 8, 0, 1.5), ("b", 8, 1, 1.58), ("c", 2, 0, 3.0))
    )
    best, second = found.best, found.runner_up
    assert (best.likelihood, best.latent_dim, best.seeds) == ("b", 8, 2)
    assert best.bits_per_dim == pytest.approx(1.54)
    assert best.half_range == pytest.approx(0.04)
    assert best.standard_error == pytest.approx(
        0.01
    )  # the same images for both seeds: no division by sqrt(2)
    assert second is not None
    assert second.likelihood == "a"
    assert found.behind(second) == pytest.approx(0.49)
    assert found.doubt(second) == pytest.approx(math.sqrt(0.04**2 + 0.03**2 + 2 * 0.01**2))
    assert found.ties == ()
    said = " ".join(ranking.sentences(found)).replace("\u00a0", " ")
    assert said == (
        "On mnist5k at 256 levels, `b` with 8 latents codes a test image best: 1.540 ± 0.041 bits/dim "
        "over 2 seeds. The runner-up, `a` with 2 latents, needs 0.490 ± 0.052 more (2.030)."
    )


def test_a_tie_is_called_a_tie():
    found = ranking.answer(cells(("a", 2, 0, 1.000), ("b", 2, 0, 1.005), ("c", 2, 0, 1.5)))
    assert [setting.likelihood for setting in found.ties] == ["b"]
    said = ranking.sentences(found)
    assert "over 1 seed." in said[0]
    assert (
        said[1] == "`b` with 2 latents (+0.005) is indistinguishable from it: "
        "the difference is smaller than its uncertainty."
    )


def test_seeds_alone_can_make_a_tie():
    rows = [("a", 2, 0, 1.0), ("a", 2, 1, 1.2), ("b", 2, 0, 1.14), ("b", 2, 1, 1.2)]
    assert ranking.answer(cells(*rows, error=0.0)).ties
    assert not ranking.answer(cells(("a", 2, 0, 1.1), ("b", 2, 0, 1.17), error=None)).ties


def test_several_ties_are_listed():
    found = ranking.answer(cells(("a", 2, 0, 1.0), ("b", 2, 0, 1.001), ("c", 1, 0, 1.002)))
    assert ranking.sentences(found)[1].startswith(
        "`b` with 2 latents (+0.001) and `c` with 1 latent (+0.002) are indist"
    )


def test_how_many_latents():
    found = ranking.answer(cells(("a", 2, 0, 1.5), ("a", 8, 0, 1.001), ("a", 32, 0, 1.0)))
    assert ranking.sentences(found)[1:] == [
        "No other likelihood was tried.",
        "For `a`, 8 latents do as well, within the uncertainty and 2 latents need 0.500 more.",
    ]


def test_order_does_not_depend_on_the_rows():
    rows = [("b", 2, 0, 1.0), ("a", 2, 0, 1.0), ("a", 8, 0, 1.0)]
    assert ranking.answer(cells(*rows)).settings == ranking.answer(cells(*reversed(rows))).settings
    assert [s.likelihood for s in ranking.answer(cells(*rows)).settings] == ["a", "b", "a"]


def test_contenders_stand_before_the_widest_gap():
    rows = [(name, 2, 0, bits) for name, bits in (("a", 1.3), ("b", 1.9), ("c", 7.9), ("d", 11.0))]
    assert ranking.contenders(ranking.answer(cells(*rows))) == ["a", "b"]
    near = [(name, 2, 0, bits) for name, bits in (("a", 1.3), ("b", 1.4), ("c", 1.5))]
    assert ranking.contenders(ranking.answer(cells(*near))) == ["a", "b", "c"]
    assert ranking.contenders(ranking.answer(cells(rows[0], rows[3]))) == ["a", "d"]
    assert ranking.contenders(ranking.answer(cells(rows[0]))) == ["a"]


@pytest.mark.parametrize(("error", "decimals"), [(0.2, 3), (0.011, 3), (0.0014, 4), (0.0, 3), (1e-9, 6)])
def test_decimals_show_two_digits_of_the_uncertainty(error, decimals):
    assert ranking.answer(cells(("a", 2, 0, 1.0), error=error)).decimals == decimals


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("study", "t"), ("dataset", "digits"), ("test_sha256", "0ddba11"), ("levels", 2), ("dimensions", 64),
        ("scale", "density"), ("split", "validation"), ("importance_samples", 8),
    ],
)  # fmt: skip
def test_a_column_that_differs_is_refused(column, value):
    odd = cells(("b", 2, 0, 1.0)).assign(**{column: value})
    with pytest.raises(UnlikeUnits, match=rf"unlike units .*ranking\. {column}: .* \(s/a-2-0\), {value} "):
        ranking.answer(pd.concat([cells(("a", 2, 0, 1.0)), odd]))


def test_a_unit_that_differs_is_refused():
    nats = [{"bits_per_dim": Quantity("nats per image", "mass", 128).on("test", 784, 256)}]
    odd = cells(("b", 2, 0, 1.0)).assign(units=nats)
    said = r"measure of bits_per_dim: bits per dimension \(s/a-2-0\), nats per image \(s/b-2-0\)\.$"
    with pytest.raises(UnlikeUnits, match=said):
        ranking.answer(pd.concat([cells(("a", 2, 0, 1.0)), odd]))


def test_what_collect_refuses_in_one_study_is_refused_in_one_ranking(root, study, unlike):
    """Each of the two was collected alone, without an objection."""
    for name in ("one", "other"):
        study.save(root / name, study.record("pair", name, 2, 0, 1.0, **(unlike if name == "other" else {})))
    pair = [summary.collect(root / name / "evaluations", {"pair": []}) for name in ("one", "other")]
    with pytest.raises(UnlikeUnits, match=study.refused(unlike)):
        ranking.answer(pd.concat(pair))


def test_an_answer_carries_its_unit():
    found = ranking.answer(cells(("a", 2, 0, 1.0)))
    assert str(found.unit) == "bits per dimension (mass, test, D=784, K=256, k=128)"
    assert found.levels == 256
