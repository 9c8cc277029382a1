"""One image file as levels, against images whose pixels are known."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vae_likelihoods.datasets import pictures
from vae_likelihoods.datasets.pictures import Decoding, UnusableImage

RAMP = np.arange(12 * 9, dtype=np.uint8).reshape(12, 9)
RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, (12, 9, 3), dtype=np.uint8)


def saved(folder: Path, image: Image.Image, suffix: str = ".png", **options: object) -> Path:
    path = folder / f"image{suffix}"
    image.save(path, **options)
    return path


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".tiff", ".gif", ".webp", ".PNG"])
def test_lossless_formats_keep_every_level(tmp_path: Path, suffix: str) -> None:
    options = {"lossless": True} if suffix == ".webp" else {}
    path = saved(tmp_path, Image.fromarray(RAMP), suffix, **options)
    np.testing.assert_array_equal(Decoding("grey").read(path).levels, RAMP[None])


def test_jpeg_is_near(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.fromarray(RAMP), ".jpg", quality=100)
    assert np.abs(Decoding("grey").read(path).levels[0].astype(int) - RAMP).max() <= 2


def test_colour_has_three_channels_first(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.fromarray(COLOURS))
    picture = Decoding("rgb").read(path)
    np.testing.assert_array_equal(picture.levels, COLOURS.transpose(2, 0, 1))
    assert picture.changes == ()
    assert Decoding("rgb").header(path).colour == "rgb"
    grey = Decoding("grey").read(path)
    luma = COLOURS @ np.array([0.299, 0.587, 0.114])  # ITU-R 601
    np.testing.assert_allclose(grey.levels[0], luma, atol=1)
    assert grey.changes == ("colour made grey",)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_exif_orientation_is_followed(tmp_path: Path, orientation: int, suffix: str) -> None:
    shown = {
        1: RAMP,
        2: RAMP[:, ::-1],
        3: RAMP[::-1, ::-1],
        4: RAMP[::-1],
        5: RAMP.T,
        6: np.rot90(RAMP, -1),
        7: RAMP[::-1, ::-1].T,
        8: np.rot90(RAMP),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path, Image.fromarray(RAMP), suffix, exif=exif)
    picture, header = Decoding("grey").read(path), Decoding("grey").header(path)
    np.testing.assert_array_equal(picture.levels[0], shown)
    assert (header.height, header.width) == shown.shape
    assert picture.changes == (() if orientation == 1 else ("turned as EXIF says",))


def test_palettes_are_resolved(tmp_path: Path) -> None:
    image = Image.fromarray((RAMP % 4).astype(np.uint8), "L")
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9])
    picture = Decoding("rgb").read(saved(tmp_path, image))
    table = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 9, 9]], np.uint8)
    np.testing.assert_array_equal(picture.levels, table[RAMP % 4].transpose(2, 0, 1))
    assert picture.changes == ("palette resolved",)


@pytest.mark.parametrize("background", [(0, 0, 0), (255, 128, 0)])
def test_alpha_is_laid_over_the_background(tmp_path: Path, background: tuple[int, int, int]) -> None:
    alpha = RNG.integers(0, 256, (12, 9, 1), dtype=np.uint8)
    path = saved(tmp_path, Image.fromarray(np.concatenate([COLOURS, alpha], -1)))
    picture = Decoding("rgb", background=background).read(path)
    share = alpha / 255
    expected = COLOURS * share + np.array(background) * (1 - share)
    np.testing.assert_allclose(picture.levels, expected.transpose(2, 0, 1), atol=1)
    assert picture.changes == (f"alpha laid over the colour {','.join(map(str, background))}",)
    opaque = saved(tmp_path, Image.fromarray(np.concatenate([COLOURS, 0 * alpha + 255], -1)))
    assert Decoding("rgb").read(opaque).changes == ()


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_lose_the_lower_byte_with_a_word_or_are_refused(tmp_path: Path, suffix: str) -> None:
    wide = RNG.integers(0, 65536, (12, 9), dtype=np.uint16)
    path = saved(tmp_path, Image.fromarray(wide), suffix)
    picture = Decoding("grey").read(path)
    np.testing.assert_array_equal(picture.levels[0], wide // 256)
    assert picture.changes == ("16 bits reduced to 8",)
    with pytest.raises(UnusableImage, match=r"^has 16 bits a channel \(sixteen_bit=refuse\)"):
        Decoding("grey", sixteen_bit="refuse").read(path)


def png(width: int, height: int, depth: int, colour: int, rows: bytes, transparent: bytes = b"") -> bytes:
    """A PNG written by hand: Pillow writes no 16-bit colours, and no lies."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + (chunk(b"tRNS", transparent) if transparent else b"")
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def test_sixteen_bits_in_colour_are_noticed(tmp_path: Path) -> None:
    wide = RNG.integers(0, 65536, (4, 5, 3), dtype=np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in wide)
    path = tmp_path / "wide.png"
    path.write_bytes(png(5, 4, 16, 2, rows))
    picture = Decoding("rgb").read(path)
    np.testing.assert_array_equal(picture.levels, (wide >> 8).transpose(2, 0, 1))
    assert picture.changes == ("16 bits reduced to 8",)
    with pytest.raises(UnusableImage, match="16 bits"):
        Decoding("rgb", sixteen_bit="refuse").read(path)


def transparent(kind: str) -> tuple[bytes, list[int]]:
    """A row of two pixels, of which the first has the transparent colour; and their levels over level 7."""
    depth, rows, colour = {
        "1": (1, bytes([0b10000000]), 1),
        "2": (2, bytes([0b11010000]), 3),
        "4": (4, bytes([0xF8]), 15),
        "8": (8, bytes([255, 128]), 255),
        "16": (16, struct.pack(">HH", 0xFFFE, 0xFFFF), 0xFFFE),  # which share the higher byte
    }[kind]
    second = {"1": 0, "2": 85, "4": 136, "8": 128, "16": 255}[kind]
    return png(2, 1, depth, 0, b"\0" + rows, struct.pack(">H", colour)), [7, second]


@pytest.mark.parametrize("kind", ["1", "2", "4", "8", "16"])
@pytest.mark.parametrize("colour", ["grey", "rgb"])
def test_a_transparent_grey_of_any_depth_is_transparent(tmp_path: Path, kind: str, colour: str) -> None:
    content, expected = transparent(kind)
    (tmp_path / "image.png").write_bytes(content)
    picture = Decoding(colour, background=(7, 7, 7)).read(tmp_path / "image.png")
    assert picture.levels[0].tolist() == [expected]
    assert "alpha laid over the colour 7,7,7" in picture.changes


def test_a_transparent_colour_of_16_bits_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(png(1, 1, 16, 2, b"\0" + bytes(6), bytes(6)))
    with pytest.raises(UnusableImage, match="one transparent colour of 16 bits"):
        Decoding("rgb").read(path)


@pytest.mark.parametrize("suffix", [".png", ".gif", ".bmp", ".tif"])
def test_a_palette_of_greys_is_grey(tmp_path: Path, suffix: str) -> None:
    image = Image.fromarray((RAMP % 4).astype(np.uint8), "L")
    greys = np.array([9, 250, 0, 77], np.uint8)
    unused = [255, 0, 0]
    image.putpalette([*greys.repeat(3).tolist(), *unused])
    path = saved(tmp_path, image, suffix)
    assert Decoding("grey").header(path).colour == "grey"
    picture = Decoding("grey").read(path)
    np.testing.assert_array_equal(picture.levels[0], greys[RAMP % 4])
    assert picture.changes == ("palette resolved",)
    image.putpalette([9, 9, 9, 250, 250, 249, 0, 0, 0, 77, 77, 77])
    assert Decoding("grey").header(saved(tmp_path, image, suffix)).colour == "rgb"


def test_a_transparent_colour_does_not_make_a_palette_coloured(tmp_path: Path) -> None:
    image = Image.fromarray((RAMP % 4).astype(np.uint8), "L")
    image.putpalette([255, 0, 0, 9, 9, 9, 250, 250, 250, 77, 77, 77])
    path = saved(tmp_path, image, ".gif", transparency=0)
    assert Decoding("grey").header(path).colour == "grey"


def test_grey_with_alpha_of_16_bits_is_grey(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(png(2, 1, 16, 4, b"\0" + struct.pack(">HHHH", 0xFFFF, 0, 0x8000, 0xFFFF)))
    assert Decoding("grey").header(path).colour == "grey"
    picture = Decoding("grey", background=(7, 7, 7)).read(path)
    assert picture.levels.tolist() == [[[7, 128]]]
    assert "colour made grey" not in picture.changes


def test_grey_made_colour_is_said(tmp_path: Path) -> None:
    picture = Decoding("rgb").read(saved(tmp_path, Image.fromarray(RAMP)))
    np.testing.assert_array_equal(picture.levels, np.stack([RAMP] * 3))
    assert picture.changes == ("grey made colour",)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "CMYK", "I;16", "1", "L", "RGB"])
def test_large_images_are_converted_in_parts_to_the_same_levels(
    tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = Image.fromarray(RNG.integers(0, 256, (40, 30, 4), dtype=np.uint8))
    wide = RNG.integers(0, 65536, (40, 30), dtype=np.uint16)
    image = Image.fromarray(wide) if mode == "I;16" else picture.convert("RGB").convert(mode)
    if mode in ("RGBA", "LA"):
        image.putalpha(picture.getchannel("A"))
    path = saved(tmp_path, image, ".tif")
    sides = (None, (8, 8))
    decodings = [Decoding(each, size, "pad", (9, 200, 80)) for each in ("grey", "rgb") for size in sides]
    whole = [decoding.read(path) for decoding in decodings]
    sizes, laid = [], Image.alpha_composite

    def watched(ground: Image.Image, over: Image.Image) -> Image.Image:
        sizes.append(over.width * over.height)
        return laid(ground, over)

    monkeypatch.setattr(Image, "alpha_composite", watched)
    monkeypatch.setattr(pictures, "_AT_ONCE", 100)
    for decoding, expected in zip(decodings, whole, strict=True):
        found = decoding.read(path)
        np.testing.assert_array_equal(found.levels, expected.levels)
        assert (found.changes, found.highest) == (expected.changes, expected.highest)
    assert max(sizes, default=0) <= 100


@pytest.mark.parametrize("values", [[0, 300], [0, 65535], [7, 7]])
def test_the_highest_value_of_16_bits_is_known(tmp_path: Path, values: list[int]) -> None:
    wide = np.array([values])
    for suffix, kind in ((".png", np.uint16), (".tif", np.uint16), (".tif", np.int32)):
        path = saved(tmp_path, Image.fromarray(wide.astype(kind)), suffix)
        assert Decoding("grey").read(path).highest == max(values)
    path = tmp_path / "colour.png"
    path.write_bytes(png(2, 1, 16, 2, b"\0" + wide.repeat(3).astype(">u2").tobytes()))
    assert Decoding("rgb").read(path).highest == max(values) | 255
    assert Decoding("grey").read(saved(tmp_path, Image.fromarray(RAMP))).highest is None


def test_cmyk_is_converted_as_pillow_does(tmp_path: Path) -> None:
    image = Image.fromarray(COLOURS).convert("CMYK")
    picture = Decoding("rgb").read(saved(tmp_path, image, ".tif"))
    np.testing.assert_array_equal(picture.levels, np.asarray(image.convert("RGB")).transpose(2, 0, 1))
    assert picture.changes == ("CMYK converted to RGB",)


def test_of_an_animation_the_first_frame_counts(tmp_path: Path) -> None:
    frames = [Image.fromarray(RAMP), Image.fromarray(255 - RAMP)]
    path = saved(tmp_path, frames[0], ".gif", save_all=True, append_images=frames[1:])
    picture = Decoding("grey").read(path)
    np.testing.assert_array_equal(picture.levels[0], RAMP)
    assert "only the first of several frames taken" in picture.changes


@pytest.mark.parametrize(
    ("fit", "change"), [("crop", "cropped"), ("pad", "padded"), ("stretch", "stretched")]
)
def test_other_proportions_are_fitted(tmp_path: Path, fit: str, change: str) -> None:
    image = np.zeros((40, 80), np.uint8)
    image[:, 20:60] = 200  # the middle square
    picture = Decoding("grey", (8, 8), fit, (90, 90, 90)).read(saved(tmp_path, Image.fromarray(image)))
    assert picture.changes == (change,)
    middle = picture.levels[0, 4]
    if fit == "crop":
        assert (middle[1:-1] == 200).all()  # at the edge of the cut, neighbours have a share
    else:
        assert middle[3:5].tolist() == [200, 200]
        assert middle[0] == middle[-1] == 0
    top = picture.levels[0, 0]
    assert (top == 90).all() if fit == "pad" else top.max() == 200


def test_the_same_proportions_are_only_resized(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.fromarray(COLOURS.repeat(4, 0).repeat(4, 1)))
    for fit in ("crop", "pad", "stretch"):
        picture = Decoding("rgb", (12, 9), fit).read(path)
        assert picture.changes == ("resized",)
        assert picture.levels.shape == (3, 12, 9)


def hostile() -> dict[str, bytes]:
    whole = png(9, 12, 8, 0, b"".join(b"\0" + row.tobytes() for row in RAMP))
    return {
        "empty": b"",
        "text": b"<html>not found</html>",
        "cut": whole[: len(whole) // 2],
        "no pixels": whole[:50],
        "flipped": whole[:60] + bytes([whole[60] ^ 255]) + whole[61:],
        "bomb": png(60_000, 60_000, 8, 0, b"\0"),
        "big": png(20_000, 6_000, 8, 0, b"\0"),
        "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n",
    }


@pytest.mark.parametrize("what", hostile())
def test_what_is_no_whole_image_is_refused_in_one_line(tmp_path: Path, what: str) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(hostile()[what])
    with pytest.raises(UnusableImage) as error:
        Decoding("grey").read(path)
    assert "\n" not in str(error.value)
    said = {"bomb": "claims more than", "big": "claims 6000 x 20000 pixels, and at most 100,000,000"}.get(
        what, "is "
    )
    assert str(error.value).startswith(said)


def test_pixels_that_are_no_levels_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.fromarray(RAMP.astype(np.float32)), ".tif")
    with pytest.raises(UnusableImage, match="no whole numbers"):
        Decoding("grey").read(path)
    path = saved(tmp_path, Image.fromarray(RAMP.astype(np.int32) * 10**6), ".tif")
    with pytest.raises(UnusableImage, match="16 bits are the most"):
        Decoding("grey").read(path)
