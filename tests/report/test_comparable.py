"""A refusal to compare names what differs, in one short line, and nothing else."""

from __future__ import annotations

import pickle
from dataclasses import fields, replace
from typing import Any

import pytest

from vae_likelihoods.errors import SettingError
from vae_likelihoods.report.comparable import Row, UnlikeUnits, differing, require_alike
from vae_likelihoods.units.quantity import BITS, NATS, Quantity, Unit

SCORE = Quantity(BITS, "mass", 128).on("test", dimensions=784, levels=256)
OTHERS: dict[str, Any] = {
    "measure": NATS,
    "scale": "density",
    "importance_samples": None,
    "split": "validation",
    "dimensions": 64,
    "levels": 2,
}


def test_every_field_of_a_unit_is_tried_below() -> None:
    assert OTHERS.keys() == {field.name for field in fields(Unit)}


@pytest.mark.parametrize("field", OTHERS)
def test_a_unit_that_differs_in_one_field_is_refused_for_that_field(field: str) -> None:
    odd = replace(SCORE, **{field: OTHERS[field]})
    rows = [Row(name, {}, {"nll": unit}) for name, unit in (("a", SCORE), ("b", SCORE), ("c", odd))]
    usual, other = getattr(SCORE, field), OTHERS[field]
    assert differing(rows) == {f"{field} of nll": {usual: "a", other: "c"}}
    with pytest.raises(UnlikeUnits) as caught:
        require_alike("study", "s", rows)
    start = "study=s: unlike units cannot stand in one table or ranking. "
    assert str(caught.value) == f"{start}{field} of nll: {usual} (a), {other} (c)."


def test_like_rows_pass() -> None:
    require_alike("study", "s", [Row(name, {"dataset": "digits"}, {"nll": SCORE}) for name in "abc"])
    require_alike("study", "s", [Row("a", {}, {"nll": SCORE})])
    require_alike("study", "s", [])


def test_all_that_differs_is_named_with_an_example_of_each_value() -> None:
    rows = [
        Row("a", {"data": "x"}, {"nll": SCORE}),
        Row("b", {"data": "y"}, {"nll": replace(SCORE, split="train", levels=2)}),
        Row("c", {"data": "z"}, {"nll": replace(SCORE, split="train")}),
    ]
    assert differing(rows) == {
        "data": {"x": "a", "y": "b", "z": "c"},
        "split of nll": {"test": "a", "train": "b"},
        "levels of nll": {256: "a", 2: "b"},
    }


def test_a_field_that_differs_in_many_numbers_is_named_once() -> None:
    """`dimensions` is also a fact of the rows, and the name of one of their numbers."""
    nats = replace(SCORE, measure=NATS)
    rows = [
        Row("a", {"dimensions": 784}, {"bits": SCORE, "nll": nats, "dimensions": SCORE}),
        Row(
            "b",
            {"dimensions": 64},
            {
                "bits": replace(SCORE, split="train", dimensions=64),
                "nll": replace(nats, split="train", dimensions=64),
                "dimensions": SCORE,
            },
        ),
    ]
    assert differing(rows) == {
        "dimensions": {784: "a", 64: "b"},
        "split of bits, nll": {"test": "a", "train": "b"},
    }


def test_a_row_that_lacks_a_fact_is_unlike_one_that_has_it() -> None:
    assert differing([Row("a", {"data": "x"}, {}), Row("b", {}, {})]) == {"data": {"x": "a", None: "b"}}


def test_rows_of_the_same_name_are_all_looked_at() -> None:
    rows = [Row("a", {"data": "x"}, {}), Row("a", {"data": "y"}, {})]
    assert differing(rows) == {"data": {"x": "a", "y": "a"}}


def test_the_refusal_is_a_setting_error_that_travels_between_processes() -> None:
    with pytest.raises(SettingError) as caught:
        require_alike("study", "s", [Row("a", {"data": "x"}, {}), Row("b", {"data": "y"}, {})])
    again = pickle.loads(pickle.dumps(caught.value))
    assert type(again) is UnlikeUnits
    assert str(again) == str(caught.value)
    assert "\n" not in str(again)


def test_a_number_that_a_row_lacks_makes_no_difference() -> None:
    rows = [Row("a", {}, {"nll": SCORE, "mig": SCORE}), Row("b", {}, {"nll": SCORE}), Row("c", {}, {})]
    assert differing(rows) == {}
    odd = Row("d", {}, {"mig": replace(SCORE, measure=NATS)})
    assert differing([*rows, odd]) == {"measure of mig": {BITS: "a", NATS: "d"}}


def test_many_differences_are_one_short_line() -> None:
    """Forty numbers in many units, of cells with long names: the line was once 4,284 characters long."""
    rows = [
        Row(
            f"study/likelihood-{cell}-with-a-long-name",
            {},
            {
                f"number_{place}_nats": replace(SCORE, importance_samples=8 + cell, levels=2 + cell * place)
                for place in range(40)
            },
        )
        for cell in range(9)
    ]
    with pytest.raises(UnlikeUnits) as caught:
        require_alike("study", "s", rows)
    line = str(caught.value)
    assert line.startswith(
        "study=s: unlike units cannot stand in one table or ranking. importance_samples of number_0_nats, "
        "number_1_nats and 38 others: 8 (study/likelihood-0-with-a-long-name), 9 ("
    )
    assert "..." in line
    assert len(line) < 600
