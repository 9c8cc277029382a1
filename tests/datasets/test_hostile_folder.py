"""One folder with everything that people's folders have, and what may be put there on purpose."""

from __future__ import annotations

import json
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image

from vae_likelihoods.datasets.base import build
from vae_likelihoods.datasets.preparing import prepare
from vae_likelihoods.errors import SettingError
from vae_likelihoods.files import PROJECT

ODD = "<script>alert(1)</script> [x](y) `z`"


def png_that_claims(width: int, height: int) -> bytes:
    """Return a PNG of a few bytes whose header says how large it is."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """Forty plain pictures in two classes, and one of every odd kind."""
    folder, noise = tmp_path / "photos", np.random.default_rng(0)
    odd = folder / ODD.replace("/", "_")
    for place in (folder / "plain", odd):
        place.mkdir(parents=True)
    for number in range(40):
        pixels = noise.integers(0, 256, (12, 12, 3), np.uint8)
        Image.fromarray(pixels).save((folder / "plain" if number % 2 else odd) / f"{number}.png")
    picture = Image.fromarray(noise.integers(0, 256, (12, 20, 3), np.uint8))
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(odd / "turned.jpg", exif=exif)
    picture.convert("P", palette=Image.Palette.ADAPTIVE).save(odd / "palette.gif")
    picture.convert("CMYK").save(odd / "print.jpg")
    faded = picture.copy()
    faded.putalpha(100)
    faded.save(odd / "alpha.png")
    Image.fromarray(noise.integers(0, 2**16, (12, 12)).astype(np.uint16)).save(odd / "sixteen.png")
    picture.save(odd / "moving.gif", save_all=True, append_images=[picture.rotate(180)])
    (folder / "plain" / "copy.png").write_bytes((folder / "plain" / "1.png").read_bytes())
    (folder / "plain" / "note.txt").write_text("no image")
    (folder / ".hidden.png").write_text("no image")
    return folder


def prepared(folder: Path, tmp_path: Path, **settings: object) -> dict[str, object]:
    config = OmegaConf.load(PROJECT / "conf" / "dataset" / "folder.yaml")
    source = build(
        OmegaConf.merge(config, {"path": str(folder), "size": 8, "classes": "folders", **settings})
    )
    raw, target = tmp_path / "raw", tmp_path / "prepared"
    raw.mkdir(exist_ok=True)
    source.download(raw)
    prepare(source, raw, target)
    card: dict[str, object] = json.loads((target / "data_card.json").read_text())
    return card


def test_every_odd_kind_has_its_line_in_the_card(hostile: Path, tmp_path: Path) -> None:
    (hostile / "plain" / "torn.png").write_bytes((hostile / "plain" / "3.png").read_bytes()[:100])
    card = prepared(hostile, tmp_path, damaged="leave out")
    notes = "\n".join(card["notes"])  # type: ignore[arg-type]
    for words in ("EXIF", "palette", "CMYK", "alpha", "16", "first", "plain/torn.png", "files .txt"):
        assert words.lower() in notes.lower(), f"{words} in {notes}"
    counts = card["counts"]
    assert isinstance(counts, dict)
    assert sum(counts.values()) == 40 + 6 + 1
    text = (tmp_path / "prepared" / "data_card.md").read_text()
    assert "<script>" not in text
    assert "[x](y)" not in text
    assert "`z`" not in text


REFUSED = {
    "torn.png": lambda folder: (folder / "torn.png").write_bytes((folder / "3.png").read_bytes()[:100]),
    "bomb.png": lambda folder: (folder / "bomb.png").write_bytes(png_that_claims(60_000, 60_000)),
    "away.png": lambda folder: (folder / "away.png").symlink_to("/etc/hostname"),
    "elsewhere": lambda folder: (folder / "elsewhere").symlink_to("/etc"),
    "pipe.png": lambda folder: os.mkfifo(folder / "pipe.png"),
    "named.png": lambda folder: (folder / "named.png").write_text("<html>"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_dangerous_or_damaged_is_named_in_one_line(hostile: Path, tmp_path: Path, name: str) -> None:
    REFUSED[name](hostile / "plain")
    with pytest.raises(SettingError) as refused:
        prepared(hostile, tmp_path)
    assert f"plain/{name}" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "prepared").exists()
    assert not list((tmp_path / "raw").iterdir())


def test_what_leaves_the_folder_is_refused_even_if_damaged_files_are_left_out(
    hostile: Path, tmp_path: Path
) -> None:
    REFUSED["away.png"](hostile / "plain")
    with pytest.raises(SettingError, match=r"plain/away\.png"):
        prepared(hostile, tmp_path, damaged="leave out")
