"""The images of a folder, one after the other, into one array."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from vae_likelihoods.datasets.large_arrays import write_blocks
from vae_likelihoods.datasets.pictures import Decoding, UnusableImage
from vae_likelihoods.errors import require
from vae_likelihoods.files import shown


def read_all(
    folder: Path,
    names: Sequence[str],
    decoding: Decoding,
    shape: tuple[int, int, int],
    target: Path,
    left_out: dict[str, str],
) -> tuple[list[int], Counter[str]]:
    """Write the levels of images to one .npy file, [N, C, H, W]; one image is in memory at a time.

    Args:
        folder: where the files are.
        names: of the files.
        decoding: how they become levels.
        shape: channels, height and width of all of them.
        target: the file that is written.
        left_out: gets why a file could not be read, by its name.

    Returns:
        The places in `names` of the images that were written, and how often what was changed.

    Raises:
        SettingError: no image can be read, or levels of 8 bits are stored in 16.
    """
    kept, changes, highest = list[int](), Counter[str](), dict[str, int]()

    def levels() -> Iterator[NDArray[np.uint8]]:
        for place, name in enumerate(tqdm(names, desc="reading", unit="image", disable=None)):
            try:
                picture = decoding.read(folder / name)
            except UnusableImage as error:
                left_out[shown(name)] = str(error)
                continue
            if picture.levels.shape != shape:
                said = f"has {picture.levels.shape[1:]} pixels, and its header said {shape[1:]}"
                left_out[shown(name)] = said
                continue
            kept.append(place)
            changes.update(picture.changes)
            if picture.highest is not None:
                highest[name] = picture.highest
            yield picture.levels[None]

    write_blocks(target, shape, np.uint8, levels())
    require(bool(kept), "path", folder, "no image in it can be read")
    _refuse_narrow(folder, highest)
    return kept, changes


def _refuse_narrow(folder: Path, highest: Mapping[str, int]) -> None:
    """Refuse images of 16 bits of which all have levels of 8, which are lost with the lower byte.

    Of a single image this cannot be told: it may be dark.
    """
    name = max(highest, key=highest.__getitem__, default="")
    most = highest.get(name, 0)
    reason = f"{name} has 16 bits or more and no value above {most}, as all images of so many bits"
    remedy = "such levels are lost; if they are of 8 bits, save them with 8 bits"
    require(not 0 < most <= 255, "path", folder, f"{reason}: {remedy}")
