"""A formula on every pixel, block by block, is what autograd makes of it at once."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from vae_likelihoods.likelihoods import pointwise as module
from vae_likelihoods.likelihoods.pointwise import Values, blocks, pointwise
from vae_likelihoods.seeding import generator

# [..., B, P, C, H, W] with P = 2
SHAPES = [
    (1, 2, 1, 1, 1),
    (5, 2, 3, 4, 1),
    (7, 5, 2, 1, 3, 2),
    (2, 3, 1, 2, 2, 3, 3),
    (0, 2, 1, 2, 2),
    (4, 0, 2, 1, 1, 1),
]


@pytest.fixture(params=[1, 7, 100, 1 << 16])
def block_size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many numbers a block has, about."""
    monkeypatch.setattr(module, "BLOCK", request.param)
    return request.param


@pytest.mark.parametrize("count", [0, 1, 2, 5, 64, 1001])
@pytest.mark.parametrize("size", [0, 1, 3, 99, 1000, 1 << 17])
def test_blocks_hold_each_thing_once_and_in_order(count: int, size: int, block_size: int):
    parts = [list(range(count))[block] for block in blocks(count, size)]
    assert [item for part in parts for item in part] == list(range(count))
    assert all(part and (len(part) == 1 or (len(part) - 1) * size <= 1.5 * block_size) for part in parts)
    assert len({len(part) for part in parts[:-1]}) <= 1
    assert len(parts) <= max(1, round(count * size / block_size))  # no small part is left over


class Toy:
    """value = k a^2 + s a b, and its derivatives; for components, the sum over them."""

    def __init__(self) -> None:
        self.asked_for_slopes: list[bool] = []

    def __call__(
        self, with_slopes: bool, numbers: Sequence[Tensor], shared: Tensor | None, k: Tensor
    ) -> Values:
        self.asked_for_slopes.append(with_slopes)
        (a, b), s = numbers, 0.5 if shared is None else shared
        value = k * a * a + s * a * b
        slopes, by_shared = [2 * k * a + s * b, s * a], a * b
        if value.ndim == 5:
            value, by_shared = value.sum(1), by_shared.sum(1)
        if not with_slopes:
            return Values(value)
        return Values(value, slopes, None if shared is None else by_shared)


def plain(outputs: Tensor, k: Tensor, shared: Tensor | float) -> Tensor:
    a, b = outputs.unbind(-4)
    return k * a * a + shared * a * b


def case(shape: Sequence[int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Outputs, levels [B, C, H, W], a shared number, and a gradient from above."""
    noise = generator(0, "pointwise")
    outputs = torch.randn(shape, generator=noise).requires_grad_()
    value_shape = outputs[..., 0, :, :, :].shape
    k = torch.randint(0, 9, value_shape[-4:], generator=noise)
    weight = torch.randn(value_shape, generator=noise)
    return outputs, k, torch.tensor(0.7, requires_grad=True), weight


@pytest.mark.usefixtures("block_size")
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_value_and_gradient_are_those_of_autograd(shape: Sequence[int]):
    outputs, k, shared, weight = case(shape)
    result = pointwise(Toy(), outputs, k, shared)
    expected = plain(outputs, k, shared)
    torch.testing.assert_close(result, expected)
    gradients = [
        torch.autograd.grad((value * weight).sum(), (outputs, shared)) for value in (result, expected)
    ]
    torch.testing.assert_close(*gradients)
    assert gradients[0][1].ndim == 0


@pytest.mark.usefixtures("block_size")
@pytest.mark.parametrize(
    "level", [(), (1, 1, 1), (5, 1, 1, 1), (2, 1, 3), (5, 2, 1, 3), (7, 5, 2, 1, 3)], ids=str
)
def test_levels_are_broadcast(level: Sequence[int]):
    outputs, _, shared, _ = case((7, 5, 2, 2, 1, 3))
    k = torch.randint(0, 9, level, generator=generator(1))
    result, expected = pointwise(Toy(), outputs, k, shared), plain(outputs, k, shared)
    torch.testing.assert_close(result, expected)
    gradients = [torch.autograd.grad(value.sum(), outputs)[0] for value in (result, expected)]
    torch.testing.assert_close(*gradients)


@pytest.mark.usefixtures("block_size")
@pytest.mark.parametrize("shape", [(5, 6, 2, 1, 3), (3, 5, 6, 1, 2, 2)], ids=str)
def test_components_stand_beside_the_levels_of_their_pixel(shape: Sequence[int]):
    """P = 6 outputs are 2 numbers of 3 components each, the numbers slowest."""
    outputs, k, shared, weight = case(shape)
    result = pointwise(Toy(), outputs, k, shared, components=3)
    a, b = outputs[..., :3, :, :, :], outputs[..., 3:, :, :, :]
    expected = (k.unsqueeze(-4) * a * a + shared * a * b).sum(-4)
    torch.testing.assert_close(result, expected)
    gradients = [
        torch.autograd.grad((value * weight).sum(), (outputs, shared)) for value in (result, expected)
    ]
    torch.testing.assert_close(*gradients)


def test_results_do_not_depend_on_the_size_of_blocks(monkeypatch: pytest.MonkeyPatch):
    results = []
    for size in (1, 50, 1 << 20):
        monkeypatch.setattr(module, "BLOCK", size)
        outputs, k, shared, weight = case((7, 11, 2, 3, 5, 2))
        value = pointwise(Toy(), outputs, k, shared)
        results.append((value, *torch.autograd.grad((value * weight).sum(), (outputs, shared))))
    for other in results[1:]:
        assert all(torch.equal(*pair) for pair in zip(results[0], other, strict=True))


@pytest.mark.parametrize(("of_outputs", "of_shared"), [(True, False), (False, True), (False, False)])
def test_only_what_is_asked_for_is_computed(of_outputs: bool, of_shared: bool):
    outputs, k, shared, weight = case((5, 2, 3, 4, 1))
    leaves = [outputs.requires_grad_(of_outputs), shared.requires_grad_(of_shared)]
    toy = Toy()
    result = pointwise(toy, outputs, k, shared)
    assert set(toy.asked_for_slopes) == {of_outputs or of_shared}
    assert result.requires_grad == (of_outputs or of_shared)
    torch.testing.assert_close(result, plain(outputs, k, shared))
    for leaf in leaves:
        if leaf.requires_grad:
            gradients = [
                torch.autograd.grad((value * weight).sum(), leaf)[0]
                for value in (result, plain(outputs, k, shared))
            ]
            torch.testing.assert_close(*gradients)


def test_without_gradients_no_slopes_are_computed():
    outputs, k, shared, _ = case((5, 2, 3, 4, 1))
    toy = Toy()
    with torch.no_grad():  # what a decoder gives then requires no gradient
        result = pointwise(toy, 1 * outputs, k, 1 * shared)
        assert not pointwise(toy, outputs, k, shared).requires_grad
    assert toy.asked_for_slopes[0] is False
    assert not result.requires_grad
    torch.testing.assert_close(result, plain(outputs, k, shared))


def test_what_all_pixels_share_may_be_absent():
    outputs, k, _, weight = case((5, 2, 3, 4, 1))
    result, expected = pointwise(Toy(), outputs, k), plain(outputs, k, 0.5)
    torch.testing.assert_close(result, expected)
    gradients = [torch.autograd.grad((value * weight).sum(), outputs)[0] for value in (result, expected)]
    torch.testing.assert_close(*gradients)


def test_float64_stays_float64():
    outputs, k, shared, _ = case((5, 2, 3, 4, 1))
    result = pointwise(Toy(), outputs.double(), k, shared.double())
    assert result.dtype == torch.float64
    torch.testing.assert_close(result, plain(outputs.double(), k, shared.double()), rtol=1e-14, atol=1e-14)


def test_a_second_derivative_is_refused():
    """Rather than 0, which would be wrong."""
    outputs, k, shared, _ = case((2, 2, 1, 1, 1))
    value = pointwise(Toy(), outputs, k, shared).sum()
    (gradient,) = torch.autograd.grad(value, outputs, create_graph=True)
    with pytest.raises(RuntimeError, match="does not require grad"):
        gradient.sum().backward()
