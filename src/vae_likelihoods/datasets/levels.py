"""What a model can score: levels, 0 .. K - 1. Checked where images come in, never within a step."""

from __future__ import annotations

from typing import Any

import torch

from vae_likelihoods.errors import SettingError, require


def require_levels(images: Any, levels: int, channels: int) -> None:
    """Refuse images that are no levels of a model: a tensor of integers 0 .. K - 1, [B, C, H, W].

    Args:
        images: what is to be scored.
        levels: K.
        channels: C.

    Raises:
        SettingError: says what they are, and what to do.
    """
    top = levels - 1
    need = f"integers 0 .. {top} in a tensor [B, {channels}, H, W] are needed"
    if not isinstance(images, torch.Tensor):
        reason = f"{need}; use torch.from_numpy(images) if it is an array"
        raise SettingError("images", type(images).__name__, reason)
    shape = list(images.shape)
    alone = "; for one image use images[None]" if images.ndim == 3 else ""
    fits = images.ndim == 4 and images.shape[1] == channels and images.numel() > 0
    require(fits, "images", f"shape {shape}", f"{need}{alone}")
    kind = str(images.dtype).removeprefix("torch.")
    if images.dtype == torch.uint8 and levels == 256:
        return
    if images.is_complex() or images.dtype == torch.bool:
        raise SettingError("images", kind, need)
    lowest, highest = (end.item() for end in images.aminmax())
    found = f"{kind} from {lowest:g} to {highest:g}"
    if images.is_floating_point():
        unit = lowest >= 0 and highest <= 1
        remedy = f"(images * {top}).round().byte()" if unit else "images.round().byte() if they are levels"
        raise SettingError("images", found, f"{need}; use {remedy}")
    require(
        lowest >= 0 and highest <= top, "images", found, f"{need}; quantise them to {levels} levels first"
    )
