"""Declarations: what is refused, how values are shown, and that nothing is lost on the way through a file."""

from __future__ import annotations

import json
import math
from dataclasses import MISSING as NO_DEFAULT
from dataclasses import fields
from typing import Any

import pytest

from vae_likelihoods.errors import SettingError
from vae_likelihoods.units.declaration import ITSELF, MISSING, Declaration, from_plain, to_plain
from vae_likelihoods.units.quantity import NATS, Quantity

FULL = Declaration(
    "nll_nats", "minus the bound", Quantity(NATS, "mass", 8), "NLL", ",.2f", "lower",
    exact=True, whole=ITSELF, short="nll", purpose="samples", baseline="uniform", point=("levels", 32),
)  # fmt: skip


def test_every_field_is_set_in_the_full_declaration() -> None:
    defaults = {field.name: field.default for field in fields(Declaration) if field.default is not NO_DEFAULT}
    assert not {name for name, default in defaults.items() if getattr(FULL, name) == default}


@pytest.mark.parametrize("declaration", [FULL.on("test", 784, 256), Declaration("study", "a name")])
def test_a_declaration_survives_json(declaration: Declaration) -> None:
    stored = json.loads(json.dumps(to_plain([declaration])))
    assert from_plain(stored) == {declaration.name: declaration}


def test_what_says_nothing_is_not_stored() -> None:
    assert Declaration("study", "a name").to_dict() == {"meaning": "a name"}


def test_declarations_keep_their_order() -> None:
    names = ["b", "a", "c"]
    assert list(from_plain(to_plain(Declaration(name, "a number") for name in names))) == names


@pytest.mark.parametrize(
    ("field", "value"),
    [("name", ""), ("meaning", ""), ("better", "more"), ("format", ".2q"), ("format", "{}")],
)
def test_what_cannot_be_is_refused(field: str, value: Any) -> None:
    with pytest.raises(SettingError) as caught:
        Declaration(**{"name": "n", "meaning": "a number", field: value})
    assert caught.value.key == field


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        (None, r"declarations=None: must be a mapping"),
        ({"nll": "nats"}, r"declarations\.nll=nats: needs a meaning"),
        ({"nll": {"header": "NLL"}}, r"declarations\.nll=.*needs a meaning"),
        (
            {"nll": {"meaning": "a", "colour": "red"}},
            r"declarations\.nll=.*may have baseline, better, exact, format",
        ),
        ({"nll": {"meaning": "a", "better": "red"}}, r"declarations\.nll\.better=red: no such direction"),
        ({"nll": {"meaning": "a", "unit": {}}}, r"declarations\.nll\.unit=\{\}: needs exactly the fields"),
    ],
)
def test_what_is_no_declaration_is_refused_with_its_place(stored: Any, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        from_plain(stored)


@pytest.mark.parametrize(
    ("form", "value", "text"),
    [
        ("", "gaussian", "gaussian"), (".2f", 1.239, "1.24"), (",d", 1234, "1,234"), (",d", 1234.0, "1,234"),
        ("d", 0, "0"), (".4g", 0.00123456, "0.001235"), ("d", None, MISSING), (".2f", math.nan, MISSING),
        ("", None, MISSING),
    ],
)  # fmt: skip
def test_values_as_tables_print_them(form: str, value: Any, text: str) -> None:
    assert Declaration("n", "a number", format=form).text(value) == text


def test_meaning_unit_and_direction_in_words() -> None:
    assert FULL.in_words == "minus the bound; nats per image; lower is better"
    assert Declaration("study", "a name").in_words == "a name"


def test_a_standard_error_has_the_unit_of_its_number_and_no_direction() -> None:
    error = FULL.standard_error(short="nll_se")
    assert error == Declaration(
        "nll_nats_se", "standard error of nll_nats over images", FULL.quantity, "± NLL", ",.2f", whole=ITSELF,
        short="nll_se",
    )  # fmt: skip
    part = Declaration("rate_nats", "a rate", Quantity(NATS), "rate", ".1f", whole="nll_nats")
    assert (part.standard_error("rate_se_nats").name, part.standard_error().whole) == ("rate_se_nats", "")


def test_a_fact_has_no_unit_on_any_images() -> None:
    assert Declaration("study", "a name").on("test", 784, 256).unit is None
    assert FULL.unit is None
    assert str(FULL.on("test", 784, 256).unit) == "nats per image (mass, test, D=784, K=256, k=8)"
