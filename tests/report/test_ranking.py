from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from vae_likelihoods.errors import SettingError
from vae_likelihoods.report import prose, ranking, scores, summary
from vae_likelihoods.report.comparable import UnlikeUnits
from vae_likelihoods.report.resampling import compare
from vae_likelihoods.report.scores import Name
from vae_likelihoods.units.declaration import Declaration
from vae_likelihoods.units.quantity import BITS, NATS, Quantity, Unit, bits_per_dim

IMAGES, DIMENSIONS = 100, 784
NATS_OF_A_BIT = 1 / bits_per_dim(1.0, DIMENSIONS)
UNIT = Quantity(BITS, "mass", 128).on("test", DIMENSIONS, 256)

Ranked = Callable[..., ranking.Answer]


def cells(*rows: tuple[str, int, int, float], unit: Unit = UNIT, **changes: Any) -> pd.DataFrame:
    columns = ["likelihood", "latent_dim", "seed", "bits_per_dim"]
    shared = {"study": "s", "dataset": "mnist5k", "test_sha256": "5ca1e"}
    names = [f"{likelihood}-{size}-{seed}" for likelihood, size, seed, _ in rows]
    frame = pd.DataFrame(rows, columns=columns).assign(**shared, cell=names)
    declared = {"bits_per_dim": Declaration("bits_per_dim", "the score", unit)}
    nats = frame["bits_per_dim"] * NATS_OF_A_BIT
    own: list[dict[str, Any]] = [{} for _ in rows]
    return frame.assign(
        nll_nats=nats,
        declarations=[declared for _ in rows],
        settings=own,
        tuned=[[] for _ in rows],
        **changes,
    )


@pytest.fixture
def ranked(tmp_path: Path) -> Ranked:
    """Rank (likelihood, latents, seed, bits); `own_nats` is the spread of a setting over images."""

    def answer(*rows: tuple[str, int, int, float], own_nats: float = 5.0) -> ranking.Answer:
        frame = cells(*rows)
        for row in frame.to_dict("records"):
            write(tmp_path / "s" / row["cell"], row, own_nats)
        return ranking.answer(frame, tmp_path)

    return answer


def write(folder: Path, row: dict[Any, Any], own_nats: float) -> None:
    """Write scores of images with the mean of the row: what all cells have, and what a setting has."""
    own = zlib.crc32(f"{row['likelihood']}-{row['latent_dim']}".encode())
    parts = [np.random.default_rng(seed).normal(size=IMAGES) for seed in (0, own)]
    shared, of_setting = ((part - part.mean()) / part.std(ddof=1) for part in parts)
    nats = row["nll_nats"] + 70 * shared + own_nats * of_setting
    folder.mkdir(parents=True, exist_ok=True)
    frame = pd.DataFrame({"image": range(IMAGES), "nll_nats": nats})
    frame.to_csv(folder / "per_image.csv", index=False, float_format="%.9g")


def test_a_clear_winner(ranked: Ranked) -> None:
    rows = [("a", 2, 0, 2.0), ("a", 2, 1, 2.01), ("b", 8, 0, 1.5), ("b", 8, 1, 1.52), ("c", 2, 0, 3.0)]
    answer = ranked(*rows)
    best, second = answer.best, answer.runner_up
    assert (best.likelihood, best.latent_dim, best.seeds) == ("b", 8, 2)
    assert best.bits_per_dim == pytest.approx(1.51)
    of_images = bits_per_dim(np.sqrt(70**2 + 5**2) / np.sqrt(IMAGES), DIMENSIONS)
    of_seeds = 0.02 / np.sqrt(2) / np.sqrt(2)  # standard deviation of two, over the root of two
    assert best.uncertainty == pytest.approx(np.hypot(of_images, of_seeds), rel=0.02)
    assert second is not None
    assert second.likelihood == "a"
    assert answer.behind(second) == pytest.approx(0.495)
    assert 0 < second.interval.low < 0.495 < second.interval.high < 1
    assert answer.ties == ()
    assert answer.candidates == (best,)
    texts = [sentence.replace("\u00a0", " ") for sentence in prose.sentences(answer)]
    low, high = second.interval
    assert 0.98 < best.best_share < 0.995  # two seeds of one size say little of the spread of seeds
    assert texts == [
        f"On mnist5k at 256 levels, `b` with 8 latents is best: "
        f"1.510 ± {best.uncertainty:.3f} bits/dim over 2 seeds.",
        "Of 3 settings it is the best in 99 % of the bootstrap samples of images and seeds.",
        f"The runner-up, `a` with 2 latents, needs 0.495 [{low:.3f}, {high:.3f}] more (2.005).",
    ]


def test_images_that_are_hard_for_all_do_not_hide_a_difference(ranked: Ranked) -> None:
    """It is a quarter of each standard error, and a hundred times its own."""
    answer = ranked(("a", 2, 0, 1.000), ("b", 2, 0, 1.003), own_nats=0.2)
    assert answer.best.uncertainty > 0.012
    assert answer.ties == ()
    assert answer.best.best_share == 1.0


def test_a_tie_is_called_a_tie(ranked: Ranked) -> None:
    answer = ranked(("a", 2, 0, 1.000), ("b", 2, 0, 1.0005), ("c", 2, 0, 1.5))
    (tie,) = answer.ties
    assert tie.likelihood == "b"
    assert tie.interval.low < 0 < tie.interval.high
    assert tie.p_value > 0.5
    texts = prose.sentences(answer)
    assert "over 1 seed." in texts[0]
    more = f"({answer.behind(tie):+.3f} [{tie.interval.low:.3f}, {tie.interval.high:.3f}])"
    assert texts[-1] == f"`b` with 2 latents {more} is indistinguishable from it."
    assert (
        "Each setting has one seed, so this is about these trained models: other seeds may differ." in texts
    )


def test_a_runner_up_is_named_even_if_another_is_tied(ranked: Ranked) -> None:
    """`c` is further behind than `b`, but nobody knows by how much: its seeds differ by half a bit."""
    bits = {"a": (1.0, 1.001, 1.002), "b": (1.1, 1.101, 1.102), "c": (1.0, 1.25, 1.5)}
    answer = ranked(
        *((name, 2, seed, score) for name, scores_of in bits.items() for seed, score in enumerate(scores_of))
    )
    assert [setting.likelihood for setting in answer.ties] == ["c"]
    assert answer.runner_up is not None
    assert not answer.tied(answer.runner_up)
    texts = prose.sentences(answer)
    assert texts[2].startswith("The runner-up, `b` with 2 latents, needs 0.100 [")
    assert texts[3].startswith("`c` with 2 latents (+0.249 [")


def test_one_lucky_seed_does_not_win(ranked: Ranked) -> None:
    answer = ranked(("a", 2, 0, 0.90), ("a", 2, 1, 1.09), ("b", 2, 0, 1.0), ("b", 2, 1, 1.001))
    assert answer.best.likelihood == "a"
    assert [setting.likelihood for setting in answer.ties] == ["b"]
    assert 0.4 < answer.best.best_share < 0.7


def test_several_ties_are_listed(ranked: Ranked) -> None:
    answer = ranked(("a", 2, 0, 1.0), ("b", 2, 0, 1.0001), ("c", 1, 0, 1.0002))
    texts = prose.sentences(answer)[-1]
    assert texts.startswith("`b` with 2 latents (+0.000 [")
    assert " and `c` with 1 latent (+0.000 [" in texts
    assert texts.endswith(" are indistinguishable from it.")


def test_how_many_latents(ranked: Ranked) -> None:
    answer = ranked(("a", 2, 0, 1.5), ("a", 8, 0, 1.0001), ("a", 32, 0, 1.0), ("a", 1, 0, 1.6))
    texts = prose.sentences(answer)
    assert texts[-2] == "No other likelihood was tried."
    assert texts[-1].startswith("For `a`, 8 latents (+0.000 [-")
    assert "]) are indistinguishable from 32; 2 latents need 0.500 [0.4" in texts[-1]
    assert "; 1 latent needs 0.600 [0.5" in texts[-1]


def test_it_is_the_same_whatever_the_order_of_the_rows(tmp_path: Path) -> None:
    rows = [(name, size, seed, 1 + 0.01 * seed) for name in "ab" for size in (2, 8) for seed in (0, 1)]
    frame = cells(*rows)
    for row in frame.to_dict("records"):
        write(tmp_path / "s" / row["cell"], row, 5.0)
    first = ranking.answer(frame, tmp_path)
    for seed in range(3):
        shuffled = frame.sample(frac=1, random_state=seed).reset_index(drop=True)
        again = ranking.answer(shuffled, tmp_path)
        assert again == first
        assert prose.sentences(again) == prose.sentences(first)


def test_equal_scores_are_ordered_by_size_and_name(ranked: Ranked) -> None:
    answer = ranked(("b", 2, 0, 1.0), ("a", 2, 0, 1.0), ("a", 8, 0, 1.0))
    assert [setting.name[:2] for setting in answer.settings] == [("a", 2), ("b", 2), ("a", 8)]


def test_a_pair_alone_has_a_narrower_interval(ranked: Ranked) -> None:
    answer = ranked(*((name, 2, 0, 1 + 0.01 * place) for place, name in enumerate("abcdef")))
    alone = answer.between(Name("b", 2), Name("a", 2))
    corrected = answer.settings[1].interval
    assert corrected.low < alone.low < 0.01 < alone.high < corrected.high
    nats = scores.by_setting(answer.cells)
    low, high = compare(list(nats.values()), list("abcdef")).interval(1, 0, corrected=False)
    assert alone == pytest.approx((bits_per_dim(low, DIMENSIONS), bits_per_dim(high, DIMENSIONS)))


def test_contenders_stand_before_the_widest_gap(ranked: Ranked) -> None:
    rows = [(name, 2, 0, bits) for name, bits in (("a", 1.3), ("b", 1.9), ("c", 7.9), ("d", 11.0))]
    assert ranking.contenders(ranked(*rows)) == ["a", "b"]
    near = [(name, 2, 0, bits) for name, bits in (("a", 1.3), ("b", 1.4), ("c", 1.5))]
    assert ranking.contenders(ranked(*near)) == ["a", "b", "c"]
    assert ranking.contenders(ranked(rows[0], rows[3])) == ["a", "d"]
    assert ranking.contenders(ranked(rows[0])) == ["a"]


@pytest.mark.parametrize(("error", "decimals"), [(0.2, 3), (0.011, 3), (0.0014, 4), (0.0, 3), (1e-9, 6)])
def test_decimals_show_two_digits_of_the_uncertainty(ranked: Ranked, error: float, decimals: int) -> None:
    answer = ranked(("a", 2, 0, 1.0))
    best = vars(answer.best) | {"uncertainty": error}
    assert ranking.Answer(**vars(answer) | {"settings": (ranking.Setting(**best),)}).decimals == decimals


@pytest.mark.parametrize(
    ("fact", "value"),
    [
        ("study", "t"), ("dataset", "digits"), ("test_sha256", "0ddba11"), ("levels", 2), ("dimensions", 64),
        ("scale", "density"), ("split", "validation"), ("importance_samples", 8),
    ],
)  # fmt: skip
def test_a_fact_of_the_images_or_of_the_score_that_differs_is_refused(
    fact: str, value: Any, tmp_path: Path
) -> None:
    odd = cells(("b", 2, 0, 1.0))
    if fact in vars(UNIT):
        odd = cells(("b", 2, 0, 1.0), unit=replace(UNIT, **{fact: value}))
    else:
        odd = odd.assign(**{fact: value})
    with pytest.raises(UnlikeUnits, match=rf"unlike units .*ranking\. {fact}: .* \(s/a-2-0\), {value} "):
        ranking.answer(pd.concat([cells(("a", 2, 0, 1.0)), odd]), tmp_path)


def test_a_unit_that_differs_is_refused(tmp_path: Path) -> None:
    odd = cells(("b", 2, 0, 1.0), unit=replace(UNIT, measure=NATS))
    message = r"measure of bits_per_dim: bits per dimension \(s/a-2-0\), nats per image \(s/b-2-0\)\.$"
    with pytest.raises(UnlikeUnits, match=message):
        ranking.answer(pd.concat([cells(("a", 2, 0, 1.0)), odd]), tmp_path)


def test_what_collect_refuses_in_one_study_is_refused_in_one_ranking(root, study, unlike):
    """Each of the two was collected alone, without an objection."""
    for name in ("one", "other"):
        study.save(root / name, study.record("pair", name, 2, 0, 1.0, **(unlike if name == "other" else {})))
    pair = [summary.collect(root / name / "evaluations", {"pair": []}) for name in ("one", "other")]
    with pytest.raises(UnlikeUnits, match=study.refused(unlike)):
        ranking.answer(pd.concat(pair), root / "one" / "evaluations")


def test_an_answer_carries_its_unit(ranked: Ranked) -> None:
    answer = ranked(("a", 2, 0, 1.0))
    assert str(answer.unit) == "bits per dimension (mass, test, D=784, K=256, k=128)"
    assert (answer.levels, answer.images) == (256, IMAGES)


# per_image.csv


def change(path: Path, edit: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    edit(pd.read_csv(path)).to_csv(path, index=False)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda frame: frame.drop(columns="nll_nats"), "it has no column nll_nats"),
        (lambda frame: frame.drop(columns="image"), "it has no column image"),
        (lambda frame: frame.iloc[::-1], r"its rows are not the images 0, 1, 2, \.\.\."),
        (lambda frame: frame.iloc[:0], r"its rows are not the images 0, 1, 2, \.\.\."),
        (lambda frame: frame.iloc[:-1], "it has 49 images, metrics.json 50"),
        (lambda frame: frame.assign(nll_nats=frame["nll_nats"] + 0.1), "its mean nll_nats is "),
        (lambda frame: frame.assign(nll_nats=np.nan), "its mean nll_nats is nan"),
    ],
)
def test_scores_of_images_that_are_not_those_of_the_cell_are_refused(root, edit, message):
    frame = summary.collect(root / "evaluations", {"grey": []})
    path = root / "evaluations/grey/gaussian-2-1/per_image.csv"
    change(path, edit)
    with pytest.raises(SettingError, match=rf"^per_image=.*gaussian-2-1/per_image.csv: {message}"):
        ranking.answer(frame, root / "evaluations")


def test_missing_scores_of_images_are_refused(root):
    frame = summary.collect(root / "evaluations", {"grey": []})
    (root / "evaluations/grey/gaussian-2-1/per_image.csv").unlink()
    with pytest.raises(SettingError, match=r"cannot be read \(FileNotFoundError\); evaluate the cell again"):
        ranking.answer(frame, root / "evaluations")


def test_cells_with_other_numbers_of_images_are_refused(tmp_path: Path) -> None:
    frame = cells(("a", 2, 0, 1.0), ("b", 2, 0, 1.0))
    for row, keep in zip(frame.to_dict("records"), (IMAGES, IMAGES - 1), strict=True):
        write(tmp_path / "s" / row["cell"], row, 0.0)
        change(
            tmp_path / "s" / row["cell"] / "per_image.csv",
            lambda rows, keep=keep, nats=row["nll_nats"]: rows.iloc[:keep].assign(nll_nats=nats),
        )
    with pytest.raises(
        SettingError, match="100 in a-2-0, 99 in b-2-0: all cells of a study need the same test images"
    ):
        ranking.answer(frame, tmp_path)
