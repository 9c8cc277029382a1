"""A run folder as a model: the numbers of the evaluation, from whatever arrays of levels."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import vae_likelihoods as vl
from processes import PROJECT
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


def test_draws_of_the_same_z_average_to_its_mean(folder: Path) -> None:
    model = vl.load(folder, device="cpu")
    means, draws = model.sample(400, seed=3, mean=True), model.sample(400, seed=3) / 16
    assert means.shape == draws.shape
    assert np.array_equal(means, model.sample(400, seed=3, mean=True))

    def apart(points: Any) -> float:
        return float(np.square(draws - points).mean())

    assert abs((draws - means).mean()) < 0.02  # 25,600 pixels, each with a deviation of at most 1/2
    assert apart(means) < min(apart(means[::-1]), apart(model.sample(400, seed=4, mean=True)))


def test_means_do_not_depend_on_how_many_are_computed_at_once(
    folder: Path, images: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = vl.load(folder, device="cpu")
    whole = model.reconstruct(images[:7])
    monkeypatch.setattr("vae_likelihoods.trained.model._OUTPUTS", 3 * 64)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    used: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", used.append)
    torch.testing.assert_close(model.reconstruct(images[:7]), whole, rtol=0, atol=1e-6)
    assert used == [1, 3]  # afterwards as before


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
        (lambda model, images: model.reconstruct(images[..., :7]), "images [N, 1, 8, 8] are needed"),
        (lambda model, images: model.decode(torch.zeros(3)), "z=shape [3]: latents [N, 2] are needed"),
        (lambda model, images: model.decode(np.zeros((3, 2), int)), "numbers with a fraction"),
        (lambda model, images: model.sample(0), "count=0: must be a whole number, at least 1"),
        (lambda model, images: model.log_prob(images, samples=0), "samples=0: "),
        (lambda model, images: model.interpolate(images[0], images[1], 1), "steps=1: "),
        (lambda model, images: model.traverse(images[0], reach=float("nan")), "reach=nan: must be a finite"),
        (lambda model, images: model.traverse(images[0], reach="3"), "reach=3: must be a finite number"),
    ],
)
def test_bad_input_is_refused(
    folder: Path, images: torch.Tensor, use: Callable[[Any, torch.Tensor], Any], said: str
) -> None:
    with pytest.raises(SettingError) as error:
        use(vl.load(folder, device="cpu"), images)
    assert said in str(error.value)


# --- Arrays and tensors of all kinds

NUMPY = (
    "uint8",
    "int8",
    "uint16",
    ">u2",
    "uint32",
    ">u4",
    "uint64",
    ">u8",
    "int16",
    ">i2",
    "int32",
    ">i4",
    "int64",
    ">i8",
)
TORCH = (torch.int8, torch.uint16, torch.int16, torch.uint32, torch.int32, torch.uint64, torch.int64)


def forms(levels: np.ndarray) -> list[np.ndarray]:
    """The same numbers as they may lie in memory."""
    frozen = levels.copy()
    frozen.flags.writeable = False
    backwards = levels[::-1, ..., ::-1].copy()[::-1, ..., ::-1]
    unaligned = np.frombuffer(b"x" + levels.tobytes(), levels.dtype, offset=1).reshape(levels.shape)
    assert min(backwards.strides) < 0
    return [levels, frozen, backwards, np.asfortranarray(levels), unaligned]


def test_levels_are_the_same_in_every_type_of_integers(folder: Path, images: torch.Tensor) -> None:
    model, some = vl.load(folder, device="cpu"), images[:3]
    given: list[Any] = [form for kind in NUMPY for form in forms(some.numpy().astype(kind))]
    given += [some.to(kind) for kind in TORCH]
    mean, bound = model.encode(some).mean, model.log_prob(some, samples=2)
    uses: list[tuple[Callable[[Any], Any], torch.Tensor]] = [
        (lambda x: model.encode(x).mean, mean),
        (model.reconstruct, model.reconstruct(some)),
        (lambda x: model.log_prob(x, samples=2), bound),
        (lambda x: model.bits_per_dim(x, samples=2), model.bits_per_dim(some, samples=2)),
        (lambda x: model.interpolate(x[0], x[1], 2), model.interpolate(some[0], some[1], 2)),
        (lambda x: model.traverse(x[0], 2), model.traverse(some[0], 2)),
    ]
    for use, expected in uses:
        for each in given:
            found = use(each)
            assert isinstance(found, type(each))
            assert np.array_equal(found, expected)


def test_latents_are_the_same_in_every_type_of_floats(folder: Path) -> None:
    model = vl.load(folder, device="cpu")
    z = np.array([[0.5, -2], [1, 0.25], [0, 3]], np.float32)
    expected = model.decode(z)
    for kind in ("float16", ">f2", "float32", ">f4", "float64", ">f8"):
        for form in forms(z.astype(kind)):
            assert np.array_equal(model.decode(form), expected)
    for each in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        assert np.array_equal(model.decode(torch.from_numpy(z).to(each)), expected)


ODD: list[tuple[Callable[[np.ndarray], Any], str]] = [
    (lambda x: (x + 2**15).astype(np.uint16), "uint16 from 32768 to 327"),
    (lambda x: x.astype(np.uint64) + 2**63, "uint64 from 9223372036854775808 to 92233720368547758"),
    (lambda x: (x.astype(np.int64) - 1).astype(">i8"), "int64 from -1 to 1"),
    (lambda x: torch.from_numpy(x + 2**15).to(torch.uint16), "uint16 from 32768 to 327"),
    (lambda x: x.astype(object), "object: is no type of numbers that torch has"),
    (lambda x: x.astype(str), "is no type of numbers that torch has"),
    (lambda x: x.astype("M8[s]"), "is no type of numbers that torch has"),
    (lambda x: x.astype(np.longdouble), "is no type of numbers that torch has"),
    (lambda x: x.astype(bool), "bool: integers 0 .. 16"),
    (lambda x: x.astype(complex), "complex128: integers 0 .. 16"),
    (lambda x: x / 16, "float64 from 0 to 1: integers 0 .. 16"),
    (lambda x: torch.from_numpy(x).to(torch.float8_e5m2), "float8_e5m2: integers 0 .. 16"),
    (lambda x: torch.from_numpy(x).to_sparse(), "must be a plain tensor"),
    (lambda x: torch.from_numpy(x).to("meta"), "must be a plain tensor"),
    (lambda x: torch.quantize_per_tensor(torch.from_numpy(x).float(), 1, 0, torch.quint8), "must be a plain"),
    (lambda x: np.ma.masked_equal(x, 0), "masked array: fill what is masked first"),
    (lambda x: x.tolist(), "list: a numpy array or a tensor of torch is needed"),
    (lambda x: None, "NoneType: a numpy array or a tensor of torch is needed"),
    (lambda x: x[..., 0], "shape ["),
    (lambda x: x[:0], "shape [0, "),
    (lambda x: x[..., :0], "shape ["),
    (lambda x: torch.from_numpy(x[:0]).to(torch.uint16), "shape [0, "),
    (lambda x: np.uint16(3), "a numpy array or a tensor of torch is needed"),
]


@pytest.mark.filterwarnings("ignore:.*quantize_per_tensor|.*torch.ao.quantization:UserWarning")
def test_what_is_no_levels_is_one_line(folder: Path, images: torch.Tensor) -> None:
    model, some = vl.load(folder, device="cpu"), images[:3].numpy().astype(np.int64)
    uses: list[tuple[str, Callable[[Any], Any], np.ndarray]] = [
        ("images", model.encode, some),
        ("images", model.reconstruct, some),
        ("images", lambda x: model.log_prob(x, samples=2), some),
        ("images", lambda x: model.bits_per_dim(x, samples=2), some),
        ("start", lambda x: model.interpolate(x, some[0], 2), some[0]),
        ("end", lambda x: model.interpolate(some[0], x, 2), some[0]),
        ("image", model.traverse, some[0]),
    ]
    for key, use, levels in uses:
        for change, said in ODD:
            with pytest.raises(SettingError) as error:
                use(change(levels))
            line = str(error.value)
            assert line.startswith(f"{key}=")
            assert said in line
            assert "\n" not in line


@pytest.mark.parametrize(
    ("z", "said"),
    [
        (np.zeros((1, 2), object), "z=object: is no type of numbers"),
        (np.zeros((1, 2), np.longdouble), "is no type of numbers"),
        (np.zeros((1, 2), complex), "z=torch.complex128: numbers with a fraction"),
        (np.zeros((1, 2), np.uint16), "z=torch.uint16: numbers with a fraction"),
        (np.zeros((0, 2)), "z=shape [0, 2]: latents [N, 2] are needed"),
        (np.zeros(2), "z=shape [2]: "),
        ([[0.0, 0.0]], "z=list: a numpy array or a tensor of torch is needed"),
        (torch.zeros(1, 2).to_sparse(), "z=Tensor: must be a plain tensor"),
    ],
)
def test_what_is_no_latents_is_one_line(folder: Path, z: Any, said: str) -> None:
    with pytest.raises(SettingError) as error:
        vl.load(folder, device="cpu").decode(z)
    assert said in str(error.value)


# --- What people read first


def test_the_lines_of_the_readme_run(tiny_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    section = (PROJECT / "README.md").read_text(encoding="utf-8").partition("\n## Your images\n")[2]
    (lines,) = re.findall(r"^```python\n(.*?)^```$", section.partition("\n## ")[0], re.DOTALL | re.MULTILINE)
    (named,) = re.findall(r'vl\.load\("(answers/[\w/.-]+)"\)', lines)
    Path(tiny_root, named).mkdir(parents=True)
    for results in ("evaluations", "runs"):
        Path(tiny_root, results).rename(tiny_root / named / results)
    monkeypatch.chdir(tiny_root)
    left: dict[str, Any] = {}
    exec(lines, left)
    assert left["images"].shape == (16, 1, 8, 8)
    assert left["bits"].shape == (16,)
    assert np.isfinite(left["bits"]).all()


def test_importing_the_package_imports_no_torch() -> None:
    script = "import sys, vae_likelihoods; print('torch' in sys.modules, vae_likelihoods.load)"
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.startswith("False <function load at")
