"""A folder of image files as a data set."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from vae_likelihoods.datasets.arrays import LabelledArrays
from vae_likelihoods.datasets.base import KEY, Source
from vae_likelihoods.datasets.facts import is_table, of_folders, of_table, table_path
from vae_likelihoods.datasets.grouping import digests, in_words, joined, numbered
from vae_likelihoods.datasets.large_arrays import require_room
from vae_likelihoods.datasets.listing import SHOWN, Found, list_images, most_common
from vae_likelihoods.datasets.pictures import Colour, Decoding, Fit, Header, SixteenBit, UnusableImage
from vae_likelihoods.datasets.reading import read_all
from vae_likelihoods.errors import SettingError, require
from vae_likelihoods.files import folder_aside, sha256, shown, write_json

Damaged = Literal["refuse", "leave out"]

_IMAGES, _INDEX = "images.npy", "index.json"
_MOST_SIDE = 4096  # pixels
_READING = 2  # counts up when the same files give other levels
_NO_PATH = "must be the folder of the images, such as dataset.path=/photos"


class ImageFolder(Source):
    """All PNG, JPEG, WebP, BMP, TIFF and GIF files (first frame) of a folder, at any depth, as 256 levels.

    `download` reads them into one array in the raw folder; `read` opens that. Exact copies, and images of one
    group, stay in one split. Hidden files are passed over.

    Args:
        name: name of the data set.
        path: the folder; None is refused when it is needed.
        native_levels: 256, what image files have.
        size: height and width of every image, or one number for both; None: all must have the same.
        fit: how images of other proportions get that size (`Decoding`).
        colour: ``grey``, ``rgb`` or ``auto``: in colour if any image is stored so.
        background: the colour, 0 .. 255 each, that shows through alpha and that pads.
        sixteen_bit: ``reduce`` or ``refuse`` (`Decoding`).
        classes: ``none``; ``folders``, the first below `path`; or a CSV with the columns file and class.
        groups: a CSV with the columns file and group; None: images belong to no group.
        damaged: ``refuse`` or ``leave out`` files that cannot be read.
        validation_size: images cut for validation, or their share.
        test_size: images cut for the test split, or their share.
        split_seed: seed of the cuts.

    Raises:
        SettingError: a value is refused.
    """

    def __init__(
        self,
        name: str,
        path: str | None = None,
        native_levels: int = 256,
        size: int | Sequence[int] | None = None,
        fit: Fit = "crop",
        colour: Colour | Literal["auto"] = "auto",
        background: Sequence[int] = (0, 0, 0),
        sixteen_bit: SixteenBit = "reduce",
        classes: str = "none",
        groups: str | None = None,
        damaged: Damaged = "refuse",
        validation_size: float = 0.1,
        test_size: float = 0.1,
        split_seed: int = 0,
    ) -> None:
        super().__init__(name, native_levels, validation_size, test_size, split_seed)
        require(native_levels == 256, "native_levels", native_levels, "image files have 256")
        require(path is None or isinstance(path, str), "path", path, _NO_PATH)
        _require_choice("colour", colour, [*get_args(Colour), "auto"])
        _require_choice("damaged", damaged, get_args(Damaged))
        if classes not in ("none", "folders"):
            _require_table("classes", classes, ["none", "folders"])
        if groups is not None:
            _require_table("groups", groups)
        self.given, self.size, self.fit, self.colour = path, _size(size), fit, colour
        self.background, self.sixteen_bit, self.damaged = tuple(background), sixteen_bit, damaged
        self.classes, self.groups = classes, groups
        self.cut_by = "" if groups is None else "groups"
        self.decoding(3)  # refuses what it cannot do

    @property
    def path(self) -> Path:
        """The folder of the images.

        Raises:
            SettingError: it is not given.
        """
        require(bool(self.given), "path", self.given, _NO_PATH)
        return Path(str(self.given)).expanduser().absolute()

    def download(self, folder: Path) -> list[str]:
        """Read the images into `folder` unless they are there; return the names of the files written.

        Raises:
            SettingError: an image cannot be read, sizes differ, a table does not fit, or the folder changed.
        """
        listing, left_out = list_images(self.path), dict[str, str]()
        asked = {"settings": self._settings(), "listing": listing.sha256, "tables": self._tables()}
        if self._index(folder, asked) is not None:
            return []
        headers = {file.name: header for file in listing.files if (header := self._header(file, left_out))}
        self._refuse_damaged(left_out)
        shape = self._shape(headers)
        names = list(headers)
        require_room("path", self.path, folder, len(names) * math.prod(shape))
        facts = {"class": self._classes_of(names), "group": self._groups_of(names)}
        with folder_aside(folder) as aside:
            decoding = self.decoding(shape[0])
            kept, changes = read_all(self.path, names, decoding, shape, aside / _IMAGES, left_out)
            self._refuse_damaged(left_out)
            if list_images(self.path) != listing:
                reason = "its files changed while they were read; try again"
                raise SettingError("path", self.path, reason)
            index = {
                **asked,
                "images_sha256": sha256(aside / _IMAGES),
                "changes": dict(sorted(changes.items())),
                "left_out": left_out,
                "no_images": dict(sorted(listing.others.items())),
                "files": [shown(names[place]) for place in kept],
                **{what: [each[place] for place in kept] for what, each in facts.items() if each is not None},
            }
            write_json(aside / _INDEX, index)
        return [_IMAGES, _INDEX]

    def read(self, folder: Path) -> dict[str, LabelledArrays]:
        """Open what `download` wrote; images are mapped from the file, not read.

        Raises:
            SettingError: it is missing or damaged.
        """
        index = self._index(folder)
        if index is None:
            reason = f"{folder} has not what was read from {self.path}, or it is damaged"
            raise self.not_downloaded(reason)
        images = np.load(folder / _IMAGES, mmap_mode="r", allow_pickle=False)
        together = [numbered(digests(images))]
        if "group" in index:
            together.append(numbered(index["group"]))
        labels = numbered(index["class"]) if "class" in index else None
        return {"train": LabelledArrays(images, labels, joined(*together), index["files"])}

    def notes(self, folder: Path) -> list[str]:
        """Return how many images were changed how, what was left out, the classes, and the groups."""
        index = self._index(folder) or {}
        changed = [f"{what}: {count:,} images" for what, count in index.get("changes", {}).items()]
        left = [f"left out: {name} {reason}" for name, reason in index.get("left_out", {}).items()]
        others = [
            f"passed over: {count:,} files {suffix}" for suffix, count in index.get("no_images", {}).items()
        ]
        names = [shown(name) for name in sorted(set(index.get("class", [])))]
        numbers = ", ".join(f"{number} {name}" for number, name in enumerate(names[:100]))
        classes = [f"classes: {numbers}{', ...' * (len(names) > 100)}"] if names else []
        groups = [in_words(index["group"])] if "group" in index else []
        return [*changed, *left[:100], *others, *classes, *groups]

    def decoding(self, channels: int) -> Decoding:
        """Return how the files become images of 1 or 3 channels."""
        colour: Colour = "rgb" if channels == 3 else "grey"
        return Decoding(colour, self.size, self.fit, self.background, self.sixteen_bit)  # type: ignore[arg-type]

    def _header(self, file: Found, left_out: dict[str, str]) -> Header | None:
        try:
            return self.decoding(3).header(self.path / file.name)
        except UnusableImage as error:
            left_out[shown(file.name)] = str(error)
            return None

    def _refuse_damaged(self, left_out: Mapping[str, str]) -> None:
        if not left_out or self.damaged == "leave out":
            return
        named = "; ".join(f"{name} {reason}" for name, reason in list(left_out.items())[:SHOWN])
        more = f"; and {len(left_out) - SHOWN} more" if len(left_out) > SHOWN else ""
        them = "them" if len(left_out) > 1 else "it"
        remedy = f"; remove {them}, or set \"{KEY}.damaged='leave out'\""  # as a shell takes it
        raise SettingError("path", self.path, f"{named}{more}{remedy}")

    def _shape(self, headers: Mapping[str, Header]) -> tuple[int, int, int]:
        """Return channels, height and width of all images."""
        require(bool(headers), "path", self.path, "no image in it can be read")
        sizes = Counter(f"{each.height} x {each.width}" for each in headers.values())
        reason = f"the images have {len(sizes)} sizes, {most_common(sizes)}; choose one, such as size=32"
        require(self.size is not None or len(sizes) == 1, "size", None, reason)
        first = next(iter(headers.values()))
        height, width = self.size or (first.height, first.width)
        reason = f"the images have {height} x {width} pixels, and a side of {_MOST_SIDE} is the most"
        require(max(height, width) <= _MOST_SIDE, "size", None, f"{reason}; choose a size, such as size=32")
        any_colour = any(each.colour == "rgb" for each in headers.values())
        in_colour = any_colour if self.colour == "auto" else self.colour == "rgb"
        return 3 if in_colour else 1, height, width

    def _classes_of(self, names: Sequence[str]) -> list[str] | None:
        if self.classes == "none":
            return None
        if self.classes == "folders":
            return of_folders("classes", names)
        return of_table("classes", self.classes, "class", self.path, names)

    def _groups_of(self, names: Sequence[str]) -> list[str] | None:
        return None if self.groups is None else of_table("groups", self.groups, "group", self.path, names)

    def _tables(self) -> dict[str, str]:
        """Return the hash of each CSV that is read."""
        tables = {"classes": self.classes, "groups": self.groups}
        return {
            key: sha256(table_path(key, table, self.path))
            for key, table in tables.items()
            if table is not None and is_table(table)
        }

    def _settings(self) -> dict[str, Any]:
        """Return what decides the bytes that `download` writes."""
        settings = {
            "path": str(self.path),
            "size": self.size,
            "fit": self.fit,
            "colour": self.colour,
            "background": self.background,
            "sixteen_bit": self.sixteen_bit,
            "classes": self.classes,
            "groups": self.groups,
            "damaged": self.damaged,
            "reading": _READING,
        }
        plain: dict[str, Any] = json.loads(json.dumps(settings))
        return plain

    def _index(self, folder: Path, asked: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
        """Return the index of a raw folder; None if it is not whole, or not of what is `asked`."""
        try:
            index: dict[str, Any] = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
            asked = asked or {"settings": self._settings()}
            whole = all(index[key] == value for key, value in asked.items())
            whole = whole and sha256(folder / _IMAGES) == index["images_sha256"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return index if whole else None


def _size(size: Any) -> tuple[int, int] | None:
    """Return height and width, from one number for both, or two."""
    if size is None:
        return None
    sides = [size, size] if type(size) is int else size
    valid = isinstance(sides, Sequence) and len(sides) == 2 and all(type(side) is int for side in sides)
    valid = valid and all(1 <= side <= _MOST_SIDE for side in sides)
    require(valid, "size", size, f"must be a number of pixels, 1 .. {_MOST_SIDE}, or [height,width]")
    return sides[0], sides[1]


def _require_choice(key: str, value: Any, choices: Sequence[str]) -> None:
    require(value in choices, key, value, "must be one of the choices", choices)


def _require_table(key: str, value: Any, choices: Sequence[str] = ()) -> None:
    reason = "must be a .csv file" if not choices else "must be one of the choices, or a .csv file"
    require(is_table(value), key, value, reason, choices)
