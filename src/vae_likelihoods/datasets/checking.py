"""What a data set must be: levels as uint8 [N, C, H, W], with classes, with factors, or without labels.

Every source passes here, with the parts that it reads and with the splits that are cut from them. A refusal
is one line that names the data set, what was found and what to do.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from vae_likelihoods.datasets.arrays import LabelledArrays
from vae_likelihoods.errors import SettingError, require

CHANNELS = (1, 3)  # grey, colour
_NAMED = {
    1: "alpha is no level of grey; leave it out: images[:, :1]",
    3: "alpha is no colour; leave it out: images[:, :3]",
}


def check_names(name: str, found: Collection[str], allowed: Collection[Collection[str]]) -> None:
    """Refuse names of parts or splits of the data set `name` that are not allowed (SettingError)."""
    choices = [", ".join(each) for each in allowed]
    fits = any(set(found) == set(each) for each in allowed)
    require(fits, "", name, f"it has {', '.join(found) or 'nothing'}; it must have {' or '.join(choices)}")


def check_arrays(name: str, native_levels: int, arrays: Mapping[str, LabelledArrays]) -> None:
    """Refuse arrays that are no images and labels of one data set.

    Args:
        name: of the data set.
        native_levels: how many values a pixel can take.
        arrays: its parts, or its splits.

    Raises:
        SettingError: the first fault, in one line.
    """
    for part, each in arrays.items():
        if fault := _image_fault(each.images, native_levels):
            raise SettingError("", name, f"the images of {part} {fault}")
        if fault := _label_fault(each.labels, each.images):
            raise SettingError("", name, f"the labels of {part} {fault}")
        names = len(each.images if each.names is None else each.names)
        reason = f"{part} has {len(each.images):,} images and {names:,} names; give each image one"
        require(names == len(each.images), "", name, reason)
    sizes = {part: "x".join(map(str, each.images.shape[1:])) for part, each in arrays.items()}
    _require_one(name, "images", sizes, "crop or resize them to one C x H x W")
    kinds = {part: _kind(each.labels) for part, each in arrays.items()}
    _require_one(name, "labels", kinds, "give all parts the same labels, or none")
    _check_levels(name, native_levels, max(int(each.images.max()) for each in arrays.values()))


def _image_fault(images: Any, native_levels: int) -> str:
    """Return why these are no uint8 images [N, C, H, W], grey or in colour; empty if they are."""
    if not isinstance(images, np.ndarray):
        return f"are a {type(images).__name__}; make them a numpy array of uint8"
    shape = list(images.shape)
    if images.ndim != 4:
        add = "; add an axis for the channel: images[:, None]" if images.ndim == 3 else ""
        return f"have the shape {shape}, not [N, C, H, W]{add}"
    if images.size == 0:
        return f"have the shape {shape}: there is nothing in them; give at least one image of one pixel"
    if images.dtype != np.uint8:
        return _type_fault(images, native_levels)
    channels = images.shape[1]
    if channels in CHANNELS:
        return ""
    if images.shape[3] <= 4:
        return f"have the shape {shape}: the channels seem to be last; use images.transpose(0, 3, 1, 2)"
    remedy = _NAMED.get(channels - 1, "choose or combine channels")
    return f"have {channels} channels, and 1 (grey) or 3 (colour) are possible; {remedy}"


def _type_fault(images: np.ndarray[Any, Any], native_levels: int) -> str:
    """Return what is wrong with images of another type than uint8, and how to convert them."""
    top = native_levels - 1
    need = f"uint8 levels 0 .. {top} are needed"
    if images.dtype.kind not in "biuf":
        return f"are {images.dtype}, not numbers; {need}"
    lowest, highest = images.min(), images.max()
    if not np.isfinite([lowest, highest]).all():
        return f"are {images.dtype} with values that are not finite; {need}: repair them first"
    found = (
        f"are {images.dtype} from {lowest:g} to {highest:g}; {need}"
        if images.dtype.kind != "b"
        else f"are bool; {need}"
    )
    if images.dtype.kind == "f" and lowest >= 0 and highest <= 1:
        return f"{found}: (images * {top}).round().astype(numpy.uint8)"
    if lowest >= 0 and highest <= top:
        return f"{found}: images{'.round()' * (images.dtype.kind == 'f')}.astype(numpy.uint8)"
    return f"{found}: scale them to this range, round, and convert them"


def _label_fault(labels: Any, images: np.ndarray[Any, Any]) -> str:
    """Return why these are no labels of the images; empty if they are, or if there are none."""
    if labels is None:
        return ""
    if not isinstance(labels, np.ndarray):
        return f"are a {type(labels).__name__}; make them a numpy array, or None if there are none"
    if labels.ndim not in (1, 2) or 0 in labels.shape or len(labels) != len(images):
        shapes = f"{list(labels.shape)} and those of the images, {list(images.shape)}, do not fit together"
        return f"have a shape that is not allowed: {shapes}; give classes [N], factors [N, F], or None"
    if labels.dtype.kind not in "iu":
        number = "numpy.unique(labels, return_inverse=True)[1]"
        return f"are {labels.dtype}, not whole numbers; number the classes: {number}"
    if labels.min() < 0 or labels.max() >= 2**63:
        unknown = "leave out images without a class, or give None if the data set has no classes"
        return f"reach from {labels.min()} to {labels.max()}, and a class is 0 or more; {unknown}"
    return ""


def _kind(labels: np.ndarray[Any, Any] | None) -> str:
    if labels is None:
        return "none"
    return "classes" if labels.ndim == 1 else f"{labels.shape[1]} factors"


def _require_one(name: str, what: str, found: Mapping[str, str], remedy: str) -> None:
    """Refuse a fact that is not the same in all parts."""
    differing = ", ".join(f"{part} {value}" for part, value in found.items())
    require(len(set(found.values())) == 1, "", name, f"the {what} of its parts differ: {differing}; {remedy}")


def _check_levels(name: str, native_levels: int, highest: int) -> None:
    reason = f"the images of {name} reach level {highest}"
    require(highest < native_levels, "native_levels", native_levels, reason)
    # Of 256 levels these would be black images, which any model codes in almost no bits.
    binary = highest == 1 and native_levels > 2
    reason = f"the highest level in {name} is 1 of {native_levels - 1}; write 2 if its pixels are 0 and 1"
    require(not binary, "native_levels", native_levels, reason)
