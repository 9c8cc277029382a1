"""The commands that use a trained model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vae_likelihoods as vl
from vae_likelihoods.cli.app import main
from vae_likelihoods.files import read_csv

MODEL = "runs/tiny/gaussian-2-0"


@pytest.fixture
def images(tiny_root: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """A folder `pictures` of five images in the root, where the commands are given; their levels."""
    monkeypatch.chdir(tiny_root)
    levels = np.load("data/prepared/digits/test_images.npy")[:5]
    Path("pictures/deep").mkdir(parents=True)
    for place, image in enumerate(levels[:, 0]):
        big = (image * 15).repeat(3, 0).repeat(3, 1)  # of 256 levels: floor(15 k * 17 / 256) is k, or k - 1
        Image.fromarray(big).save(f"pictures/{'deep/' if place > 2 else ''}{place}.png")
    np.save("levels.npy", levels)
    np.save("flat.npy", levels[:, 0])
    return levels


def test_scores_are_those_of_the_model(images: np.ndarray, capsys: pytest.CaptureFixture[str]) -> None:
    expected = vl.load(MODEL, device="cpu").bits_per_dim(images, samples=4)
    for given in ("levels.npy", "flat.npy"):
        assert main(["score", MODEL, given, "--samples", "4", "--device", "cpu"]) == 0
        rows = read_csv(Path("scores.csv"))
        assert [float(row["bits_per_dim"]) for row in rows] == [float(f"{bits:.9g}") for bits in expected]
        assert [row["image"] for row in rows] == ["0", "1", "2", "3", "4"]
    assert f"{expected.mean():.4f} bits/dim, mean over 5 images, k = 4" in capsys.readouterr().out


def test_image_files_get_the_size_and_levels_of_the_model(images: np.ndarray) -> None:
    assert main(["encode", MODEL, "pictures", "--out", "z.csv", "--device", "cpu"]) == 0
    rows = read_csv(Path("z.csv"))
    assert [row["image"] for row in rows] == ["0.png", "1.png", "2.png", "deep/3.png", "deep/4.png"]
    assert set(rows[0]) == {"image", "z0", "z1"}
    assert main(["encode", MODEL, "levels.npy", "--out", "z.npz", "--device", "cpu"]) == 0
    stored = np.load("z.npz")
    latents = vl.load(MODEL, device="cpu").encode(images)
    assert np.array_equal(stored["mean"], latents.mean)
    assert np.array_equal(stored["stddev"], latents.stddev)


def test_what_a_model_does_not_know_of_pictures_is_one_line(
    images: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("LA", (9, 12), (5, 0)).save("pictures/open.png")
    unknown = (
        "the model does not say how to read such images; assumed: alpha laid over the colour 0,0,0 (1 of 6)"
    )
    for command in ("encode", "score", "reconstruct"):
        assert main([command, MODEL, "pictures", "--device", "cpu"]) == 0
        said = capsys.readouterr().err
        assert said == f"{command}: {unknown}, cropped (1 of 6), resized (5 of 6)\n"
    assert main(["encode", MODEL, "levels.npy", "--device", "cpu"]) == 0
    assert capsys.readouterr().err == ""


def test_pictures_are_read_as_the_folder_of_the_model_says(
    images: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same file scores as what it shows, over the background that the data set had."""
    path = Path(MODEL, "model.json")
    said = {"colour": "grey", "size": [8, 8], "fit": "pad", "background": [255] * 3, "sixteen_bit": "reduce"}
    path.write_text(json.dumps({**json.loads(path.read_text()), "decoding": said}))
    Image.new("LA", (4, 8), (5, 0)).save("open.png")
    Image.new("L", (8, 8), 255).save("white.png")
    written = []
    for picture in ("open.png", "white.png"):
        assert main(["score", MODEL, picture, "--samples", "4", "--device", "cpu"]) == 0
        written.append(read_csv(Path("scores.csv"))[0]["bits_per_dim"])
    assert written[0] == written[1]
    assert capsys.readouterr().err == ""


def test_samples_are_levels_or_a_picture(images: np.ndarray) -> None:
    assert main(["sample", MODEL, "--count", "10", "--seed", "3", "--out", "s.npy"]) == 0
    assert np.array_equal(np.load("s.npy"), vl.load(MODEL).sample(10, seed=3))
    assert main(["sample", MODEL, "--count", "10", "--out", "s.png"]) == 0
    with Image.open("s.png") as picture:
        assert picture.size == (2 * (8 * 10 - 2), 2 * (2 * 10 - 2))


def test_samples_may_be_decoder_means(images: np.ndarray) -> None:
    means = vl.load(MODEL).sample(1, seed=3, mean=True)
    assert main(["sample", MODEL, "--count", "1", "--seed", "3", "--mean", "--out", "s.npy"]) == 0
    assert np.array_equal(np.load("s.npy"), means)
    assert main(["sample", MODEL, "--count", "1", "--seed", "3", "--mean", "--out", "s.png"]) == 0
    with Image.open("s.png") as picture:
        assert np.array_equal(np.asarray(picture)[::2, ::2], (means[0, 0] * 255).round())


def test_many_pictures_are_shown_by_some_of_them(
    images: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    many = images[np.arange(70) % 5]
    np.save("many.npy", many)
    assert main(["reconstruct", MODEL, "many.npy", "--out", "r.png"]) == 0
    said = "64 of 70 images, evenly spread; --count says how many"
    assert capsys.readouterr().err == f"reconstruct: {said}\n"
    with Image.open("r.png") as picture:
        assert picture.size == (2 * (8 * 10 - 2), 2 * (16 * 10 - 2))
    assert main(["reconstruct", MODEL, "many.npy", "--out", "r.npy"]) == 0
    assert len(np.load("r.npy")) == 70
    assert main(["reconstruct", MODEL, "many.npy", "--count", "2", "--out", "r.npy"]) == 0
    assert np.allclose(np.load("r.npy"), vl.load(MODEL).reconstruct(many[[0, 69]]))
    assert capsys.readouterr().err == ""


def test_damaged_files_are_passed_over_with_a_word(
    images: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(4):
        Path(f"pictures/bad{number}.png").write_text("no image")
    for command in ("score", "encode", "reconstruct"):
        assert main([command, MODEL, "pictures", "--device", "cpu"]) == 1
        assert "--leave-out-damaged" in capsys.readouterr().err
        assert main([command, MODEL, "pictures", "--leave-out-damaged", "--device", "cpu"]) == 0
        *_, line = capsys.readouterr().err.splitlines()
        assert line.startswith(f"{command}: left out 4 of 9 files: bad0.png is no PNG")
        assert line.count("bad") == 3
        assert line.endswith("; ...")
    assert len(read_csv(Path("scores.csv"))) == len(read_csv(Path("latents.csv"))) == 5


def test_reconstructions_are_points_or_pairs(images: np.ndarray) -> None:
    assert main(["reconstruct", MODEL, "levels.npy", "--out", "r.npy"]) == 0
    assert np.allclose(np.load("r.npy"), vl.load(MODEL).reconstruct(images))
    assert main(["reconstruct", MODEL, "pictures/1.png", "--out", "r.png"]) == 0
    with Image.open("r.png") as picture:
        assert picture.size == (2 * (2 * 10 - 2), 2 * 8)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["score", MODEL, "nosuch"], "images=nosuch: there is no such file or folder."),
        (["score", "nosuch", "levels.npy"], "source=nosuch: there is no such folder, and no evaluated study"),
        (["score", "runs/tiny/nosuch", "levels.npy"], "there is no such folder"),
        (["encode", MODEL, "levels.npy", "--out", "z.txt"], "--out=z.txt: must end with .csv or .npz."),
        (["sample", MODEL, "--out", "s.jpg"], "--out=s.jpg: must end with .png or .npy."),
        (["reconstruct", MODEL, "pictures", "--fit", "no"], "--fit=no: is none."),
        (["score", MODEL, "params.yaml"], "params.yaml"),
        (["score", MODEL, "wide.npy"], "images=shape [1, 1, 9, 9]: images [N, 1, 8, 8] are needed."),
        (["score", MODEL, "bright.npy"], "17"),
        (["score", MODEL, "bad.npy"], "images=bad.npy: is no array that can be read"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_is_one_line_and_leaves_nothing(
    images: np.ndarray, words: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save("wide.npy", np.zeros((1, 1, 9, 9), np.uint8))
    np.save("bright.npy", np.full((1, 1, 8, 8), 200, np.uint8))
    Path("bad.npy").write_bytes(b"\x93NUMPY\x01\x00")
    before = set(Path().iterdir())
    assert main(words) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{words[0]}: ")
    assert reason in line
    assert set(Path().iterdir()) == before
