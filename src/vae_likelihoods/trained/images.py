"""Images of one's own as levels of a trained model: from arrays, an image file, or a folder of them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from vae_likelihoods.datasets.listing import list_images
from vae_likelihoods.datasets.pictures import Decoding, Fit, UnusableImage
from vae_likelihoods.datasets.quantise import quantise
from vae_likelihoods.errors import SettingError, require

_NATIVE = 256  # levels of image files


class Named(NamedTuple):
    """Images with their names."""

    names: list[str]
    levels: NDArray[np.uint8]  # [N, C, H, W]


def read_images(path: Path, shape: tuple[int, int, int], levels: int, fit: Fit = "crop") -> Named:
    """Read images as a model with this shape (C, H, W) and so many levels needs them.

    Args:
        path: a .npy file of levels [N, C, H, W], or [N, H, W] for one channel; an image file; or a folder of
            image files, at any depth. Image files get the size and the channels of the model; their 256
            levels become those of the model as in training, floor(k K / 256).
        shape: C, H, W.
        levels: K.
        fit: how images of other proportions get the size: crop, pad or stretch.

    Raises:
        SettingError: there are no such images, or they are none of the model.
    """
    require(path.exists(), "images", path, "there is no such file or folder")
    if path.suffix.lower() == ".npy":
        return _array(path, shape)
    folder, names = (path.parent, [path.name])
    if path.is_dir():
        folder, names = path, [file.name for file in list_images(path).files]
    channels, height, width = shape
    require(channels in (1, 3), "images", path, f"a model of {channels} channels needs a .npy file")
    decoding = Decoding("rgb" if channels == 3 else "grey", (height, width), fit)
    pictures = []
    for name in names:
        try:
            pictures.append(decoding.read(folder / name).levels)
        except UnusableImage as error:
            raise SettingError("images", folder / name, str(error)) from None
    images = np.stack(pictures)
    if levels < _NATIVE:
        images = quantise(torch.from_numpy(images), _NATIVE, levels).numpy()
    return Named(names, images)


def _array(path: Path, shape: tuple[int, int, int]) -> Named:
    try:
        images = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise SettingError(
            "images", path, f"is no array that can be read ({' '.join(str(error).split())})"
        ) from None
    if images.ndim == 3 and shape[0] == 1:
        images = images[:, None]
    return Named([str(number) for number in range(len(images))], images)
