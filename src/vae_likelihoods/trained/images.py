"""Images of one's own as levels of a trained model: from arrays, an image file, or a folder of them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from vae_likelihoods.datasets.listing import list_images
from vae_likelihoods.datasets.pictures import Decoding, Fit, UnusableImage
from vae_likelihoods.datasets.quantise import Binarize, binarize, quantise
from vae_likelihoods.errors import SettingError, require
from vae_likelihoods.files import shown
from vae_likelihoods.seeding import generator

_NATIVE = 256  # levels of image files
# How the changes of a `Picture` begin that another `Decoding` would make otherwise.
_BY_FIT = ("cropped", "padded", "stretched")
_BY_SIZE = (*_BY_FIT, "resized")
_BY_DECODING = (*_BY_SIZE, "alpha", "16 bits", "colour made grey")


class Named(NamedTuple):
    """Images with their names.

    Attributes:
        names: of the files; of an array the places of its images.
        levels: [N, C, H, W].
        assumed: what was done to how many image files though neither the model nor the caller says so.
        damaged: why files could not be read that were passed over, by their names.
        there: how many images there are, of which `count` were to be read.
    """

    names: list[str]
    levels: NDArray[np.uint8]
    assumed: Mapping[str, int]
    damaged: Mapping[str, str]
    there: int


def read_images(
    path: Path,
    shape: tuple[int, int, int],
    levels: int,
    decoding: Decoding | None = None,
    fit: Fit | None = None,
    binarized: Binarize = "threshold",
    count: int | None = None,
    leave_out: bool = False,
) -> Named:
    """Read images as a model with this shape (C, H, W) and so many levels needs them.

    Args:
        path: a .npy file of levels [N, C, H, W], or [N, H, W] for one channel; an image file; or a folder of
            image files, at any depth. Image files get the size and the channels of the model; their 256
            levels become those of the model as in training.
        shape: C, H, W.
        levels: K.
        decoding: how the files became images that the model was trained on. None: not known; alpha is then
            laid over black, and the higher 8 of 16 bits are kept.
        fit: how images of other proportions get the size: crop, pad or stretch; None: as `decoding` says, or
            crop.
        binarized: how 256 levels become those of the model: floor(k K / 256), or a draw of each pixel, which
            is the same for the same image.
        count: read so many images at most, evenly spread over all; None: all.
        leave_out: whether to pass over files of a folder that cannot be read, which are refused otherwise.

    Raises:
        SettingError: there are no such images, or they are none of the model.
    """
    require(path.exists(), "images", path, "there is no such file or folder")
    if path.suffix.lower() == ".npy":
        return _array(path, shape, count)
    folder, names = (path.parent, [path.name])
    if path.is_dir():
        folder, names = path, [file.name for file in list_images(path).files]
    channels, height, width = shape
    require(channels in (1, 3), "images", path, f"a model of {channels} channels needs a .npy file")
    reading = replace(decoding or Decoding("rgb" if channels == 3 else "grey"), size=(height, width))
    reading = replace(reading, fit=fit or reading.fit)
    read, pictures, changes, damaged = list[str](), [], Counter[str](), dict[str, str]()
    chosen = [names[place] for place in _spread(len(names), count)]
    for name in tqdm(chosen, desc="reading", unit="image", disable=None, delay=1, leave=False):
        try:
            picture = reading.read(folder / name)
        except UnusableImage as error:
            remedy = "; --leave-out-damaged passes such files over" if path.is_dir() else ""
            require(leave_out and path.is_dir(), "images", folder / name, f"{error}{remedy}")
            damaged[shown(name)] = str(error)
            continue
        read.append(shown(name))
        pictures.append(_seen(picture.levels, levels, binarized))
        changes.update(picture.changes)
    require(bool(pictures), "images", path, f"none of {len(chosen):,} files can be read")
    said = () if fit is None else _BY_FIT
    unsaid = tuple(each for each in _unsaid(decoding) if each not in said)
    assumed = {change: times for change, times in sorted(changes.items()) if change.startswith(unsaid)}
    return Named(read, np.stack(pictures), assumed, damaged, len(names))


def _spread(there: int, count: int | None) -> list[int]:
    """Return the places of at most `count` of so many images, from the first to the last.

    Example:
        >>> _spread(10, 4)
        [0, 3, 6, 9]
    """
    most = there if count is None else min(count, there)
    return [place * (there - 1) // max(1, most - 1) for place in range(most)]


def _unsaid(decoding: Decoding | None) -> tuple[str, ...]:
    if decoding is None:
        return _BY_DECODING
    return _BY_SIZE if decoding.size is None else ()  # all images had one size, and were left as they were


def _seen(image: NDArray[np.uint8], levels: int, binarized: Binarize) -> NDArray[np.uint8]:
    """Return an image [C, H, W] of 256 levels at those of a model."""
    native = torch.from_numpy(image.copy())
    if binarized == "stochastic":
        drawn = binarize(
            native, _NATIVE, generator(0, "binarize", hashlib.sha256(image.tobytes()).hexdigest())
        )
    else:
        drawn = quantise(native, _NATIVE, levels)
    seen: NDArray[np.uint8] = drawn.numpy()
    return seen


def _array(path: Path, shape: tuple[int, int, int], count: int | None) -> Named:
    try:
        images = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        reason = f"is no array that can be read ({' '.join(str(error).split())})"
        raise SettingError("images", path, reason) from None
    listed = isinstance(images, np.ndarray) and images.ndim > 0
    require(listed, "images", path, "is no array of images [N, C, H, W]")
    if images.ndim == 3 and shape[0] == 1:
        images = images[:, None]
    places = _spread(len(images), count)
    some = images if len(places) == len(images) else images[places]
    return Named([str(place) for place in places], some, {}, {}, len(images))
