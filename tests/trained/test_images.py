"""Pictures as a trained model needs them: read as those that it was trained on, or with a word."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import vae_likelihoods as vl
from vae_likelihoods.cells.cell import Cell
from vae_likelihoods.datasets.folder import ImageFolder
from vae_likelihoods.datasets.preparing import prepare
from vae_likelihoods.errors import SettingError
from vae_likelihoods.sweeps.stages import STAGES
from vae_likelihoods.trained.images import read_images

OPEN = Image.new("RGBA", (8, 8), (9, 0, 0, 0))  # shows nothing but the background


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """All that settings decide on: alpha, other proportions, 16 bits, colour; 12 files of 5 kinds."""
    folder, noise = tmp_path / "pictures", np.random.default_rng(0)
    folder.mkdir()
    for number in range(4):
        pixels = noise.integers(0, 256, (8, 8, 4), np.uint8)
        Image.fromarray(pixels).save(folder / f"alpha{number}.png")
        Image.fromarray(noise.integers(0, 256, (8, 12, 3), np.uint8)).save(folder / f"wide{number}.png")
    Image.fromarray(noise.integers(0, 256, (16, 16), np.uint8)).save(folder / "big.png")
    Image.fromarray(noise.integers(0, 2**16, (8, 8), np.uint16)).save(folder / "deep.png")
    Image.fromarray(noise.integers(0, 256, (8, 8), np.uint8)).save(folder / "plain.png")
    OPEN.save(folder / "open.png")
    return folder


def read_as_data(source: ImageFolder, raw: Path) -> np.ndarray[Any, Any]:
    source.download(raw)
    return np.asarray(source.read(raw)["train"].images)


@pytest.mark.parametrize("colour", ["grey", "rgb", "auto"])
@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize(
    "background", [(0, 0, 0), (255, 255, 255), (10, 200, 30)], ids=["black", "white", "green"]
)
def test_pictures_are_read_as_a_data_set_reads_them(
    pictures: Path, tmp_path: Path, colour: Any, fit: Any, background: tuple[int, int, int]
) -> None:
    given = {"size": 8, "colour": colour, "fit": fit, "background": background}
    source = ImageFolder("x", str(pictures), **given)
    images = read_as_data(source, tmp_path / "raw")
    named = read_images(pictures, images.shape[1:], 256, source.decoding(images.shape[1]))
    assert np.array_equal(named.levels, images)
    assert named.assumed == {}


def test_the_folder_of_a_model_says_how_its_pictures_were_read(
    pictures: Path, tmp_path: Path, small_cell: Callable[..., Cell]
) -> None:
    """From pictures over the data set and a training to a copied folder, and back to the same levels."""
    given = {"size": 8, "fit": "pad", "background": [255, 250, 0], "colour": "rgb"}
    source = ImageFolder("folder", str(pictures), **given)  # type: ignore[arg-type]
    raw, prepared = (tmp_path / "data" / kind / "folder" for kind in ("raw", "prepared"))
    images = read_as_data(source, raw)
    manifest = prepare(source, raw, prepared)
    assert "decoding" not in manifest  # it is hashed, and decides on what is trained again
    cell = small_cell(
        "dataset=folder", "likelihood=gaussian", "study=read", "training.epochs=1", root=tmp_path
    )
    STAGES["train"].perform(cell, lambda record: None)
    shutil.copytree(cell.run_folder, tmp_path / "copied")
    shutil.rmtree(tmp_path / "data")

    said = json.loads((tmp_path / "copied" / "model.json").read_text())["decoding"]
    assert said == {**given, "size": [8, 8], "sixteen_bit": "reduce"}
    model = vl.load(tmp_path / "copied", device="cpu")
    assert model.decoding == source.decoding(3)
    named = read_images(pictures, model.shape, model.levels, model.decoding)
    assert np.array_equal(named.levels, images)


def test_a_data_set_of_no_files_leaves_its_models_as_they_were(tiny_root: Path) -> None:
    """Their model.json has the bytes that it always had, and the data set no further file."""
    assert not (tiny_root / "data" / "prepared" / "digits" / "decoding.json").exists()
    for path in (tiny_root / "runs" / "tiny").glob("*/model.json"):
        assert list(json.loads(path.read_text())) == ["format", "shape", "sha256"]
        assert vl.load(path.parent, device="cpu").decoding is None


def test_what_is_assumed_is_said(pictures: Path) -> None:
    alpha, cut = "alpha laid over the colour 0,0,0", {"cropped": 4, "resized": 1}
    found = read_images(pictures, (3, 8, 8), 256).assumed
    assert found == {alpha: 5, "16 bits reduced to 8": 1, **cut}
    found = read_images(pictures, (1, 8, 8), 256).assumed
    assert found == {alpha: 5, "16 bits reduced to 8": 1, "colour made grey": 9, **cut}
    chosen = read_images(pictures, (3, 8, 8), 256, fit="pad").assumed
    assert chosen == {alpha: 5, "16 bits reduced to 8": 1, "resized": 1}
    # All images of the data set had one size, so none was fitted; the rest is known.
    as_they_are = ImageFolder("x", "y", background=[255] * 3).decoding(3)
    assert read_images(pictures, (3, 8, 8), 256, as_they_are).assumed == cut
    assert read_images(pictures / "plain.png", (3, 8, 8), 256).assumed == {}
    assert read_images(pictures / "plain.png", (1, 8, 8), 256).assumed == {}


def test_the_caller_may_choose_another_fit(pictures: Path) -> None:
    known = ImageFolder("x", "y", size=8, fit="pad", background=[1, 2, 3]).decoding(3)
    named = read_images(pictures / "wide0.png", (3, 8, 8), 256, known)
    assert named.levels[0, :, 0, 0].tolist() == [1, 2, 3]
    cut = read_images(pictures / "wide0.png", (3, 8, 8), 256, known, "crop")
    assert np.array_equal(cut.levels, read_images(pictures / "wide0.png", (3, 8, 8), 256).levels)
    assert cut.assumed == {}


def test_sixteen_bits_are_refused_if_the_data_set_refused_them(pictures: Path) -> None:
    strict = ImageFolder("x", "y", size=8, sixteen_bit="refuse").decoding(1)
    with pytest.raises(SettingError, match=r"^images=.*deep.png: has 16 bits a channel"):
        read_images(pictures / "deep.png", (1, 8, 8), 256, strict)


def test_some_of_many_are_spread_evenly(pictures: Path, tmp_path: Path) -> None:
    """From a folder and from an array; the first and the last are among them."""
    every = read_images(pictures, (1, 8, 8), 256)
    np.save(tmp_path / "all.npy", every.levels)
    for count, places in ((1, [0]), (3, [0, 5, 11]), (12, range(12)), (99, range(12))):
        some = read_images(pictures, (1, 8, 8), 256, count=count)
        assert some.names == [every.names[place] for place in places]
        assert some.there == 12
        of_array = read_images(tmp_path / "all.npy", (1, 8, 8), 256, count=count)
        assert of_array.names == [str(place) for place in places]
        for each in (some, of_array):
            assert np.array_equal(each.levels, every.levels[[*places]])


def test_damaged_files_are_refused_or_passed_over(pictures: Path) -> None:
    whole = read_images(pictures, (3, 8, 8), 256)
    (pictures / "broken.png").write_bytes((pictures / "wide0.png").read_bytes()[:60])
    (pictures / "z.jpg").write_text("no image")
    with pytest.raises(
        SettingError, match=r"broken\.png: is .*; --leave-out-damaged passes such files over\."
    ):
        read_images(pictures, (3, 8, 8), 256)
    left = read_images(pictures, (3, 8, 8), 256, leave_out=True)
    assert [*left.damaged] == ["broken.png", "z.jpg"]
    assert left.names == whole.names
    assert np.array_equal(left.levels, whole.levels)
    with pytest.raises(
        SettingError, match=r"z\.jpg: is no PNG.* damaged\.$"
    ):  # there is nothing else to read
        read_images(pictures / "z.jpg", (3, 8, 8), 256, leave_out=True)
    for path in pictures.glob("[!z]*"):
        path.unlink()
    with pytest.raises(SettingError, match=r"pictures: none of 1 files can be read"):
        read_images(pictures, (3, 8, 8), 256, leave_out=True)


def test_a_model_of_drawn_pixels_gets_drawn_pixels(tmp_path: Path) -> None:
    """Each on with probability k / 255, and the same whatever else lies in the folder."""
    for level in (0, 64, 255):
        Image.new("L", (64, 64), level).save(tmp_path / f"{level}.png")
    named = read_images(tmp_path, (1, 64, 64), 2, binarized="stochastic")
    shares = dict(zip(named.names, named.levels.mean((1, 2, 3)), strict=True))
    assert (shares["0.png"], shares["255.png"]) == (0, 1)
    assert abs(shares["64.png"] - 64 / 255) < 5 * (0.25 * 0.75 / 64**2) ** 0.5
    alone = read_images(tmp_path / "64.png", (1, 64, 64), 2, binarized="stochastic")
    assert np.array_equal(alone.levels[0], named.levels[named.names.index("64.png")])
    halved = read_images(tmp_path / "64.png", (1, 64, 64), 2)
    assert halved.levels.max() == 0


@pytest.mark.parametrize(
    "content", [np.uint8(3), {"a": np.zeros(3), "b": np.zeros(2)}], ids=["number", "npz"]
)
def test_a_file_that_is_no_array_of_images_is_one_line(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "x.npy"
    with path.open("wb") as file:
        np.savez(file, **content) if isinstance(content, dict) else np.save(file, content)
    with pytest.raises(SettingError, match="is no array of images"):
        read_images(path, (1, 8, 8), 256)
