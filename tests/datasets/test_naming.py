from __future__ import annotations

import pytest

from vae_likelihoods.datasets.naming import shown


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Zürich, 東京 (1).png", "Zürich, 東京 (1).png"),
        ("a\nb\x1b[31m.png", "a\\nb\\x1b[31m.png"),
        (b"\xff\xfe.png".decode("utf-8", "surrogateescape"), "\\xff\\xfe.png"),
        ("gpj.\u202eexe", "gpj.\\u202eexe"),  # which would be read from right to left
    ],
)
def test_a_name_is_one_line_of_what_can_be_printed_and_written(name: str, expected: str) -> None:
    assert shown(name) == expected
    assert shown(name).isprintable()
    assert shown(shown(name)) == shown(name)
    shown(name).encode()
