"""How many fresh seeds a frozen choice gets within the time: never a matter of scores."""

from __future__ import annotations

import math
from collections.abc import Callable, MutableMapping
from typing import Any

from vae_likelihoods.search.planning import MOST_SEEDS, REPORT, SPARE
from vae_likelihoods.search.request import Clock


def train_seeds(
    planned: Callable[[], int],
    state: MutableMapping[str, Any],
    clock: Clock,
    train: Callable[[int, int], None],
    keep: Callable[[], None],
) -> None:
    """Train as many seeds as are planned, then further ones if time is left, by what those before took.

    Args:
        planned: says how many seeds come first, if the state does not know.
        state: gets `seeds`, so that the same command trains the same ones when it is given again, and
            `seconds_a_seed`, so that it trains further ones when it is given more minutes.
        clock: of the answer.
        train: is called with the number of seeds that are there, and the number that are wanted.
        keep: writes the state; called before each training.
    """
    known = "seeds" in state
    done, seeds = 0, int(state["seeds"]) if known else planned()
    while seeds > done:
        state["seeds"] = seeds
        keep()
        began = clock.used
        train(done, seeds)
        if not known:  # else another session may have trained a part of them
            state["seconds_a_seed"] = round((clock.used - began) / (seeds - done), 1)
        room = SPARE * (clock.left - REPORT) / state.get("seconds_a_seed", math.inf)
        done, seeds, known = seeds, min(MOST_SEEDS, seeds + max(0, int(room))), False
