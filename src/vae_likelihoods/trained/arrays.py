"""Arrays and tensors as levels of a model: checked, and what to do said in terms of what was given."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vae_likelihoods.errors import SettingError, require

_UNSIGNED = (torch.uint16, torch.uint32, torch.uint64)  # of which torch computes next to nothing


def as_tensor(key: str, given: Any) -> Tensor:
    """Return an array as a tensor, copied only where torch cannot use it as it lies.

    Raises:
        SettingError: it is no array and no tensor, or none of plain numbers.
    """
    if isinstance(given, np.ndarray):
        require(not np.ma.is_masked(given), key, "masked array", "fill what is masked first")
        try:
            # Torch has no negative strides and no other order of bytes, and warns of what cannot be written.
            return torch.from_numpy(np.require(given, given.dtype.newbyteorder("="), ["C", "W"]))
        except TypeError:
            raise SettingError(key, given.dtype, "is no type of numbers that torch has") from None
    name = type(given).__name__
    require(isinstance(given, Tensor), key, name, "a numpy array or a tensor of torch is needed")
    plain = given.layout is torch.strided and not given.is_quantized and not given.is_meta
    require(plain, key, name, "must be a plain tensor: dense, with values, and not quantised")
    tensor: Tensor = given
    return tensor


def as_levels(key: str, given: Any, shape: tuple[int, int, int], levels: int, one: bool = False) -> Tensor:
    """Return images as levels 0 .. K-1, [N, C, H, W], in a type of integers with which torch computes.

    Args:
        key: the name of the argument.
        given: images [N, C, H, W], N at least 1, or one image [C, H, W].
        shape: C, H, W.
        levels: K.
        one: whether it must be one image; N is 1 then.

    Raises:
        SettingError: they are no levels of this shape; says what to do.
    """
    tensor = as_tensor(key, given)
    found, numpy = tuple(tensor.shape), isinstance(given, np.ndarray)
    fits = found == shape if one else tensor.ndim == 4 and found[1:] == shape and len(tensor) > 0
    needed = f"one image {list(shape)} is needed" if one else f"images [N, {str(list(shape))[1:]} are needed"
    require(fits, key, f"shape {list(found)}", f"{needed}{_rearranged(key, found, shape, one, numpy)}")
    if tensor.dtype != torch.uint8 or levels < 256:
        _require_levels(key, tensor, levels, numpy)
    if tensor.dtype in _UNSIGNED:
        tensor = torch.from_numpy(tensor.cpu().numpy().astype(np.uint8))
    return tensor[None] if one else tensor


def _rearranged(key: str, found: tuple[int, ...], shape: tuple[int, int, int], one: bool, numpy: bool) -> str:
    """Return what makes images of the needed shape of those that were found; empty: nothing does."""
    channels, height, width = shape
    count, move = found[0] if found else 0, "transpose" if numpy else "permute"
    last = f"the channels are last: use {key}.{move}"
    remedies: dict[tuple[int, ...], str]
    grey: dict[tuple[int, ...], str]  # of a model of one channel
    if one:
        remedies = {(height, width, channels): f"{last}(2, 0, 1)", (1, *shape): f"use {key}[0]"}
        grey = {(height, width): f"use {key}[None]"}
    else:
        remedies = {
            (height, width, channels): f"{last}(2, 0, 1)[None]",
            (count, height, width, channels): f"{last}(0, 3, 1, 2)",
            shape: f"for one image use {key}[None]",
        }
        grey = {(count, height, width): f"use {key}[:, None]", (height, width): f"use {key}[None, None]"}
    if channels == 1:
        remedies = {**grey, **remedies}
    return f"; {remedies[found]}" if found in remedies and 0 not in found else ""


def _require_levels(key: str, images: Tensor, levels: int, numpy: bool) -> None:
    top, kind = levels - 1, str(images.dtype).removeprefix("torch.")
    need, cast = f"integers 0 .. {top} are needed", ".astype(np.uint8)" if numpy else ".byte()"
    if images.dtype == torch.bool and levels == 2:
        raise SettingError(key, kind, f"{need}; use {key}{cast}")
    if images.is_complex() or images.dtype == torch.bool:
        raise SettingError(key, kind, need)
    try:
        ends = images.cpu().numpy() if images.dtype in _UNSIGNED else images
        lowest, highest = ends.min().item(), ends.max().item()
    except RuntimeError:  # torch finds no ends of numbers of rare types
        raise SettingError(key, kind, need) from None
    inside = lowest >= 0 and highest <= top  # not if a number is NaN
    if not images.is_floating_point():
        reason = f"{need}; quantise them to {levels} levels first"
        require(inside, key, f"{kind} from {lowest} to {highest}", reason)
        return
    found, whole = f"{kind} from {lowest:g} to {highest:g}", inside and bool((images == images.round()).all())
    if not (math.isfinite(lowest) and math.isfinite(highest)):
        reason = f"{need}, and some of these are no finite numbers"
    elif whole and (highest != 1 or top == 1):
        reason = f"{need}; use {key}{cast}"
    elif lowest >= 0 and highest <= 1:
        reason = f"{need}; if they are points in [0, 1], use ({key} * {top}).round(){cast}"
    elif inside:
        reason = f"{need}; use {key}.round(){cast}"
    else:
        reason = f"{need}; quantise them to {levels} levels first"
    raise SettingError(key, found, reason)
