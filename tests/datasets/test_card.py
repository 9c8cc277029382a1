"""The data card and near copies, against data whose facts are known."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from vae_likelihoods.datasets import card as card_module
from vae_likelihoods.datasets import near_copies as near_copies_module
from vae_likelihoods.datasets.arrays import LabelledArrays, Split
from vae_likelihoods.datasets.card import Card, escaped
from vae_likelihoods.datasets.near_copies import near_copies

RNG = np.random.default_rng(0)


def smooth(count: int, side: int = 24, channels: int = 3) -> np.ndarray:
    """Images that look like something: a few blurred spots each."""
    coarse = RNG.integers(0, 256, (count, channels, 4, 4), dtype=np.uint8)
    sized = [
        [np.asarray(Image.fromarray(plane).resize((side, side), Image.Resampling.BICUBIC)) for plane in image]
        for image in coarse
    ]
    return np.array(sized, np.uint8)


def splits(**images: np.ndarray) -> dict[str, Split]:
    return {
        name: Split(LabelledArrays(each, None), "train", np.arange(len(each)))
        for name, each in images.items()
    }


@pytest.mark.parametrize("at_once", [2**24, 64, 1])
def test_counts_are_those_of_the_whole_arrays(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(card_module, "_AT_ONCE", at_once)
    train = RNG.integers(0, 5, (30, 1, 3, 4), dtype=np.uint8)
    train[:, 0, 1] = 4  # a row of four constant pixels
    test, validation = (RNG.integers(0, 5, (6, 1, 3, 4), dtype=np.uint8) for _ in range(2))
    train[7], test[3], test[4] = train[2], train[2], test[5]
    card = Card.of("tiny", 6, splits(train=train, validation=validation, test=test))
    whole = np.concatenate([train, validation, test])
    assert card.level_counts == np.bincount(whole.ravel(), minlength=6).tolist()
    assert card.distinct_levels == 5
    assert card.at_the_ends == (np.mean(whole == 0), 0)
    assert (card.nearly_constant, card.pixels) == (4, 12)
    assert (card.repeated, card.repeated_in) == (1, {"test": 1})
    assert "| copies within test | 1 |" in card.text()
    overlaps = {(each.later, each.earlier): each.copies for each in card.overlaps}
    assert overlaps == {("validation", "train"): 0, ("test", "train"): 1, ("test", "validation"): 0}


def test_what_is_seldom_is_not_in_the_facts_of_other_sets() -> None:
    seldom = {"repeated_in", "asked", "equal_channels"}
    parts = splits(train=smooth(9), validation=smooth(5), test=smooth(5))
    assert not seldom & set(Card.of("plain", 256, parts).facts())
    grey = {
        name: Split(LabelledArrays(np.zeros((9, 3, 8, 8), np.uint8), None), "train", np.arange(9), asked=5)
        for name in parts
    }
    facts = Card.of("odd", 256, grey).facts()
    assert facts["repeated_in"] == {"validation": 8, "test": 8}
    assert facts["asked"] == dict.fromkeys(parts, 5)
    assert facts["equal_channels"] is True


def changed(image: np.ndarray, how: str) -> np.ndarray:
    if how == "jpeg":
        buffer = io.BytesIO()
        Image.fromarray(image.transpose(1, 2, 0)).save(buffer, "JPEG", quality=90)
        return np.asarray(Image.open(buffer)).transpose(2, 0, 1)
    if how == "darker":
        return (image * 0.7).astype(np.uint8)
    if how == "noise":
        return np.clip(image + RNG.normal(0, 5, image.shape), 0, 255).astype(np.uint8)
    sized = Image.fromarray(image.transpose(1, 2, 0)).resize((12, 12)).resize((24, 24))
    return np.asarray(sized).transpose(2, 0, 1)


@pytest.mark.parametrize("how", ["jpeg", "darker", "noise", "scaled"])
def test_near_copies_are_found_and_others_are_not(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    images = smooth(200)
    copied = np.stack([changed(image, how) for image in images[:20]])
    images = images[::-1].copy()
    for others in (2**14, 64):
        monkeypatch.setattr(near_copies_module, "_OTHERS", others)
        found = near_copies(copied, images, 256)
        assert (found == 199 - np.arange(20)).mean() > 0.9
        assert set(found) <= {-1, *range(180, 200)}
        assert (near_copies(smooth(200), images, 256) == -1).all()
        flat = np.full((5, 3, 24, 24), 90, np.uint8)
        assert (near_copies(flat, flat, 256) == -1).all()


def test_near_copies_and_odd_levels_are_warned_of_with_what_to_do() -> None:
    images = smooth(60)
    again = np.stack([changed(image, "jpeg") for image in images[:3]])
    card = Card.of("photos", 256, splits(train=images, validation=smooth(20), test=again))
    (warning,) = card.oddities()
    assert "near copies" in warning
    assert "3 of 3 of test and train" in warning
    assert "remove them, or say what belongs together (groups)" in warning
    assert "| test in train too | 0 copies, 3 near copies (of 3 compared) |" in card.text()
    assert "data_card.md" not in warning  # images without names cannot be listed
    assert not {"pairs", "cut_by"} & set(card.facts())


def named(images: np.ndarray, names: list[str], places: np.ndarray | None = None) -> Split:
    indices = np.arange(len(images)) if places is None else places
    return Split(LabelledArrays(images, None, names=names), "train", indices, places)


def test_images_that_are_alike_in_two_splits_are_listed_by_their_names() -> None:
    images = smooth(60)
    again = np.stack([images[4], changed(images[1], "jpeg"), smooth(1)[0], changed(images[0], "jpeg")])
    names = [f"a/{number}.png" for number in range(60)]
    parts = {
        "train": named(images, names, np.arange(30)[::-1]),
        "validation": named(images, names, np.arange(30, 60)),
        "test": named(again, ["copy.png", "<b>\n_1_.jpg", "new.jpg", "near.jpg"], np.array([3, 2, 1, 0])),
    }
    card = Card.of("photos", 256, parts)
    exact, near = card.oddities()
    assert exact.endswith("are in train too: remove repeated images from the source; see data_card.md")
    assert near.endswith("say what belongs together (groups); see data_card.md")
    lines = """(1 of 1 copies, 2 of 2 near copies):

```text
test copy.png  is a copy of  train a/4.png
test \\x3cb>\\n_1_.jpg  looks like  train a/1.png
test near.jpg  looks like  train a/0.png
```
"""
    assert lines in card.text()
    assert card.facts()["pairs"][2] == {
        "later": "test",
        "image": "near.jpg",
        "earlier": "train",
        "like": "a/0.png",
        "exact": False,
    }


def test_no_more_than_twenty_pairs_of_a_kind_are_listed() -> None:
    images = smooth(60)
    near = np.stack([changed(image, "darker") for image in images[:25]])
    names = [str(number) for number in range(60)]
    card = Card.of(
        "photos",
        256,
        {"train": named(images, names), "validation": named(near, names), "test": named(images[:40], names)},
    )
    copies, alike = (sum(getattr(each, kind) for each in card.overlaps) for kind in ("copies", "near"))
    assert copies == 40
    assert alike > 40
    assert f"(20 of 40 copies, 20 of {alike} near copies)" in card.text()
    assert [pair.exact for pair in card.pairs] == [True] * 20 + [False] * 20


@pytest.mark.parametrize(
    ("cut_by", "advice"),
    [
        ("groups", "the groups that were given do not join them: remove them, or give both one group"),
        ("splits", "the splits that were given part them: remove them, or put both into one split"),
    ],
)
def test_the_advice_fits_what_was_given(cut_by: str, advice: str) -> None:
    images = smooth(9)
    near = np.stack([changed(image, "darker") for image in images])
    card = Card.of("photos", 256, splits(train=images, validation=smooth(5), test=near), cut_by=cut_by)
    (warning,) = card.oddities()
    assert warning.endswith(advice)
    assert card.facts()["cut_by"] == cut_by


def test_names_mean_nothing_in_markdown_and_html() -> None:
    hostile = "<script>alert(1)</script> | [x](javascript:1) `a` *b* _c_ \n# d"
    assert not set("<>|`*_[]") & set(escaped(hostile))
    assert "\n" not in escaped(hostile)
    images = smooth(30)
    card = Card.of(hostile, 256, splits(train=images, validation=smooth(5), test=smooth(5)), [hostile])
    assert "<script" not in card.text()
