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
from vae_likelihoods.files import shown

Colour = Literal["grey", "rgb"]
Fit = Literal["crop", "pad", "stretch"]
SixteenBit = Literal["reduce", "refuse"]

DECODING = "decoding.json"
"""In a prepared folder: how image files became its images; not there if they come from none."""

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif")
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")  # Pillow must not guess a format that runs a program
_FILTER = Image.Resampling.BILINEAR  # averages when it reduces; others overshoot, to levels that nobody saw
_TURNS = {  # what the orientations of EXIF ask for
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_TRANSPOSED = (5, 6, 7, 8)  # those that swap height and width
_GREY = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N", "F")
_WIDE = ("I", "I;16", "I;16B", "I;16L", "I;16N")
_ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")
_AT_ONCE = 2**22  # pixels that are converted at once: several bytes each, beside those of the file


class UnusableImage(ValueError):  # noqa: N818 - reads as what is wrong
    """A file that is no image, is damaged, or is one that cannot be made levels; the text says which."""


@dataclass(frozen=True)
class Header:
    """What a file says of itself, read without its pixels.

    Attributes:
        height: rows, after the orientation that EXIF asks for.
        width: columns.
        colour: ``grey`` if it can only have greys, or has a palette of which only greys are used.
    """

    height: int
    width: int
    colour: Colour


@dataclass(frozen=True)
class Picture:
    """One image as levels, and what was changed on the way."""

    levels: NDArray[np.uint8]  # [C, H, W]
    changes: tuple[str, ...]
    highest: int | None = (
        None  # of its values of 16 bits, at most (of colours the higher byte is known); None: 8
    )


@dataclass(frozen=True)
class Decoding:
    """How files become levels of one shape. At most about 8 bytes for each pixel of the file are held.

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
            width, height, raw = *_stored_size(image), _raw_mode(image)
            # Of a PNG whose EXIF comes after the pixels, Pillow would load these to find it.
            early = image.format != "PNG" or "exif" in image.info
            if early and image.getexif().get(ExifTags.Base.Orientation) in _TRANSPOSED:
                height, width = width, height
            return Header(height, width, "grey" if _is_grey(image, raw) else "rgb")

    def read(self, path: Path) -> Picture:
        """Return the image as levels.

        Raises:
            UnusableImage: the file is damaged, or its pixels cannot be made levels.
        """
        with self._opened(path) as image:
            raw = _raw_mode(image)
            changes = [*_frames(image), *_orientation(image)]
            image.load()  # which turns a TIFF
            turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
            plain, highest = self._plain(image, raw, changes)
            if plain is not image:
                image.close()  # frees its pixels
            levels = np.asarray(self._fitted(plain if turn is None else plain.transpose(turn), changes))
        levels = levels[None] if levels.ndim == 2 else levels.transpose(2, 0, 1)
        return Picture(np.ascontiguousarray(levels), tuple(changes), highest)

    @contextmanager
    def _opened(self, path: Path) -> Iterator[Image.Image]:
        try:
            with (
                warnings.catch_warnings(action="ignore"),  # of odd metadata, of which no level depends
                path.open("rb") as handle,  # of a path, Pillow maps a turned TIFF with its sides exchanged
                Image.open(handle, formats=_FORMATS) as image,
            ):
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
            said = " ".join(str(error).split()) or type(error).__name__
            raise UnusableImage(f"is damaged ({shown(said)})") from error

    def _plain(self, image: Image.Image, raw: str, changes: list[str]) -> tuple[Image.Image, int | None]:
        """Return the image in the mode of the levels, and the highest value of 16 bits."""
        grey, sixteen = _is_grey(image, raw), ";16" in raw or image.mode in _WIDE
        if image.mode == "F":
            raise UnusableImage("has pixels that are no whole numbers")
        if sixteen and self.sixteen_bit == "refuse":
            raise UnusableImage("has 16 bits a channel (sixteen_bit=refuse)")
        _correct_transparency(image, raw)
        mode = "L" if self.colour == "grey" else "RGB"
        found = dict.fromkeys(["16 bits reduced to 8"] if sixteen else [])
        if image.mode == mode and not sixteen and "transparency" not in image.info:
            plain, highest = image, None
        else:
            plain, highest = Image.new(mode, image.size), 0 if sixteen else None
            for box in _boxes(image.width, image.height):
                part = image.crop(box)
                if highest is not None:
                    highest = max(highest, _highest(part))
                plain.paste(self._part(part, grey, found).convert(mode), box)
        if grey != (mode == "L"):
            found["grey made colour" if grey else "colour made grey"] = None
        changes.extend(found)
        return plain, highest

    def _part(self, part: Image.Image, grey: bool, found: dict[str, None]) -> Image.Image:
        """Return a part of an image in the mode L or RGB, pixel by pixel the same as of the whole."""
        laid = f"alpha laid over the colour {','.join(map(str, self.background))}"
        if part.mode in _WIDE:
            values = np.asarray(part)
            levels = (values >> 8).astype(np.uint8)
            hidden = values == part.info.get("transparency", -1)
            if hidden.any():
                found[laid] = None
                levels[hidden] = _luma(self.background)
            return Image.fromarray(levels)
        if part.mode in _ALPHA or "transparency" in part.info:
            over = part.convert("RGBA")
            if np.asarray(over.getchannel("A")).min() < 255:
                found[laid] = None
            ground = Image.new("RGBA", over.size, (*self.background, 255))
            return Image.alpha_composite(ground, over).convert("L" if grey else "RGB")
        words = {"P": "palette resolved", "CMYK": "CMYK converted to RGB", "YCbCr": "YCbCr converted to RGB"}
        if part.mode in words:
            found[words[part.mode]] = None
        elif part.mode not in ("1", "L", "RGB"):
            raise UnusableImage(f"has the mode {part.mode}, which is not read")
        return part.convert("L" if part.mode == "1" else "RGB")

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


def _stored_size(image: Image.Image) -> tuple[int, int]:
    """Return width and height as they are stored; Pillow exchanges those of a TIFF that is to be turned."""
    tags: Any = getattr(image, "tag_v2", {}) if image.format == "TIFF" else {}
    return tags.get(256, image.width), tags.get(257, image.height)


def _raw_mode(image: Image.Image) -> str:
    """Return how the pixels lie in the file, as Pillow names it; it forgets that when it loads them."""
    return " ".join(str(tile[3]) for tile in getattr(image, "tile", ()))


def _is_grey(image: Image.Image, raw: str) -> bool:
    """Return whether an image has greys alone; of a palette, its colours that are seen."""
    if image.mode != "P":
        return image.mode in _GREY or "LA;16" in raw
    counted: Any = image.getcolors(256)
    palette = np.array(image.getpalette("RGB")).reshape(-1, 3)
    used = [index for _, index in counted if index < len(palette) and index != image.info.get("transparency")]
    return bool((palette[used] == palette[used, :1]).all())


def _correct_transparency(image: Image.Image, raw: str) -> None:
    """Give the transparent colour of a PNG as many bits as Pillow gives the pixels.

    Raises:
        UnusableImage: these are colours of 16 bits, of which Pillow keeps the higher byte.
    """
    scale = {"L;2": 85, "L;4": 17}.get(raw)
    if scale is not None and "transparency" in image.info:
        image.info["transparency"] *= scale
    if raw == "RGB;16B" and "transparency" in image.info:
        raise UnusableImage("has one transparent colour of 16 bits a channel, which is not read")


def _highest(part: Image.Image) -> int:
    """Return the highest value of 16 bits; of colours the highest that their higher byte allows.

    Raises:
        UnusableImage: the values are of more than 16 bits, or negative.
    """
    values = np.asarray(part)
    if part.mode not in _WIDE:
        return 256 * int(values[..., :3].max()) + 255
    lowest, highest = int(values.min()), int(values.max())
    if lowest < 0 or highest > 65535:
        raise UnusableImage(f"has pixels from {lowest} to {highest}; 16 bits are the most")
    return highest


def _boxes(width: int, height: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield left, top, right and bottom of parts that cover an image; of an ordinary one, of all of it."""
    columns = min(width, _AT_ONCE)
    rows = max(1, _AT_ONCE // columns)
    for top in range(0, height, rows):
        for left in range(0, width, columns):
            yield left, top, min(width, left + columns), min(height, top + rows)


def _luma(colour: tuple[int, int, int]) -> int:
    pixel: Any = Image.new("RGB", (1, 1), colour).convert("L").getpixel((0, 0))
    return int(pixel)
