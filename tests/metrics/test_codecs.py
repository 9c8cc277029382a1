"""Sizes of files against files written here, and against what no lossless code can beat."""

from __future__ import annotations

import lzma
import math
from io import BytesIO
from typing import Any

import imagecodecs
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from omegaconf import OmegaConf
from PIL import Image
from sklearn.datasets import load_digits

from conftest import CONF
from metrics.given import given, measure
from vae_likelihoods.errors import SettingError
from vae_likelihoods.metrics import codecs as module
from vae_likelihoods.metrics.base import Measured
from vae_likelihoods.metrics.codecs import Codec, Codecs, grid, size, sizes, tiled

Pixels = NDArray[np.uint8]

SETTINGS: dict[str, Any] = {
    key: value
    for key, value in OmegaConf.load(CONF / "metric" / "codecs.yaml").codecs.items()
    if key != "_target_"
}
NAMES = ("png", "webp", "jpeg_ls", "jpeg_xl", "xz")
every_codec = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(autouse=True)
def _nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SIZES", {})


def measured(images: Pixels, levels: int, **changed: int) -> Measured:
    """Measure images [N, C, H, W], without a model."""
    model: Any = None
    return measure(Codecs(**{**SETTINGS, **changed}), model, given(torch.from_numpy(images), levels))


def codec(name: str, levels: int = 256) -> Codec:
    return next(each for each in Codecs(**SETTINGS).codecs(levels) if each.name == name)


def noise(levels: int, *shape: int) -> Pixels:
    return np.random.default_rng(levels).integers(levels, size=shape, dtype=np.uint8)


def smooth(levels: int, *shape: int) -> Pixels:
    """Images whose neighbours are alike."""
    steps = np.random.default_rng(levels).normal(size=shape)
    waves = 0.5 + 0.5 * np.sin(0.3 * steps.cumsum(-1).cumsum(-2))
    return np.minimum(levels * waves, levels - 1).astype(np.uint8)


def pasted(images: Pixels, columns: int, rows: int) -> Image.Image:
    """Paste images [N, C, H, W] on a black picture, by Pillow."""
    _, channels, height, width = images.shape
    picture = Image.new("L" if channels == 1 else "RGB", (columns * width, rows * height))
    for place, image in enumerate(images):
        row, column = divmod(place, columns)
        tile = Image.fromarray(image[0] if channels == 1 else image.transpose(1, 2, 0))
        picture.paste(tile, (column * width, row * height))
    return picture


def written(name: str, picture: Image.Image, levels: int) -> int:
    """Return the bytes of a file that is written here."""
    file = BytesIO()
    array = np.array(picture)
    match name:
        case "png":
            binary = levels == 2 and picture.mode == "L"
            image = picture.point([0] + 255 * [255], "1") if binary else picture
            image.save(file, "PNG", compress_level=9)
        case "webp":
            picture.convert("RGB").save(file, "WEBP", lossless=True, quality=100, method=4)
        case "jpeg_ls":
            header = 34 + 10  # two segments of SPIFF
            return len(imagecodecs.jpegls_encode(array, 0, out=8 * array.size + 1000)) - header
        case "jpeg_xl":
            file.write(imagecodecs.jpegxl_encode(array, lossless=True, effort=9))
        case "xz":
            file.write(lzma.compress(array.tobytes(), preset=9 | lzma.PRESET_EXTREME))
    return len(file.getvalue())


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("levels", [2, 5, 256])
def test_sizes_are_those_of_files_written_elsewhere(levels: int, channels: int) -> None:
    """Seven images take three rows of three; the two empty places are no pixels."""
    images = smooth(levels, 7, channels, 6, 9)
    values = measured(images, levels).values
    for name in NAMES:
        alone = sum(written(name, pasted(image[None], 1, 1), levels) for image in images)
        columns, rows = (1, 7) if name == "xz" else (3, 3)
        together = written(name, pasted(images, columns, rows), levels)
        assert values[f"{name}_bits_per_dim"] == pytest.approx(8 * alone / images.size)
        assert values[f"{name}_tiled_bits_per_dim"] == pytest.approx(8 * together / images.size)


@every_codec
@pytest.mark.parametrize("levels", [2, 3, 16, 17, 256])
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 1), (3, 3), (8, 5), (1, 1, 3), (3, 3, 3), (6, 9, 3)])
def test_a_file_gives_its_picture_back(name: str, levels: int, shape: tuple[int, ...]) -> None:
    for draw in (noise, smooth):
        picture = draw(levels, *shape)
        each = codec(name, levels)
        restored = each.decode(each.encode(picture), shape)
        assert restored.dtype == np.uint8
        np.testing.assert_array_equal(restored, picture)


@pytest.mark.parametrize("levels", [2, 7, 256])
@pytest.mark.parametrize("channels", [1, 3])
def test_noise_cannot_be_compressed(levels: int, channels: int) -> None:
    """Of K^D equally likely pictures, at most one in 2^63 has a code that saves 64 bits."""
    images = noise(levels, 40, channels, 12, 12)
    for bits in measured(images, levels).values.values():
        assert isinstance(bits, float)
        assert bits > math.log2(levels) - 64 / images.size


def test_images_of_one_colour_cost_their_headers() -> None:
    values = measured(np.full((100, 1, 28, 28), 200, np.uint8), 256).values
    for name in NAMES:
        assert 0 < values[f"{name}_tiled_bits_per_dim"] < 0.05
        assert 0.15 < values[f"{name}_bits_per_dim"] < 1


def test_digits_together_cost_less_than_alone_and_than_noise() -> None:
    images = load_digits().images[:900, None].astype(np.uint8)
    values = measured(images, 17, jpeg_xl_effort=3).values
    for name in NAMES:
        together, alone = values[f"{name}_tiled_bits_per_dim"], values[f"{name}_bits_per_dim"]
        assert 1 < together < min(alone, math.log2(17))


def test_a_png_of_two_grey_levels_has_one_bit_a_pixel() -> None:
    header = {
        (levels, shape): tuple(codec("png", levels).encode(noise(levels, *shape))[24:26])
        for levels in (2, 3)
        for shape in ((4, 4), (4, 4, 3))
    }
    grey, rgb = 0, 2
    assert header == {(2, (4, 4)): (1, grey), (3, (4, 4)): (8, grey)} | {
        (levels, (4, 4, 3)): (8, rgb) for levels in (2, 3)
    }


@pytest.mark.parametrize(
    ("side", "pixels", "pictures"),
    [
        (10**6, 10**6, [(12, 20)]),  # 11 images of 4 x 5: four to a row
        (19, 10**6, [(16, 15)]),  # three to a row
        (15, 10**6, [(12, 15), (4, 15)]),  # the last two in a picture of their own
        (5, 10**6, [(4, 5)] * 11),
        (10**6, 160, [(8, 20), (4, 20)]),
        (10**6, 1, [(4, 20)] * 3),
        (None, 1, [(44, 5)]),
    ],
)
def test_a_picture_that_would_be_too_large_is_several(
    side: int | None, pixels: int, pictures: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PIXELS", pixels)
    images = 1 + noise(200, 11, 4, 5, 1)
    found = list(tiled(images, side))
    assert [each.shape for each in found] == pictures
    tiles = [
        each[row : row + 4, column : column + 5]
        for each in found
        for row in range(0, each.shape[0], 4)
        for column in range(0, each.shape[1], 5)
    ]
    np.testing.assert_array_equal([tile for tile in tiles if tile.any()], images[..., 0])


def test_all_pictures_count() -> None:
    images = smooth(256, 11, 4, 5, 1)
    webp = codec("webp")._replace(side=15)
    pictures = [grid(images[:9], 3), grid(images[9:], 3)]
    assert sizes(webp, images)[1] == sum(len(webp.encode(picture)) for picture in pictures)


def test_webp_takes_its_longest_side_and_no_longer_one() -> None:
    webp = codec("webp")
    assert webp.side is not None
    assert size(webp, np.zeros((1, webp.side), np.uint8)) > 0
    with pytest.raises(ValueError, match="16383"):
        webp.encode(np.zeros((1, webp.side + 1), np.uint8))
    result = measured(np.zeros((2, 1, 1, webp.side + 1), np.uint8), 256)
    reason = "its pictures have up to 16383 pixels a side"
    assert result.missing == {"webp_bits_per_dim": reason, "webp_tiled_bits_per_dim": reason}


@every_codec
@pytest.mark.parametrize("rows", [4, 12], ids=["alone", "tiled"])
def test_a_codec_that_loses_something_is_an_error(name: str, rows: int) -> None:
    """One level, of a picture of so many rows."""
    whole = codec(name)

    def encode(picture: Pixels) -> bytes:
        return whole.encode(picture ^ (np.arange(picture.size) == 0).reshape(picture.shape))

    images = noise(256, 9, 4, 4, 1)
    lossy = whole._replace(encode=lambda p: (encode if len(p) == rows else whole.encode)(p), side=100)
    with pytest.raises(RuntimeError, match=f"^{whole.words} is not lossless"):
        sizes(lossy, images)


def test_a_grey_picture_that_comes_back_in_colour_is_an_error() -> None:
    picture = noise(256, 6, 6)
    colour = np.stack([picture, picture, picture ^ 1], -1)
    webp = codec("webp")
    with pytest.raises(RuntimeError, match="WebP is not lossless"):
        size(webp._replace(encode=lambda _: webp.encode(colour)), picture)


@pytest.mark.parametrize("channels", [2, 4])
def test_pictures_have_one_or_three_channels(channels: int) -> None:
    images = smooth(256, 4, channels, 5, 5)
    result = measured(images, 256)
    assert set(result.missing.values()) == {f"its pictures have 1 or 3 channels, not {channels}"}
    content = images.transpose(0, 2, 3, 1).tobytes()
    bits = 8 * len(lzma.compress(content, preset=9 | lzma.PRESET_EXTREME)) / images.size
    assert result.values["xz_tiled_bits_per_dim"] == pytest.approx(bits)
    assert result.values.keys() == {"xz_bits_per_dim", "xz_tiled_bits_per_dim"}


def test_the_same_images_are_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    images, calls = smooth(2, 4, 1, 6, 4), []

    def counted(each: Codec, content: Pixels) -> tuple[int, int]:
        calls.append(each.name)
        return sizes(each, content)

    monkeypatch.setattr(module, "sizes", counted)
    first = measured(images, 2)
    assert measured(images, 2) == first
    assert calls == list(NAMES)
    for other, levels, changed in (
        (images, 3, {}),
        (images.reshape(4, 1, 4, 6), 2, {}),
        (1 - images, 2, {}),
        (images, 2, {"png_level": 1}),
    ):
        calls.clear()
        measured(other, levels, **changed)
        assert calls == list(NAMES)


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("png_level", 10, "0 to 9"),
        ("webp_method", 7, "0 to 6"),
        ("webp_quality", 99.5, "0 to 100"),
        ("jpeg_xl_effort", 0, "1 to 10"),
        ("xz_preset", True, "0 to 9"),
    ],
)
def test_efforts_that_do_not_exist_are_refused(key: str, value: Any, reason: str) -> None:
    with pytest.raises(SettingError) as caught:
        Codecs(**{**SETTINGS, key: value})
    assert str(caught.value) == f"{key}={value}: must be a whole number, {reason}."
