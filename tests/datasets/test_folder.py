"""A folder of image files, from the files to the splits."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vae_likelihoods.datasets import folder as module
from vae_likelihoods.datasets import large_arrays
from vae_likelihoods.datasets.folder import ImageFolder
from vae_likelihoods.datasets.preparing import prepare
from vae_likelihoods.errors import SettingError
from vae_likelihoods.search.answering import Answering
from vae_likelihoods.search.request import Clock, Request

SHAPE = (6, 5)
Make = Callable[..., Path]


def image_of(number: int, *shape: int) -> Image.Image:
    shape = shape or SHAPE
    return Image.fromarray(np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """40 grey images 6x5 in two folders, of which one is nested, and what lies about in folders."""
    folder = tmp_path / "photos"
    for number in range(40):
        name = f"cats/{number:02}.png" if number % 2 else f"dogs/deep/er/{number:02}.PNG"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        image_of(number).save(folder / name)
    (folder / "Thumbs.db").write_bytes(b"?")
    (folder / "cats" / "._01.png").write_bytes(b"a resource fork")
    (folder / "notes.txt").write_text("hello")
    return folder


def source(photos: Path, **settings: Any) -> ImageFolder:
    return ImageFolder("photos", str(photos), **settings)


def refusal(photos: Path, raw: Path, **settings: Any) -> str:
    with pytest.raises(SettingError) as error:
        source(photos, **settings).download(raw)
    assert "\n" not in str(error.value)
    assert not raw.exists()
    return str(error.value)


def test_every_image_is_read_once_and_split(photos: Path, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    assert source(photos).download(raw) == ["images.npy", "index.json"]
    assert source(photos).download(raw) == []
    part = source(photos).read(raw)["train"]
    assert part.images.shape == (40, 1, *SHAPE)
    assert part.labels is None
    order = [*range(1, 40, 2), *range(0, 40, 2)]  # by name: cats, then dogs
    for image, number in zip(part.images, order, strict=True):
        np.testing.assert_array_equal(image[0], np.asarray(image_of(number)))
    splits = source(photos).splits(raw)
    assert {name: len(split.indices) for name, split in splits.items()} == {
        "train": 32,
        "validation": 4,
        "test": 4,
    }
    assert sorted(np.concatenate([split.indices for split in splits.values()])) == list(range(40))


def test_classes_are_folders_if_they_are_asked_for(photos: Path, tmp_path: Path) -> None:
    asked = source(photos, classes="folders")
    asked.download(tmp_path / "raw")
    labels = asked.read(tmp_path / "raw")["train"].labels
    assert labels is not None
    assert labels.tolist() == [0] * 20 + [1] * 20
    test = asked.splits(tmp_path / "raw")["test"].data.labels
    assert np.bincount(test).tolist() == [2, 2]
    image_of(99).save(photos / "loose.png")
    said = refusal(photos, tmp_path / "other", classes="folders")
    assert "classes=folders: 1 images lie in no folder of their own class, such as ['loose.png']" in said


def test_a_table_gives_classes_and_groups(photos: Path, tmp_path: Path) -> None:
    names = [path.relative_to(photos).as_posix() for path in sorted(photos.rglob("[0-9]*.*"))]
    rows = [f"{name},{int(Path(name).stem) % 3},patient {int(Path(name).stem) // 4}" for name in names]
    table = photos / "table.csv"
    table.write_text("file,class,group\n" + "\n".join(rows))
    asked = source(photos, classes="table.csv", groups=str(table), test_size=8, validation_size=8)
    asked.download(tmp_path / "raw")
    splits = asked.splits(tmp_path / "raw")
    groups = asked.read(tmp_path / "raw")["train"].groups
    assert groups is not None
    of_split = {name: set(groups[split.indices]) for name, split in splits.items()}
    assert sum(map(len, of_split.values())) == len(set(groups)) == 10
    assert {len(split.indices) for name, split in splits.items() if name != "train"} <= {4, 8, 12}
    # A table that was edited is read again.
    assert asked.download(tmp_path / "raw") == []
    table.write_text("file,class,group\n" + "\n".join(rows[::-1]) + "\nnot_there.png,0,0")
    assert asked.download(tmp_path / "raw") != []
    table.write_text("file,class,group\n" + "\n".join(rows[1:]))
    said = refusal(photos, tmp_path / "other", classes="table.csv")
    assert f"classes=table.csv: has no class of 1 of 40 images, such as ['{names[0]}']" in said
    table.write_text("name,class\n")
    assert "needs the columns file and class, has ['name', 'class']" in refusal(
        photos, tmp_path / "other", classes="table.csv"
    )


@pytest.mark.parametrize("key", ["classes", "groups"])
def test_a_table_gives_each_file_one_value(photos: Path, tmp_path: Path, key: str) -> None:
    names = [path.relative_to(photos).as_posix() for path in sorted(photos.rglob("[0-9]*.*"))]
    column = {"classes": "class", "groups": "group"}[key]
    rows = [f"{name},p{number % 20}{' ' * (number // 20)}" for number, name in enumerate(names)]
    table = photos / "table.csv"
    table.write_text(f"file, {column}\n" + "\n".join([*rows, rows[0], f" ./{names[0]} , p0"]))
    asked = source(photos, **{key: "table.csv"})
    asked.download(tmp_path / "raw")
    part = asked.read(tmp_path / "raw")["train"]
    assert len(np.unique({"classes": part.labels, "groups": part.groups}[key])) == 20
    table.write_text(f"file,{column}\n" + "\n".join([*rows, f"{names[3]},other"]))
    said = refusal(photos, tmp_path / "other", **{key: "table.csv"})
    assert said == f"{key}=table.csv: gives {names[3]} two values: p3 and other."


def test_exact_copies_stay_in_one_split(photos: Path, tmp_path: Path) -> None:
    for number in range(10):
        image_of(number).save(photos / f"copy {number}.bmp")
    for seed in range(5):
        asked = source(photos, test_size=0.3, validation_size=0.3, split_seed=seed)
        asked.download(tmp_path / "raw")
        splits = asked.splits(tmp_path / "raw")
        contents = [{image.tobytes() for image in split.data.images} for split in splits.values()]
        assert sum(map(len, contents)) == len(set.union(*contents)) == 40
        assert all(len(split.indices) >= 8 for split in splits.values())


def test_the_card_names_files_that_are_alike_and_says_which_groups_there_were(
    photos: Path, tmp_path: Path
) -> None:
    for path in photos.rglob("[0-9]*.*"):
        darker = (np.asarray(Image.open(path)) * 0.7).astype(np.uint8)
        Image.fromarray(darker).save(path.with_name(f"dark {path.stem}.png"))
    names = [path.relative_to(photos).as_posix() for path in sorted(photos.rglob("*.[pP]*"))]
    names = [name for name in names if "._" not in name]
    rows = [f"{name},{'dark' * name.startswith('dark')}{place // 2}" for place, name in enumerate(names)]
    (photos / "groups.csv").write_text("file,group\n" + "\n".join(rows))
    asked = source(photos, groups="groups.csv")
    asked.download(tmp_path / "raw")
    prepare(asked, tmp_path / "raw", tmp_path / "photos")
    text = (tmp_path / "photos" / "data_card.md").read_text(encoding="utf-8")
    assert "\n* groups: 40, the largest of 2 images; each is in one split\n" in text
    assert "give both one group; listed below" in text
    _, block, _ = text.split("```")
    pairs = [line.split("  looks like  ") for line in block.splitlines()[1:]]
    indices = {name: set(split.indices) for name, split in asked.splits(tmp_path / "raw").items()}
    assert pairs
    for pair in pairs:
        places = dict(each.split(" ", 1) for each in pair)
        assert len(places) == 2
        assert all(names.index(name) in indices[split] for split, name in places.items())
        first, second = (Path(name).stem.removeprefix("dark ") for name in places.values())
        assert first == second


def test_one_group_cannot_be_split(photos: Path, tmp_path: Path) -> None:
    names = [path.relative_to(photos).as_posix() for path in photos.rglob("[0-9]*.*")]
    (photos / "groups.csv").write_text("file,group\n" + "\n".join(f"{name},all" for name in names))
    asked = source(photos, groups="groups.csv")
    asked.download(tmp_path / "raw")
    with pytest.raises(SettingError, match=r"40 images are 1 groups, .* three splits need at least 3 groups"):
        asked.splits(tmp_path / "raw")


def test_unlike_sizes_are_refused_with_what_was_found(photos: Path, tmp_path: Path) -> None:
    image_of(50, 7, 7).save(photos / "square.png")
    said = refusal(photos, tmp_path / "raw")
    assert said.startswith("size=None: the images have 2 sizes, 6 x 5 (40), 7 x 7 (1); choose one")
    asked = source(photos, size=4)
    asked.download(tmp_path / "raw")
    assert asked.read(tmp_path / "raw")["train"].images.shape == (41, 1, 4, 4)


def test_one_image_in_colour_makes_all_so(photos: Path, tmp_path: Path) -> None:
    image_of(50, 6, 5, 3).save(photos / "colour.png")
    for colour, channels in (("auto", 3), ("grey", 1), ("rgb", 3)):
        asked = source(photos, colour=colour)
        asked.download(tmp_path / "raw")
        assert asked.read(tmp_path / "raw")["train"].images.shape == (41, channels, *SHAPE)


def test_grey_images_that_become_colour_are_counted(photos: Path, tmp_path: Path) -> None:
    image_of(50, 6, 5, 3).save(photos / "colour.png")
    asked = source(photos)
    asked.download(tmp_path / "raw")
    assert "grey made colour: 40 images" in asked.notes(tmp_path / "raw")


def test_large_images_need_a_size(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_SIDE", 5)
    said = refusal(photos, tmp_path / "raw")
    assert said.startswith("size=None: the images have 6 x 5 pixels, and a side of 5 is the most; choose")


def test_what_the_disk_has_no_room_for_is_refused_before_it_is_read(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(large_arrays.shutil, "disk_usage", lambda _: SimpleNamespace(free=40 * 30 - 1))
    monkeypatch.setattr(module, "read_all", None)
    assert "it needs 1,200 bytes on disk, and 1,199 are free" in refusal(photos, tmp_path / "raw")


def wide(folder: Path, highest: int, name: str = "wide.tif", kind: type = np.uint16) -> None:
    Image.fromarray(np.linspace(0, highest, 30).reshape(SHAPE).astype(kind)).save(folder / name)


@pytest.mark.parametrize("kind", [np.uint16, np.int32])
def test_levels_of_8_bits_in_16_are_refused(photos: Path, tmp_path: Path, kind: type) -> None:
    wide(photos, 200, kind=kind)
    said = refusal(photos, tmp_path / "raw", damaged="leave out")
    assert "wide.tif has 16 bits or more and no value above 200, as all images of so many bits" in said
    assert said.endswith("save them with 8 bits.")
    # One image with higher values shows that this one is dark, and a black one loses nothing.
    wide(photos, 65535, "bright.tif")
    source(photos).download(tmp_path / "raw")
    (photos / "bright.tif").unlink()
    wide(photos, 0, kind=kind)
    source(photos).download(tmp_path / "raw")


@pytest.mark.parametrize("name", [b"a\nb\x1b[31m.png", b"\xff\xfe.png"])
def test_names_of_any_bytes_are_shown_in_one_line(photos: Path, tmp_path: Path, name: bytes) -> None:
    (photos / os.fsdecode(name)).write_bytes(b"nonsense")
    said = refusal(photos, tmp_path / "raw")
    assert said.isprintable()
    assert repr(name)[2:-1] in said
    asked = source(photos, damaged="leave out")
    asked.download(tmp_path / "raw")
    prepare(asked, tmp_path / "raw", tmp_path / "prepared")
    card = (tmp_path / "prepared" / "data_card.md").read_text(encoding="utf-8")
    assert "\x1b" not in card
    assert "left out" in card


def test_a_damaged_file_is_named_or_left_out_if_told_so(photos: Path, tmp_path: Path) -> None:
    path = photos / "cats" / "01.png"
    path.write_bytes(path.read_bytes()[:60])
    (photos / "page.jpg").write_text("<html>")
    said = refusal(photos, tmp_path / "raw")
    assert "page.jpg is no PNG, " in said
    assert said.endswith("""; remove it, or set "dataset.damaged='leave out'".""")
    (photos / "text.jpg").write_text("<html>")
    said = refusal(photos, tmp_path / "raw")
    assert said.endswith("""; remove them, or set "dataset.damaged='leave out'".""")
    asked = source(photos, damaged="leave out")
    asked.download(tmp_path / "raw")
    part = asked.read(tmp_path / "raw")["train"]
    assert len(part.images) == len(part.groups) == 39
    numbers = {np.asarray(image_of(number)).tobytes() for number in range(40) if number != 1}
    assert {image.tobytes() for image in part.images} == numbers


def test_links_and_pipes(photos: Path, tmp_path: Path) -> None:
    (photos / "again.png").symlink_to(photos / "cats" / "01.png")
    asked = source(photos)
    asked.download(tmp_path / "raw")
    assert len(asked.read(tmp_path / "raw")["train"].images) == 41
    outside = tmp_path / "secret.png"
    image_of(0).save(outside)
    for target in (outside, tmp_path / "nowhere.png", tmp_path):
        link = photos / "link.png"
        link.symlink_to(target)
        assert "link.png is a link that leaves the folder" in refusal(photos, tmp_path / "other")
        link.unlink()
    os.mkfifo(photos / "pipe.png")
    assert "pipe.png is no regular file" in refusal(photos, tmp_path / "other")


def test_a_folder_that_changes_while_it_is_read_is_refused(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_all = module.read_all

    def and_changed(*arguments: Any) -> Any:
        result = read_all(*arguments)
        image_of(77).save(photos / "late.png")
        return result

    monkeypatch.setattr(module, "read_all", and_changed)
    assert "its files changed while they were read" in refusal(photos, tmp_path / "raw")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"size": 0}, "size=0: must be a number of pixels"),
        ({"size": [8]}, "size=[8]: must be a number of pixels"),
        ({"fit": "zoom"}, "fit=zoom: must be one of the choices. Choices: crop, pad, stretch."),
        ({"colour": "blue"}, "colour=blue: "),
        ({"background": [0, 0, 256]}, "background=(0, 0, 256): must be red, green and blue"),
        ({"classes": "names"}, "classes=names: must be one of the choices, or a .csv file"),
        ({"groups": "nope.csv"}, "groups=nope.csv: there is no such file"),
        ({"damaged": True}, "damaged=True: "),
        ({"test_size": 1.5}, "test_size=1.5: must be a number of images, 1 or more, or a share"),
        ({"native_levels": 2}, "native_levels=2: image files have 256"),
    ],
)
def test_bad_settings_are_refused(photos: Path, tmp_path: Path, settings: dict[str, Any], said: str) -> None:
    assert refusal(photos, tmp_path / "raw", **settings).startswith(said)


def test_what_is_no_folder_of_images_is_refused(photos: Path, tmp_path: Path) -> None:
    assert "there is no such folder" in refusal(tmp_path / "nope", tmp_path / "raw")
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "a.txt").touch()
    assert "no image (png, jpg, jpeg, webp, bmp, tif, tiff, gif) lies in it; it has .txt (1)" in refusal(
        empty, tmp_path / "raw"
    )
    with pytest.raises(SettingError, match=r"^path=None: must be the folder of the images"):
        ImageFolder("photos").download(tmp_path / "raw")


def test_too_few_images_are_refused_with_the_least_number(tmp_path: Path) -> None:
    folder = tmp_path / "few"
    folder.mkdir()
    for number in range(2):
        image_of(number).save(folder / f"{number}.png")
    asked = source(folder)
    asked.download(tmp_path / "raw")
    with pytest.raises(SettingError, match=r"2 images; three splits need at least 3"):
        asked.splits(tmp_path / "raw")


@pytest.mark.parametrize("word", ["damaged=skip", "groups=none.csv"])  # one is refused at once, one later
def test_an_answer_names_a_refused_setting_once(photos: Path, tmp_path: Path, word: str) -> None:
    options = [f"dataset.{word}", "tracking=none"]
    request = Request(source=photos, out=tmp_path / "out", options=options)
    with pytest.raises(SettingError, match=f"^dataset.{word}: "):
        Answering(request, Clock(5, 0), lambda _: None).prepare()


def test_an_answer_takes_the_remedy_for_a_damaged_file_as_it_is_said(photos: Path, tmp_path: Path) -> None:
    (photos / "page.jpg").write_text("<html>")
    remedy = refusal(photos, tmp_path / "raw").removesuffix(".").rpartition("set ")[2]
    (word,) = shlex.split(remedy)  # as a shell would
    request = Request(source=photos, out=tmp_path / "out", options=[word, "tracking=none"])
    answering = Answering(request, Clock(5, 0), lambda _: None)
    answering.prepare()
    assert sum(answering.card["counts"].values()) == 40


def test_damage_to_the_raw_folder_is_noticed(photos: Path, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    source(photos).download(raw)
    content = bytearray((raw / "images.npy").read_bytes())
    content[-1] ^= 1
    (raw / "images.npy").write_bytes(content)
    with pytest.raises(SettingError, match=r"damaged; run `.venv/bin/python pipelines/download.py"):
        source(photos).read(raw)
    assert source(photos).download(raw) == ["images.npy", "index.json"]
    assert len(source(photos).read(raw)["train"].images) == 40
