"""One image file as levels: what Pillow's users expect, and a word for everything that was changed."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from vae_likelihoods.errors import require

Colour = Literal["grey", "rgb"]
Fit = Literal["crop", "pad", "stretch"]
SixteenBit = Literal["reduce", "refuse"]

DECODING = "decoding.json"
"""In a prepared folder: how image files became its images; not there if they come from none."""

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif")
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")  # Pillow must not guess a format that runs a program
_FILTER = Image.Resampling.BILINEAR  # averages when it reduces; others overshoot, to levels that nobody saw
_TRANSPOSED = (5, 6, 7, 8)  # EXIF orientations that swap height and width
_GREY = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N", "F")
_WIDE = ("I", "I;16", "I;16B", "I;16L", "I;16N")
_ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")


class UnusableImage(ValueError):  # noqa: N818 - reads as what is wrong
    """A file that is no image, is damaged, or is one that cannot be made levels; the text says which."""


@dataclass(frozen=True)
class Header:
    """What a file says of itself, read without its pixels.

    Attributes:
        height: rows, after the orientation that EXIF asks for.
        width: columns.
        colour: whether it is stored in colour.
    """

    height: int
    width: int
    colour: Colour


@dataclass(frozen=True)
class Picture:
    """One image as levels, and what was changed on the way."""

    levels: NDArray[np.uint8]  # [C, H, W]
    changes: tuple[str, ...]


@dataclass(frozen=True)
class Decoding:
    """How files become levels of one shape.

    Args:
        colour: ``grey`` (one channel, ITU-R 601 luma) or ``rgb``.
        size: height and width that all images get; None: as they are.
        fit: how an image of other proportions gets them: ``crop`` its middle, ``pad`` it with the background,
            or ``stretch`` it.
        background: the colour, 0 .. 255 each, that shows through alpha and that pads.
        sixteen_bit: whether the 8 higher bits of 16 are kept (``reduce``) or the image is refused.
        most_pixels: an image that claims more is refused before they are read.

    Raises:
        SettingError: a value is refused.
    """

    colour: Colour
    size: tuple[int, int] | None = None
    fit: Fit = "crop"
    background: tuple[int, int, int] = (0, 0, 0)
    sixteen_bit: SixteenBit = "reduce"
    most_pixels: int = 100_000_000

    def __post_init__(self) -> None:
        for key, kind in (("colour", Colour), ("fit", Fit), ("sixteen_bit", SixteenBit)):
            value = getattr(self, key)
            require(value in get_args(kind), key, value, "must be one of the choices", get_args(kind))
        triple = isinstance(self.background, tuple) and len(self.background) == 3
        valid = triple and all(type(part) is int and 0 <= part <= 255 for part in self.background)
        require(valid, "background", self.background, "must be red, green and blue, 0 .. 255 each")

    def plain(self) -> dict[str, Any]:
        """Return what decides the levels, as plain values for JSON."""
        return {key: value for key, value in asdict(self).items() if key != "most_pixels"}

    def header(self, path: Path) -> Header:
        """Read what the file says of itself.

        Raises:
            UnusableImage: it is no image, or claims too many pixels.
        """
        with self._opened(path) as image:
            height, width = image.height, image.width
            # Of a PNG whose EXIF comes after the pixels, Pillow would load these to find it.
            early = image.format != "PNG" or "exif" in image.info
            if early and image.getexif().get(ExifTags.Base.Orientation) in _TRANSPOSED:
                height, width = width, height
            return Header(height, width, "grey" if image.mode in _GREY else "rgb")

    def read(self, path: Path) -> Picture:
        """Return the image as levels.

        Raises:
            UnusableImage: the file is damaged, or its pixels cannot be made levels.
        """
        with self._opened(path) as image:
            sixteen = _is_sixteen_bit(image)  # what Pillow forgets as soon as it loads pixels
            changes = [*_frames(image), *_orientation(image)]
            eight_bit = self._eight_bit(ImageOps.exif_transpose(image), sixteen, changes)
            plain = self._in_colour(eight_bit, changes)
            fitted = self._fitted(plain, changes)
            levels = np.asarray(fitted)
        levels = levels[None] if levels.ndim == 2 else levels.transpose(2, 0, 1)
        return Picture(np.ascontiguousarray(levels), tuple(changes))

    @contextmanager
    def _opened(self, path: Path) -> Iterator[Image.Image]:
        try:
            # Pillow warns of odd metadata, of which no level depends.
            with warnings.catch_warnings(action="ignore"), Image.open(path, formats=_FORMATS) as image:
                claimed = image.width * image.height
                if claimed > self.most_pixels:
                    size = f"{image.height} x {image.width} pixels"
                    raise UnusableImage(f"claims {size}, and at most {self.most_pixels:,} are read")
                yield image
        except UnidentifiedImageError:
            raise UnusableImage(
                f"is no {', '.join(_FORMATS[:-1])} or {_FORMATS[-1]}, or is damaged"
            ) from None
        except UnusableImage:
            raise
        except PermissionError:
            raise UnusableImage("cannot be read: permission denied") from None
        except Image.DecompressionBombError:
            raise UnusableImage(f"claims more than {Image.MAX_IMAGE_PIXELS:,} pixels") from None
        except Exception as error:  # Pillow's decoders raise whatever their damaged input leads to
            raise UnusableImage(f"is damaged ({' '.join(str(error).split())})") from error

    def _eight_bit(self, image: Image.Image, sixteen: bool, changes: list[str]) -> Image.Image:
        if image.mode == "F":
            raise UnusableImage("has pixels that are no whole numbers")
        if image.mode not in _WIDE and not sixteen:
            return image
        if self.sixteen_bit == "refuse":
            raise UnusableImage("has 16 bits a channel (sixteen_bit=refuse)")
        changes.append("16 bits reduced to 8")
        if image.mode not in _WIDE:
            return image  # Pillow keeps the higher byte of colours itself
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise UnusableImage(f"has pixels from {values.min()} to {values.max()}; 16 bits are the most")
        return Image.fromarray((values.astype(np.uint32) >> 8).astype(np.uint8))

    def _in_colour(self, image: Image.Image, changes: list[str]) -> Image.Image:
        if image.mode in _ALPHA or "transparency" in image.info:
            red, green, blue = self.background
            over = image.convert("RGBA")
            if np.asarray(over.getchannel("A")).min() < 255:
                changes.append(f"alpha laid over the colour {red},{green},{blue}")
            ground = Image.new("RGBA", over.size, (red, green, blue, 255))
            image = Image.alpha_composite(ground, over).convert("L" if image.mode in _GREY else "RGB")
        mode = "L" if self.colour == "grey" else "RGB"
        if image.mode in ("1", mode):
            return image.convert(mode)
        words = {"P": "palette resolved", "CMYK": "CMYK converted to RGB", "YCbCr": "YCbCr converted to RGB"}
        if image.mode in words:
            changes.append(words[image.mode])
        elif image.mode not in ("L", "RGB"):
            raise UnusableImage(f"has the mode {image.mode}, which is not read")
        if mode == "L" and image.mode != "L":
            changes.append("colour made grey")
        return image.convert("RGB").convert(mode)

    def _fitted(self, image: Image.Image, changes: list[str]) -> Image.Image:
        if self.size is None or (image.height, image.width) == self.size:
            return image
        size = (self.size[1], self.size[0])
        if self.fit == "stretch":
            changes.append("stretched" if image.width * size[1] != image.height * size[0] else "resized")
            return image.resize(size, _FILTER)
        same = image.width * size[1] == image.height * size[0]
        changes.append("resized" if same else {"crop": "cropped", "pad": "padded"}[self.fit])
        if self.fit == "crop":
            return ImageOps.fit(image, size, _FILTER)
        ground: Any = self.background if image.mode == "RGB" else _luma(self.background)
        return ImageOps.pad(image, size, _FILTER, color=ground)


def _frames(image: Image.Image) -> list[str]:
    return ["only the first of several frames taken"] if getattr(image, "n_frames", 1) > 1 else []


def _orientation(image: Image.Image) -> list[str]:
    orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    return ["turned as EXIF says"] if orientation in range(2, 9) else []


def _is_sixteen_bit(image: Image.Image) -> bool:
    """Return whether an image is stored with 16 bits a channel; Pillow's mode tells it for grey alone."""
    return any(";16" in str(tile[3]) for tile in getattr(image, "tile", ()))


def _luma(colour: tuple[int, int, int]) -> int:
    pixel: Any = Image.new("RGB", (1, 1), colour).convert("L").getpixel((0, 0))
    return int(pixel)
