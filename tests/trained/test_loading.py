"""A run folder as a model: the numbers of the evaluation, from whatever arrays of levels."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import vae_likelihoods as vl
from vae_likelihoods.errors import SettingError
from vae_likelihoods.files import read_csv

SCORE = """
import sys
import numpy as np, torch
torch.set_num_threads(1)
import vae_likelihoods as vl
folder, images, samples, out = sys.argv[1:]
np.save(out, vl.load(folder, device="cpu").log_prob(np.load(images), samples=int(samples)))
"""


def test_a_fresh_process_scores_a_copied_folder_as_the_evaluation_did(
    folder: Path, tiny_root: Path, images: torch.Tensor, tmp_path: Path
) -> None:
    evaluated = tiny_root / "evaluations" / "tiny" / "gaussian-2-0"
    samples = json.loads((evaluated / "metrics.json").read_text())["importance_samples"]
    np.save(tmp_path / "images.npy", images.numpy())
    arguments = [str(folder), str(tmp_path / "images.npy"), str(samples), str(tmp_path / "scores.npy")]
    subprocess.run([sys.executable, "-c", SCORE, *arguments], check=True, cwd=tmp_path, timeout=120)
    written = [float(row["nll_nats"]) for row in read_csv(evaluated / "per_image.csv")]
    scores = -np.load(tmp_path / "scores.npy")
    assert [float(f"{score:.6f}") for score in scores] == written  # all digits that are written
    assert scores.mean() == json.loads((evaluated / "metrics.json").read_text())["nll_nats"]


def test_numbers_and_shapes(folder: Path, images: torch.Tensor) -> None:
    model = vl.load(folder, device="cpu")
    assert repr(model) == "TrainedModel(tiny/gaussian-2-0: 17 levels of 1 x 8 x 8, 2 latents, on cpu)"
    some = images[:5]
    for given in (some, some.numpy(), some.long()):
        kind = type(given)
        mean, stddev = model.encode(given)
        assert isinstance(mean, kind)
        assert mean.shape == stddev.shape == (5, 2)
        points = model.decode(mean)
        assert isinstance(points, kind)
        assert points.shape == (5, 1, 8, 8)
        assert 0 <= points.min() <= points.max() <= 1
        np.testing.assert_array_equal(model.reconstruct(given), points)
        bits = model.bits_per_dim(given, samples=4)
        np.testing.assert_allclose(bits, -model.log_prob(given, samples=4) / (64 * np.log(2)))
    drawn = model.sample(16, seed=0)
    assert drawn.shape == (16, 1, 8, 8)
    assert drawn.dtype == np.uint8
    assert drawn.max() < 17
    np.testing.assert_array_equal(drawn, model.sample(16, seed=0))
    assert (drawn != model.sample(16, seed=1)).any()


def test_more_samples_tighten_the_bound(folder: Path, images: torch.Tensor) -> None:
    """In expectation (Burda et al. 2016, theorem 1); here on the mean of 180 images."""
    model = vl.load(folder, device="cpu")
    few, many = (model.log_prob(images, samples=samples).mean() for samples in (1, 64))
    assert few < many


def test_lines_begin_and_end_at_the_codes(folder: Path, images: torch.Tensor) -> None:
    model = vl.load(folder, device="cpu")
    first, last = images[0], images[1]
    line = model.interpolate(first, last, 8)
    assert line.shape == (8, 1, 8, 8)
    torch.testing.assert_close(line[[0, -1]], model.reconstruct(images[:2]))
    walk = model.traverse(first, steps=5, reach=2)
    assert walk.shape == (2, 5, 1, 8, 8)
    mean = model.encode(first[None]).mean
    for latent, place, value in ((0, 0, -2), (1, 4, 2), (0, 2, 0)):
        z = mean.clone()
        z[0, latent] = value
        torch.testing.assert_close(walk[latent, place], model.decode(z)[0])


@pytest.mark.parametrize(
    ("use", "said"),
    [
        (lambda model, images: model.encode(images / 16), "images=float32 from 0 to 1: integers 0 .. 16"),
        (lambda model, images: model.log_prob(images + 9), "images=uint8 from 9 to 25: integers 0 .. 16"),
        (lambda model, images: model.encode(images[0]), "for one image use images[None]"),
        (lambda model, images: model.reconstruct(images[..., :7]), "images of 8 x 8 pixels are needed"),
        (lambda model, images: model.decode(torch.zeros(3)), "z=shape [3]: latents [N, 2] are needed"),
        (lambda model, images: model.decode(np.zeros((3, 2), int)), "numbers with a fraction"),
        (lambda model, images: model.sample(0), "count=0: must be a whole number, at least 1"),
        (lambda model, images: model.log_prob(images, samples=0), "samples=0: "),
        (lambda model, images: model.interpolate(images[0], images[1], 1), "steps=1: "),
    ],
)
def test_bad_input_is_refused(
    folder: Path, images: torch.Tensor, use: Callable[[Any, torch.Tensor], Any], said: str
) -> None:
    with pytest.raises(SettingError) as error:
        use(vl.load(folder, device="cpu"), images)
    assert said in str(error.value)


def test_importing_the_package_imports_no_torch() -> None:
    script = "import sys, vae_likelihoods; print('torch' in sys.modules, vae_likelihoods.load)"
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.startswith("False <function load at")
