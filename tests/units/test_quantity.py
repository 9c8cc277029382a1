"""Units: known conversions, and what is refused."""

from __future__ import annotations

import json
import math
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import torch

from vae_likelihoods.errors import SettingError
from vae_likelihoods.units.quantity import BITS, Quantity, Unit, bits_per_dim

SCORE = Quantity(BITS, "mass", 128).on("test", dimensions=784, levels=256)


@pytest.mark.parametrize("levels", [2, 3, 17, 256])
@pytest.mark.parametrize("dimensions", [1, 64, 784])
def test_a_uniform_pmf_costs_log2_of_the_levels(levels: int, dimensions: int) -> None:
    """Every image has probability K^-D."""
    assert bits_per_dim(dimensions * math.log(levels), dimensions) == pytest.approx(math.log2(levels))


@pytest.mark.parametrize("kind", [np.array, lambda values: torch.tensor(values, dtype=torch.float64)])
def test_arrays_and_tensors_are_converted_number_by_number(kind: Any) -> None:
    nats = [0.0, -math.log(2), 6 * math.log(2)]
    bits = bits_per_dim(kind(nats), 3)
    assert type(bits) is type(kind(nats))
    assert bits.tolist() == pytest.approx([0.0, -1 / 3, 2.0])


@pytest.mark.parametrize("unit", [SCORE, Quantity("latents").on("validation", 64, 17)])
def test_a_unit_survives_json(unit: Unit) -> None:
    assert Unit.from_dict(json.loads(json.dumps(unit.to_dict()))) == unit
    assert list(unit.to_dict()) == sorted(field.name for field in fields(unit))


def test_a_unit_is_said_in_a_few_words() -> None:
    assert str(SCORE) == "bits per dimension (mass, test, D=784, K=256, k=128)"
    assert str(Quantity("latents").on("train", 64, 17)) == "latents (train, D=64, K=17)"


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


@pytest.mark.parametrize("field", [field.name for field in fields(Unit)])
def test_every_field_must_be_there(field: str) -> None:
    stored = SCORE.to_dict()
    del stored[field]
    with pytest.raises(SettingError, match="needs exactly the fields dimensions, importance_samples, levels"):
        Unit.from_dict(stored)


@pytest.mark.parametrize("stored", [None, "nats", [], {}, SCORE.to_dict() | {"colour": "red"}])
def test_what_is_no_unit_is_refused(stored: Any) -> None:
    with pytest.raises(SettingError, match="needs exactly the fields"):
        Unit.from_dict(stored)
