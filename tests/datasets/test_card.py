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
    assert near_copies(copied, images, 256).mean() > 0.9
    monkeypatch.setattr(near_copies_module, "_OTHERS", 64)
    assert near_copies(copied, images, 256).mean() > 0.9
    assert not near_copies(smooth(200), images, 256).any()
    flat = np.full((5, 3, 24, 24), 90, np.uint8)
    assert not near_copies(flat, flat, 256).any()


def test_near_copies_and_odd_levels_are_warned_of_with_what_to_do() -> None:
    images = smooth(60)
    again = np.stack([changed(image, "jpeg") for image in images[:3]])
    card = Card.of("photos", 256, splits(train=images, validation=smooth(20), test=again))
    (warning,) = card.oddities()
    assert "near copies" in warning
    assert "3 of 3 of test and train" in warning
    assert "remove them, or say what belongs together (groups)" in warning
    assert "| test in train too | 0 copies, 3 near copies (of 3 compared) |" in card.text()


def test_names_mean_nothing_in_markdown_and_html() -> None:
    hostile = "<script>alert(1)</script> | [x](javascript:1) `a` *b* _c_ \n# d"
    assert not set("<>|`*_[]") & set(escaped(hostile))
    assert "\n" not in escaped(hostile)
    images = smooth(30)
    card = Card.of(hostile, 256, splits(train=images, validation=smooth(5), test=smooth(5)), [hostile])
    assert "<script" not in card.text()
