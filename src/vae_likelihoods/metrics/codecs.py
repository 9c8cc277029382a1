"""What lossless codecs make of the test images: common sense beside the models."""

from __future__ import annotations

import lzma
import math
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from typing import ClassVar, NamedTuple

import imagecodecs
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from typing_extensions import override

from vae_likelihoods.errors import require
from vae_likelihoods.metrics.base import Metric, Missing, Value, Values
from vae_likelihoods.metrics.data import Data
from vae_likelihoods.models.base import Model
from vae_likelihoods.units.declaration import ITSELF, Declaration
from vae_likelihoods.units.quantity import BITS, Quantity

Picture = NDArray[np.uint8]
"""Levels [H, W], or [H, W, C] of several channels."""
Shape = tuple[int, ...]

PIXELS = 1 << 26  # of a tiled picture, about: bounds memory, and Pillow takes far larger ones for an attack
CHECKED = 16  # images that are decoded again, each by itself; tiled pictures all are
RANGES = {
    "png_level": (0, 9),
    "webp_method": (0, 6),
    "webp_quality": (0, 100),
    "jpeg_xl_effort": (1, 10),
    "xz_preset": (0, 9),
}


class Codec(NamedTuple):
    """A lossless file format.

    Args:
        name: in the names of numbers.
        words: as people write it.
        encode: makes a file of a picture.
        decode: makes a picture of this shape of a file.
        side: the most pixels a side; None: the format has no pictures but bytes, of any number of channels.
    """

    name: str
    words: str
    encode: Callable[[Picture], bytes]
    decode: Callable[[bytes, Shape], Picture]
    side: int | None

    @property
    def together(self) -> str:
        """How all test images are put into one file."""
        return "one after the other" if self.side is None else "tiled into a big picture"


@dataclass(frozen=True)
class Codecs(Metric):
    """The sizes of files, in bits per real pixel and channel: PNG, WebP, JPEG-LS, JPEG XL and xz, lossless.

    *Alone*, every test image is a file. All bits of a file count, headers too. They are much of the file of a
    small image: 57 bytes of a PNG, 60 or so of xz. *Tiled*, all test images are one big picture, row by row,
    as many to a row as there are rows; or several pictures where one would be larger than the format allows.
    Empty places in the last row cost bits but are no pixels. Such a file shares its header, and the codec
    adapts to the images as it goes, so the numbers say what the test split costs as a whole: an image in it
    has no cost of its own, as it has under a model. xz knows no pictures. It is given the bytes, image after
    image, and row by row.

    Stored are the levels 0 .. K - 1 as they are, 8 bits each: grey or RGB; in WebP, which has no grey, all
    three channels of a grey pixel are equal. Only a PNG of grey images of two levels has 1 bit a pixel.
    JPEG-LS goes without the optional header SPIFF. xz keeps its check sum.

    The trained model is not read, so what is measured once is remembered while the program runs.

    Args:
        png_level: effort of zlib, 0 to 9.
        webp_method: effort of WebP's search, 0 to 6.
        webp_quality: effort again, 0 to 100; lossless whatever it is.
        jpeg_xl_effort: 1 to 10.
        xz_preset: 0 to 9, each in its extreme variant.
    """

    of: ClassVar[type] = Model
    png_level: int
    webp_method: int
    webp_quality: int
    jpeg_xl_effort: int
    xz_preset: int

    def __post_init__(self) -> None:
        for key, (least, most) in RANGES.items():
            value = getattr(self, key)
            within = type(value) is int and least <= value <= most
            require(within, key, value, f"must be a whole number, {least} to {most}")

    def codecs(self, levels: int) -> list[Codec]:
        """Return the codecs, with the settings of this metric, for images of K = `levels` levels."""
        png = partial(to_png, level=self.png_level, binary=levels == 2)
        webp = partial(to_webp, method=self.webp_method, quality=self.webp_quality)
        jpeg_xl = partial(to_jpeg_xl, effort=self.jpeg_xl_effort)
        xz = partial(to_xz, preset=self.xz_preset)
        return [
            Codec("png", "PNG", png, from_png, side=2**31 - 1),
            Codec("webp", "WebP", webp, from_webp, side=2**14 - 1),
            Codec("jpeg_ls", "JPEG-LS", to_jpeg_ls, from_jpeg_ls, side=2**16 - 1),
            Codec("jpeg_xl", "JPEG XL", jpeg_xl, from_jpeg_xl, side=2**30),
            Codec("xz", "xz", xz, from_xz, side=None),
        ]

    @override
    def declarations(self, levels: int) -> list[Declaration]:
        declared = partial(Declaration, quantity=Quantity(BITS), format=".3f", whole=ITSELF)
        numbers = []
        for codec in self.codecs(levels):
            alone, together = _names(codec)
            cost = f"what test images cost as lossless {codec.words}"
            numbers += [
                declared(alone, f"{cost}, each a file", header=codec.words),
                declared(together, f"{cost}, all {codec.together}", header=f"{codec.words}, tiled"),
            ]
        return numbers

    @override
    def __call__(self, model: Model, data: Data, noise: torch.Generator) -> Values:
        images = data.test.images.cpu().numpy().transpose(0, 2, 3, 1)
        content = (data.test.sha256, images.shape, data.levels)
        values: dict[str, Value] = {}
        for codec in self.codecs(data.levels):
            bits = _bits_per_dim(codec, images, key=(codec.name, self, *content))
            values |= zip(_names(codec), bits, strict=True)
        return values


def _names(codec: Codec) -> tuple[str, str]:
    return f"{codec.name}_bits_per_dim", f"{codec.name}_tiled_bits_per_dim"


_SIZES: dict[Hashable, tuple[int, int]] = {}
"""What this process measured before: a worker measures many cells, and the sizes are the same for all."""


def _bits_per_dim(codec: Codec, images: Picture, key: Hashable) -> tuple[Value, Value]:
    """Return the bits per dimension of images [N, H, W, C] alone and tiled, or why they have none."""
    if missing := unsuited(codec, images):
        return missing, missing
    if key not in _SIZES:
        _SIZES[key] = sizes(codec, images)
    alone, together = (8 * size / images.size for size in _SIZES[key])
    return alone, together


def unsuited(codec: Codec, images: Picture) -> Missing | None:
    """Return why the format has no picture of images [N, H, W, C]; None if it has."""
    _, height, width, channels = images.shape
    if codec.side is None:
        return None
    if channels not in (1, 3):
        return Missing(f"its pictures have 1 or 3 channels, not {channels}")
    if max(height, width) > codec.side:
        return Missing(f"its pictures have up to {codec.side} pixels a side")
    return None


def sizes(codec: Codec, images: Picture) -> tuple[int, int]:
    """Return the bytes of images [N, H, W, C], each a file, and of all together.

    Raises:
        RuntimeError: a file does not give back its picture.
    """
    alone = sum(size(codec, grid(image[None], 1), place < CHECKED) for place, image in enumerate(images))
    return alone, sum(size(codec, picture) for picture in tiled(images, codec.side))


def size(codec: Codec, picture: Picture, check: bool = True) -> int:
    """Return the bytes of the file of a picture, and `check` that it is lossless (RuntimeError)."""
    file = codec.encode(picture)
    if check and not np.array_equal(codec.decode(file, picture.shape), picture):
        raise RuntimeError(f"{codec.words} is not lossless: a picture {picture.shape} came back changed")
    return len(file)


def tiled(images: Picture, side: int | None) -> Iterator[Picture]:
    """Yield images [N, H, W, C] as one near-square picture; as several if it had a longer side, or `PIXELS`.

    Args:
        images: none of them longer than `side`.
        side: None: below each other, in one column.
    """
    count, height, width, _ = images.shape
    if side is None:
        columns, rows = 1, count
    else:
        columns = min(math.isqrt(count - 1) + 1, side // width)
        rows = max(1, min(side // height, PIXELS // (columns * width * height)))
    for first in range(0, count, rows * columns):
        yield grid(images[first : first + rows * columns], columns)


def grid(images: Picture, columns: int) -> Picture:
    """Return images [N, H, W, C] side by side in rows of `columns`; empty places at the end are 0.

    Example:
        >>> grid(np.arange(1, 4, dtype=np.uint8).reshape(3, 1, 1, 1), columns=2).tolist()
        [[1, 2], [3, 0]]
    """
    count, height, width, channels = images.shape
    rows = -(-count // columns)
    places = np.zeros((rows * columns, height, width, channels), np.uint8)
    places[:count] = images
    apart = places.reshape(rows, columns, height, width, channels).swapaxes(1, 2)
    picture = apart.reshape(rows * height, columns * width, channels)
    return picture[..., 0] if channels == 1 else picture


def to_png(picture: Picture, level: int, binary: bool) -> bytes:
    """Return a PNG; of 1 bit a pixel if it is grey and `binary`."""
    bits = picture.astype(bool) if binary and picture.ndim == 2 else picture
    return _saved(Image.fromarray(bits), "PNG", compress_level=level)


def from_png(file: bytes, shape: Shape) -> Picture:
    """Read a PNG."""
    return _opened(file)


def to_webp(picture: Picture, method: int, quality: int) -> bytes:
    """Return a lossless WebP."""
    image = Image.fromarray(picture).convert("RGB")
    return _saved(image, "WEBP", lossless=True, method=method, quality=quality)


def from_webp(file: bytes, shape: Shape) -> Picture:
    """Read a WebP; [H, W] if that is the shape, and if all channels of each pixel are equal."""
    rgb = _opened(file)
    grey = rgb[..., 0]
    return grey if len(shape) == 2 and (rgb == grey[..., None]).all() else rgb


def to_jpeg_ls(picture: Picture) -> bytes:
    """Return a JPEG-LS (ITU-T T.87), without the segments APP8, in which a header SPIFF may stand."""
    most = 4 * picture.nbytes + 4096  # a code has up to 32 bits, and CharLS does not take less for noise
    file = bytes(imagecodecs.jpegls_encode(picture, 0, out=most))
    while file[2:4] == b"\xff\xe8":
        file = file[:2] + file[4 + int.from_bytes(file[4:6], "big") :]
    return file


def from_jpeg_ls(file: bytes, shape: Shape) -> Picture:
    """Read a JPEG-LS."""
    return imagecodecs.jpegls_decode(file)


def to_jpeg_xl(picture: Picture, effort: int) -> bytes:
    """Return a lossless JPEG XL, a bare codestream."""
    return bytes(
        imagecodecs.jpegxl_encode(picture, lossless=True, effort=effort, usecontainer=False, numthreads=1)
    )


def from_jpeg_xl(file: bytes, shape: Shape) -> Picture:
    """Read a JPEG XL."""
    return imagecodecs.jpegxl_decode(file, numthreads=1)


def to_xz(picture: Picture, preset: int) -> bytes:
    """Return the bytes of a picture as an .xz file.

    The dictionary is as large as the bytes, up to the 64 MiB of preset 9: clearing them all for each image
    would take minutes.
    """
    content = picture.tobytes()
    dictionary = min(max(4096, len(content)), 1 << 26)
    usual = {"id": lzma.FILTER_LZMA2, "preset": preset | lzma.PRESET_EXTREME}
    return lzma.compress(content, lzma.FORMAT_XZ, filters=[{**usual, "dict_size": dictionary}])


def from_xz(file: bytes, shape: Shape) -> Picture:
    """Read an .xz file."""
    return np.frombuffer(lzma.decompress(file), np.uint8).reshape(shape)


def _saved(image: Image.Image, form: str, **settings: int) -> bytes:
    file = BytesIO()
    image.save(file, form, **settings)
    return file.getvalue()


def _opened(file: bytes) -> Picture:
    with Image.open(BytesIO(file)) as image:
        return np.asarray(image).astype(np.uint8)
