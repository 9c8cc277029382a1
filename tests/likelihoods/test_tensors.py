"""Elementary operations are exact where they replace slower ones."""

from __future__ import annotations

import math

import pytest
import torch

from vae_likelihoods.likelihoods.tensors import above, exp_, look_up, mirrored, select, side_of, tiny, wide
from vae_likelihoods.seeding import generator


def numbers(count: int, purpose: str) -> torch.Tensor:
    return torch.randn(count, generator=generator(0, purpose))


def test_select_and_mirrored_are_exact():
    yes, no, condition = numbers(100, "yes"), numbers(100, "no"), numbers(100, "condition") > 0
    assert torch.equal(select(condition, yes, no), torch.where(condition, yes, no))
    k, side = torch.arange(256.0), side_of(numbers(256, "side"))
    assert torch.equal(mirrored(k, 255, side), torch.where(side > 0, k, 255 - k))
    assert torch.equal(side_of(torch.tensor([-2.0, 0.0, 2.0])), torch.tensor([-1.0, 1.0, 1.0]))


def test_above_is_a_comparison():
    x = torch.tensor([-3.0, 0.5, 0.7, 0.7000001, 20.0])
    assert above(x, 0.7).tolist() == [0, 0, 0, 1, 1]


def test_exponentials_stop_above_underflow():
    assert exp_(torch.tensor([-1e30, -80.0, 0.0, 3.0])).tolist() == pytest.approx(
        [math.exp(-80), math.exp(-80), 1, math.exp(3)], rel=1e-6
    )


def test_look_up_is_indexing():
    table, k = numbers(7, "table"), torch.tensor([[0, 6], [3, 3]], dtype=torch.uint8)
    assert torch.equal(look_up(table, k), table[k.long()])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.uint8])
def test_all_but_float64_is_computed_in_float32(dtype: torch.dtype):
    assert wide(torch.ones(2, dtype=dtype)).dtype == torch.float32
    assert wide(torch.ones(2, dtype=torch.float64)).dtype == torch.float64
    assert tiny(torch.ones(2)) == torch.finfo(torch.float32).tiny
