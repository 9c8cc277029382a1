from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from vae_likelihoods.report import ranking, stability, summary
from vae_likelihoods.report.resampling import Interval
from vae_likelihoods.report.stability import Agreement, Order, agree

POINTS = {
    **{f"nll_at_{levels}_levels_nats": ("levels", levels) for levels in (256, 2)},
    **{f"nll_k{k}_nats": ("samples", k) for k in (1, 5, 50)},
    "nll_noisy_nats": ("noise", 3), "nll_clean_nats": ("noise", 0),
}  # fmt: skip
"""As the metrics declare them; the last two are of a metric of somebody's own."""


def order(label: str, error: float = 0.0, **scores: float) -> Order:
    def interval(left: str, other: str) -> Interval:
        difference = scores[left] - scores[other]
        return Interval(difference - error, difference + error)

    return Order(label, "settings", scores, interval)


def test_flips_and_tau_of_rankings_by_hand() -> None:
    """Of the six pairs of a < b < c < d two change: b with c, and a with b."""
    agreement = agree("levels", order("K = 8", a=1, b=2, c=3, d=4), order("K = 2", a=2, b=7, c=3, d=9))
    assert (agreement.flips, agreement.pairs, agreement.first) == ((("b", "c"),), 6, "a")
    assert agreement.tau == pytest.approx((5 - 1) / 6)
    agreement = agree("levels", order("K = 8", a=1, b=2, c=3, d=4), order("K = 2", a=3, b=2, c=1, d=4))
    assert set(agreement.flips) == {("a", "b"), ("a", "c"), ("b", "c")}
    assert agreement.tau == pytest.approx(0)
    assert (agreement.first_of_reference, agreement.first) == ("a", "c")


def test_a_flip_is_firm_where_both_orders_are() -> None:
    reference, other = order("8", 0.5, a=1, b=3), order("2", 0.5, a=3, b=2)
    assert agree("levels", reference, other).firm == (("a", "b"),)
    for pair in ((order("8", 2.5, a=1, b=3), other), (reference, order("2", 1.5, a=3, b=2))):
        agreement = agree("levels", *pair)
        assert (agreement.flips, agreement.firm) == ((("a", "b"),), ())


def test_equal_scores_do_not_flip() -> None:
    assert agree("levels", order("8", a=1, b=1, c=2), order("2", a=2, b=1, c=3)).flips == ()
    assert agree("levels", order("8", a=1, b=2, c=3), order("2", a=1, b=1, c=3)).flips == ()


def test_only_what_stands_in_both_is_compared() -> None:
    agreement = agree("latents", order("8", a=1, b=2, z=0), order("2", y=0, b=1, a=2))
    assert (agreement.ranked, agreement.first, agreement.first_of_reference) == (2, "b", "a")


@pytest.fixture
def evaluated(root, study):
    """One study of two likelihoods and sizes, scored at 8 and 2 levels and at k = 1 and 5 too."""

    def answer(coarse: dict[str, float], noise: float = 0.0, **more: dict[str, float]) -> ranking.Answer:
        for place, name in enumerate(coarse):
            for size in (2, 8):
                for seed in (0, 1):
                    metrics = study.record("pair", name, size, seed, 1 + 0.1 * place + 0.01 * size)
                    wobble = np.random.default_rng([place, size, seed]).normal(0, noise, study.images)
                    columns = {
                        "nll_at_256_levels_nats": metrics["nll_nats"],
                        "nll_at_2_levels_nats": coarse[name] + size + wobble,
                        **{column: of[name] + size for column, of in more.items()},
                    }
                    for column in columns:
                        metrics = study.add(metrics, column, 0.0, point=POINTS[column])
                    study.save(root, metrics, **columns)
        cells = summary.collect(root / "evaluations", {"pair": []})
        return ranking.answer(cells, root / "evaluations")

    return answer


def by_axis(answer: ranking.Answer) -> dict[str, list[Agreement]]:
    axes: dict[str, list[Agreement]] = {}
    for agreement in stability.agreements(answer):
        axes.setdefault(agreement.axis, []).append(agreement)
    return axes


def test_a_ranking_that_turns_round_at_two_levels_is_seen(evaluated) -> None:
    (agreement,) = by_axis(evaluated({"a": 90.0, "b": 60.0}))["levels"]
    assert (agreement.reference, agreement.label, agreement.ranked) == ("K = 256", "K = 2", 4)
    assert agreement.first == "`b` with 2 latents"
    bits, coarse = [1.02, 1.08, 1.12, 1.18], [92.0, 98.0, 62.0, 68.0]
    assert agreement.tau == pytest.approx(stats.kendalltau(bits, coarse).statistic)
    assert len(agreement.flips) == 4
    assert agreement.firm == agreement.flips
    (sentence,) = stability.sentences([agreement])
    assert sentence == (
        f"Kendall's tau to the ranking of 4 settings at K = 256 is {agreement.tau:.2f} at K = 2; "
        "first is then `b` with 2 latents at K = 2; 4 of 6 pairs change their order, 4 by more than noise."
    )


def test_a_turn_that_may_be_noise_is_not_firm(evaluated) -> None:
    (agreement,) = by_axis(evaluated({"a": 70.0, "b": 60.0}, noise=100.0))["levels"]
    assert agreement.flips
    assert agreement.firm == ()


def test_a_ranking_that_holds(evaluated) -> None:
    held = stability.agreements(evaluated({"a": 30.0, "b": 60.0}))
    texts = stability.sentences(held)
    assert texts[0] == (
        "Kendall's tau to the ranking of 4 settings at K = 256 is 1.00 at K = 2; "
        "`a` with 2 latents stays first; no pair changes its order."
    )
    assert texts[1] == (
        "Kendall's tau to the ranking of 2 likelihoods at 2 latents is 1.00 at 8 latents; "
        "`a` stays first; no pair changes its order."
    )


def test_the_largest_k_is_what_the_others_are_held_against(evaluated) -> None:
    curve = {"nll_k1_nats": {"a": 900.0, "b": 880.0}, "nll_k5_nats": {"a": 850.0, "b": 840.0}}
    axes = by_axis(evaluated({"a": 1.0, "b": 2.0}, **curve, nll_k50_nats={"a": 800.0, "b": 820.0}))
    assert [(each.reference, each.label) for each in axes["samples"]] == [
        ("k = 50", "k = 5"),
        ("k = 50", "k = 1"),
    ]
    assert [len(each.flips) for each in axes["samples"]] == [4, 4]


def test_an_axis_that_another_metric_declares_is_compared_too(evaluated) -> None:
    noise = {"nll_noisy_nats": {"a": 900.0, "b": 880.0}, "nll_clean_nats": {"a": 700.0, "b": 840.0}}
    (held,) = by_axis(evaluated({"a": 1.0, "b": 2.0}, **noise))["noise"]
    assert (held.reference, held.label, len(held.flips)) == ("noise = 3", "noise = 0", 4)


def test_what_was_not_measured_on_all_cells_is_not_ranked(evaluated, root, study) -> None:
    evaluated({"a": 90.0, "b": 60.0})
    study.save(root, study.record("pair", "c", 2, 0, 1.5))
    cells = summary.collect(root / "evaluations", {"pair": []})
    assert "levels" not in by_axis(ranking.answer(cells, root / "evaluations"))


def test_one_setting_has_no_order(root, study) -> None:
    study.save(root, study.record("one", "a", 2, 0, 1.5))
    cells = summary.collect(root / "evaluations", {"one": []})
    assert stability.agreements(ranking.answer(cells, root / "evaluations")) == []
