"""How a study looks in MLflow's UI."""

from __future__ import annotations

import json

from vae_likelihoods.tracking.view import run_colour, same_view, shared_view


def test_the_prepared_view_fits_in_a_tag_and_colours_tell_likelihoods_apart() -> None:
    assert len(shared_view(20)) < 20_000
    state = json.loads(json.loads(shared_view(20))["state"])
    assert state["searchFilter"] == "tags.kind = 'train'"
    colours = {run_colour(name, size) for name in ("gaussian", "binomial") for size in (2, 8, 32)}
    assert len(colours) == 6


def test_a_view_is_the_same_whenever_it_was_made() -> None:
    later = json.dumps({**json.loads(shared_view(20)), "createdAt": 1})
    assert same_view(later, shared_view(20))
    assert not same_view(later, shared_view(21))
    assert not same_view(None, shared_view(20))
