"""Derived generators: they never change, differ by purpose, and leave torch's own state as it is."""

from __future__ import annotations

import doctest
import hashlib
import itertools

import pytest
import torch

from vae_likelihoods import seeding
from vae_likelihoods.seeding import derive, generator, seeded


def test_a_derived_seed_is_the_head_of_a_sha256() -> None:
    head = hashlib.sha256(b"7/noise/3").hexdigest()[:16]
    assert derive(7, "noise", 3) == int(head, 16) // 2


def test_derived_seeds_never_change() -> None:
    """Published results depend on them."""
    assert derive(0) == 0x5FECEB66FFC86F38 // 2  # sha256 of the text 0
    assert derive(0, "weights") == 133441691874178746


def test_every_purpose_has_its_own_seed() -> None:
    purposes = [
        *itertools.product(range(10), ("order", "noise", "binarize"), range(1, 50)),
        *itertools.product(range(10), ("validation", "weights")),
    ]
    assert len({derive(*purpose) for purpose in purposes}) == len(purposes)


def test_derived_seeds_fit_torch() -> None:
    seeds = [derive(seed, "x") for seed in range(1000)]
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert max(seeds) > 2**62  # all 63 bits are used


def test_a_generator_starts_afresh_each_time() -> None:
    first, again, other = (torch.rand(9, generator=generator(0, "noise", epoch)) for epoch in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_seeded_block_repeats_and_leaves_no_trace() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    weights = []
    for _ in range(2):
        with seeded(3, "weights"):
            weights.append(torch.nn.Linear(3, 2).weight)
    assert torch.equal(*weights)
    assert torch.equal(torch.get_rng_state(), before)


def draw_and_fail() -> None:
    with seeded(0, "x"):
        torch.rand(5)
        raise KeyError


def test_seeded_block_leaves_no_trace_after_an_error() -> None:
    before = torch.get_rng_state()
    with pytest.raises(KeyError):
        draw_and_fail()
    assert torch.equal(torch.get_rng_state(), before)


def test_examples_in_the_docstrings() -> None:
    results = doctest.testmod(seeding)
    assert results.attempted >= 3
    assert results.failed == 0
