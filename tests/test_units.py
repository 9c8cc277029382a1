"""Units: known conversions, what is refused, and that a refusal names what differs and no more."""

from __future__ import annotations

import json
import math
import pickle
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch

from vae_likelihoods.errors import SettingError
from vae_likelihoods.units import (
    BITS,
    NATS,
    Quantity,
    Row,
    Unit,
    UnlikeUnits,
    bits_per_dim,
    differing,
    plain,
    require_alike,
)

SCORE = Quantity(BITS, "mass", 128).on("test", dimensions=784, levels=256)
OTHERS: dict[str, Any] = {
    "measure": NATS,
    "scale": "density",
    "importance_samples": None,
    "split": "validation",
    "dimensions": 64,
    "levels": 2,
}


@pytest.mark.parametrize("levels", [2, 3, 17, 256])
@pytest.mark.parametrize("dimensions", [1, 64, 784])
def test_a_uniform_pmf_costs_log2_of_the_levels(levels: int, dimensions: int) -> None:
    """Every image has probability K^-D."""
    assert bits_per_dim(dimensions * math.log(levels), dimensions) == pytest.approx(math.log2(levels))


@pytest.mark.parametrize("kind", [np.array, lambda values: torch.tensor(values, dtype=torch.float64)])
def test_arrays_and_tensors_are_converted_number_by_number(kind: Any) -> None:
    nats = [0.0, -math.log(2), 6 * math.log(2)]
    found = bits_per_dim(kind(nats), 3)
    assert type(found) is type(kind(nats))
    assert found.tolist() == pytest.approx([0.0, -1 / 3, 2.0])


@pytest.mark.parametrize("unit", [SCORE, Quantity("latents").on("validation", 64, 17)])
def test_a_unit_survives_json(unit: Unit) -> None:
    assert Unit.from_dict(json.loads(json.dumps(unit.to_dict()))) == unit
    assert list(unit.to_dict()) == sorted(field.name for field in fields(unit))


def test_a_unit_is_said_in_a_few_words() -> None:
    assert str(SCORE) == "bits per dimension (mass, test, D=784, K=256, k=128)"
    assert str(Quantity("latents").on("train", 64, 17)) == "latents (train, D=64, K=17)"


def test_plain_units_do_not_depend_on_their_order() -> None:
    units = {"b": SCORE, "a": replace(SCORE, measure=NATS)}
    turned = dict(reversed(units.items()))
    assert json.dumps(plain(units)) == json.dumps(plain(turned)) == json.dumps(plain(units), sort_keys=True)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("measure", ""), ("measure", None), ("scale", "probability"), ("scale", ""), ("split", "dev"),
        ("split", None), ("dimensions", 0), ("dimensions", 64.0), ("levels", 1), ("levels", None),
        ("importance_samples", 0), ("importance_samples", True),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(field: str, value: Any) -> None:
    with pytest.raises(SettingError) as caught:
        Unit.from_dict(SCORE.to_dict() | {field: value})
    assert caught.value.key == f"unit.{field}"


@pytest.mark.parametrize("field", OTHERS)
def test_every_field_must_be_there(field: str) -> None:
    found = SCORE.to_dict()
    del found[field]
    with pytest.raises(SettingError, match="needs exactly the fields dimensions, importance_samples, levels"):
        Unit.from_dict(found)


@pytest.mark.parametrize("found", [None, "nats", [], {}, SCORE.to_dict() | {"colour": "red"}])
def test_what_is_no_unit_is_refused(found: Any) -> None:
    with pytest.raises(SettingError, match="needs exactly the fields"):
        Unit.from_dict(found)


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
    said = "study=s: unlike units cannot stand in one table or ranking. "
    assert str(caught.value) == f"{said}{field} of nll: {usual} (a), {other} (c)."


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
