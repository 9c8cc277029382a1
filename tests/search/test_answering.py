"""`answer`, as a user gives it: a folder of image files, stopped and gone on with, and what it leaves."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from PIL import Image

import vae_likelihoods as vl
from processes import Started, wait_for
from vae_likelihoods.errors import SettingError
from vae_likelihoods.files import PROJECT
from vae_likelihoods.search.answering import Answering, answer
from vae_likelihoods.search.request import Clock, Request
from vae_likelihoods.search.shortlist import latent_dims, shortlist

LIKELIHOOD = """
import torch
from torch import Tensor

from vae_likelihoods.likelihoods.base import Likelihood


class Peaked(Likelihood):
    def _log_mass(self, outputs: Tensor, k: Tensor) -> Tensor:
        (eta,) = outputs.unbind(-4)
        middle = torch.sigmoid(eta) * (self.levels - 1)
        levels = torch.arange(self.levels).view(-1, *[1] * eta.ndim)
        return -0.1 * (k - middle).abs() - torch.logsumexp(-0.1 * (levels - middle).abs(), 0)
"""


@pytest.fixture
def photos(prepared_root: Path, tmp_path: Path) -> Path:
    """400 digits as PNG files."""
    folder = tmp_path / "my photos"
    folder.mkdir()
    images = np.load(prepared_root / "data" / "prepared" / "digits" / "train_images.npy")[:400]
    for number, image in enumerate(images[:, 0]):
        Image.fromarray(image * 15).save(folder / f"{number:03d}.png")
    return folder


def own_likelihood(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a package with a likelihood of one's own; return its folder of configuration."""
    (folder / "conf" / "likelihood").mkdir(parents=True)
    (folder / "ownpackage.py").write_text(LIKELIHOOD)
    (folder / "conf" / "likelihood" / "peaked.yaml").write_text("_target_: ownpackage.Peaked\n")
    paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    return folder / "conf"


@pytest.mark.slow
def test_a_folder_becomes_an_answer_though_it_was_interrupted(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    conf = own_likelihood(tmp_path / "own", monkeypatch)
    out = tmp_path / "the answer"
    words = ["answer", str(photos), "--minutes", "9", "--out", str(out), "--latents", "2,4"]
    words += ["--likelihoods", "binomial,peaked", "--conf", str(conf), "network.hidden=[8]"]
    words += ["training.epochs=9", "training.warmup_steps=2", "metric.bound.samples=4", "runtime.device=cpu"]
    command = [sys.executable, "-m", "vae_likelihoods", *words]

    first = Started(command, tmp_path / "first")
    wait_for(lambda: "leads:" in first.output or not first.alive)
    first.send(signal.SIGINT, group=True)
    said = first.end(130)
    assert "stopped. So far, on the validation images: " in said
    assert said.rstrip().endswith("the same command goes on where it stopped")
    assert "Traceback" not in said
    plan = json.loads((out / "answer.json").read_text())["plan"]

    other = Started([*command, "--seed", "5"], tmp_path / "other").end(1)
    assert "holds an answer to seed=0" in other

    second = Started(command, tmp_path / "second").end(0)
    assert json.loads((out / "answer.json").read_text())["plan"] == plan
    assert "measuring" not in second
    answer = (out / "reports" / "my-photos" / "answer.txt").read_text()
    assert "On my-photos at 256 levels, " in answer
    assert "Each likelihood was tuned on the validation images" in " ".join(answer.split())
    assert answer.strip() in second
    assert "is trained and not evaluated" not in answer
    for path in ("index.html", "summary.csv", "table.md"):
        assert (out / "reports" / "my-photos" / path).is_file()
    params = yaml.safe_load((out / "params.yaml").read_text())
    again = Started(command, tmp_path / "again").end(0)  # all is there: the same answer at once
    assert answer.strip() in again
    seeds = params["studies"]["my-photos"]["seed"].split(",")
    cells = {path.name for path in (out / "runs" / "my-photos").iterdir()}
    assert {name.rpartition("-")[2] for name in cells} == set(seeds)
    assert "0" not in seeds
    assert {name.partition("-")[0] for name in cells} == {"binomial", "peaked"}
    assert not (PROJECT / "answers").exists()
    with pytest.raises(
        SettingError, match=r"ownpackage\.Peaked"
    ):  # a folder runs no code of others by itself
        vl.load(out / "runs" / "my-photos" / next(name for name in sorted(cells) if "peaked" in name))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"minutes": 4.0}, "must be at least 5"),
        ({"study": "../x"}, "may have letters"),
        ({"study": "a/b"}, "may have letters"),
        ({"study": "x", "out": Path("y")}, "leave out --study or --out"),
        ({"source": Path("/nosuch")}, "there is no such folder or file"),
        ({"latents": [0]}, "must be whole numbers, at least 1"),
        ({"seed": -1}, "must be a whole number, at least 0"),
        ({"study": "2024"}, "begins with a letter"),
        ({"study": "null"}, "no word of YAML"),
        ({"out": Path("x${oc.env:HOME}")}, "rename it"),
        ({"out": Path("two\nlines")}, "rename it"),
        ({"conf": ["file:///a${b}"]}, "rename it"),
        ({"options": ["seed=3"]}, "is what --likelihoods, --latents"),
        ({"options": ["dataset=digits"]}, "is what --likelihoods, --latents"),
    ],
)
def test_an_impossible_request_is_refused(tmp_path: Path, change: dict[str, object], reason: str) -> None:
    with pytest.raises(SettingError, match=reason):
        Request(**{"source": tmp_path, **change})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "name", ["<script>", "a b", "ümlaut", "..", "x" * 300, "2024", "1e5", "null", "True", "nan", "yes", "on"]
)
def test_a_folder_of_any_name_has_a_plain_one(tmp_path: Path, name: str) -> None:
    assert Request(source=tmp_path).name
    request = Request.__new__(Request)
    object.__setattr__(request, "source", tmp_path / name)
    object.__setattr__(request, "study", None)
    assert set(request.name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
    assert 0 < len(request.name) <= 67
    (override,) = OverridesParser.create().parse_overrides([f"dataset={request.name}"])
    assert override.value() == request.name  # a text, for Hydra and for YAML
    assert yaml.safe_load(request.name) == request.name


def prepared(photos: Path, out: Path, *options: str) -> Answering:
    """Read a folder as an answer does; return what goes on from there."""
    request = Request(source=photos, out=out, options=options)
    answering = Answering(request, Clock(5, 0), lambda text: None)
    answering.prepare()
    return answering


def test_settings_of_the_data_set_reach_it(photos: Path, tmp_path: Path) -> None:
    names = sorted(path.name for path in photos.iterdir())
    rows = [f"{name},{place % 40}" for place, name in enumerate(names)]
    (tmp_path / "patients.csv").write_text("\n".join(["file,group", *rows]) + "\n")
    out = tmp_path / "it's (odd), [a]=b"
    words = [f"dataset.groups='{tmp_path / 'patients.csv'}'", "dataset.test_size=0.2", "network.hidden=[8]"]
    answering = prepared(photos, out, *words)
    assert answering.card["counts"]["test"] == pytest.approx(80, abs=10)
    index = json.loads((out / "data" / "raw" / "my-photos" / "index.json").read_text())
    of_file = dict(zip(index["files"], index["group"], strict=True))
    assert of_file[names[0]] == of_file[names[40]] == "0"
    (cell, *_) = answering.cells(["training.epochs=3"])
    assert cell.settings.network["hidden"] == [8]
    assert cell.settings.runtime.folder == out  # whatever characters it has


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("dataset.fitt=pad", "dataset.fitt=pad: cannot be set here. Choices: .*fit"),
        ("dataset.path=/x", "cannot be set here"),
        ("dataset.test_size=0.1,0.2", "must be one value"),
        ("dataset.test_size=[0.1", "cannot be read"),
        ("dataset.fit=squash", "fit=squash"),
        ("netwrk=conv", "netwrk"),
        ("network=con", "there is no conf/network/con.yaml"),
    ],
)
def test_a_setting_that_no_data_set_has_is_refused_and_nothing_written(
    photos: Path, tmp_path: Path, word: str, reason: str
) -> None:
    with pytest.raises(SettingError, match=reason):
        prepared(photos, tmp_path / "out", word)
    assert not list((tmp_path / "out").rglob("*.npy"))


def test_a_likelihood_that_is_none_is_refused_before_the_images_are_read(
    photos: Path, tmp_path: Path
) -> None:
    request = Request(source=photos, out=tmp_path / "out", likelihoods=["gauss"])
    with pytest.raises(SettingError, match="gauss"):
        Answering(request, Clock(5, 0), lambda text: None).prepare()
    assert not (tmp_path / "out").exists()


def test_answers_with_other_seeds_lie_beside_each_other(tmp_path: Path) -> None:
    first, second = (Request(source=tmp_path, seed=seed).root for seed in (0, 7))
    assert second == first.with_name(f"{first.name}-7")


def test_a_request_that_differs_names_what_does(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    asked = {"source": photos, "out": out, "options": ["a=1", "b=2"], "likelihoods": ["gaussian"]}
    out.mkdir()
    content = {"request": Request(**asked).content, "plan": {}}  # type: ignore[arg-type]
    (out / "answer.json").write_text(json.dumps(content))
    with pytest.raises(SettingError, match=r"options=b=3: .* holds an answer to options=b=2; take another"):
        answer(Request(**{**asked, "options": ["a=1", "b=3"]}), print)  # type: ignore[arg-type]
    with pytest.raises(SettingError, match=r"likelihoods=\(none\): .* to likelihoods=gaussian; take"):
        answer(Request(**{**asked, "likelihoods": []}), print)  # type: ignore[arg-type]


def test_images_that_came_while_nobody_prepared_them_are_prepared(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    before = sum(prepared(photos, out).card["counts"].values())
    image = np.random.default_rng(0).integers(0, 256, (8, 8), np.uint8)
    Image.fromarray(image).save(photos / "new.png")
    with monkeypatch.context() as patched:
        patched.setattr("vae_likelihoods.search.answer_images.prepare", interrupted)
        with pytest.raises(KeyboardInterrupt):
            prepared(photos, out)
    assert sum(prepared(photos, out).card["counts"].values()) == before + 1


def test_a_folder_in_which_nothing_can_be_tracked_is_refused_first(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="MLflow cannot have a database"):
        prepared(photos, tmp_path / "half 50%")
    assert not (tmp_path / "half 50%").exists()
    assert prepared(photos, tmp_path / "half 50%", "tracking=none").card


def interrupted(*args: object) -> None:
    raise KeyboardInterrupt


def test_test_images_decide_nothing_before_all_is_frozen(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering = prepared(photos, tmp_path / "out")
    (tmp_path / "out" / "data" / "prepared" / "my-photos" / "test_images.npy").unlink()
    answering.card["level_counts"] = [1000, *[0] * 254, 1000]  # of all splits
    assert answering.likelihoods == shortlist([100, *[100] * 15, *[0] * 240], 256)[0]


def test_the_shortlist_follows_from_the_data() -> None:
    names, reason = shortlist([1] * 256, 256)
    assert 5 <= len(names) <= 6
    assert "logistic_mixture" in names
    assert "lowest or the highest" in reason
    assert "bernoulli" in shortlist([1] * 256, 2)[0]
    assert "kumaraswamy" in shortlist([1000, *[1] * 254, 1000], 256)[0]
    assert "categorical" in shortlist([1] * 8 + [0] * 248, 256)[0]
    assert latent_dims((3, 32, 32)) == [8, 32, 128]
