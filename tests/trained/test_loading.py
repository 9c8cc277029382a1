"""A run folder as a model: the numbers of the evaluation, and folders that are hostile."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import vae_likelihoods as vl
from vae_likelihoods.datasets.prepared import PreparedDataset
from vae_likelihoods.errors import SettingError
from vae_likelihoods.files import read_csv
from vae_likelihoods.trained.folder import described

FILES = ("config.yaml", "model.json", "model.safetensors")


@pytest.fixture
def folder(tiny_root: Path, tmp_path: Path) -> Path:
    """Nothing but the three files of a trained cell."""
    copied = tmp_path / "copied"
    copied.mkdir()
    for name in FILES:
        shutil.copy(tiny_root / "runs" / "tiny" / "gaussian-2-0" / name, copied)
    return copied


@pytest.fixture
def images(tiny_root: Path) -> torch.Tensor:
    return PreparedDataset(tiny_root / "data" / "prepared" / "digits").split("test").images


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


# --- Folders from elsewhere


def signed(folder: Path, change: Callable[[dict[str, Any]], None], shape: Any = (1, 8, 8)) -> Path:
    """Change the configuration, and give it hashes that fit, as an attacker would."""
    config = yaml.safe_load((folder / "config.yaml").read_text())
    change(config)
    text = yaml.safe_dump(config)
    (folder / "config.yaml").write_text(text)
    (folder / "model.json").write_text(json.dumps(described(shape, text, folder / "model.safetensors")))
    return folder


def setting(*path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(config: dict[str, Any]) -> None:
        for key in path[:-1]:
            config = config[key]
        config[path[-1]] = value

    return change


HOSTILE: list[tuple[Callable[[dict[str, Any]], None], str]] = [
    (setting("likelihood", "_target_", value="os.system"), "likelihood._target_=os.system: is no likelihood"),
    (
        setting("network", "_target_", value="subprocess.run"),
        "network._target_=subprocess.run: is no network",
    ),
    (setting("model", "_target_", value="evil.VAE"), "model._target_=evil.VAE: is no model"),
    # What a module of this package has imported, or defines for something else.
    (setting("network", "_target_", value="vae_likelihoods.networks.mlp.nn.Linear"), "is no network"),
    (setting("network", "_target_", value="vae_likelihoods.networks.mlp.check_widths"), "is no network"),
    (setting("network", "_target_", value="vae_likelihoods.networks.auto.mlp"), "is no network"),
    (setting("model", "_target_", value="vae_likelihoods.models.blocks.encoded"), "is no model"),
    (setting("model", "_target_", value="vae_likelihoods.files.write_text"), "is no model"),
    (
        setting("likelihood", "_target_", value="vae_likelihoods.likelihoods.base.Likelihood"),
        "is no likelihood",
    ),
    (
        setting("likelihood", "_target_", value="vae_likelihoods.likelihoods..base.Likelihood"),
        "is no likelihood",
    ),
    (setting("likelihood", "_target_", value=["os.system"]), "is no likelihood"),
    (
        setting("likelihood", "law", "_target_", value="os.system"),
        "likelihood.law._target_=os.system: is no law",
    ),
    (
        setting("likelihood", "law", "extra", value={"_target_": "os.system"}),
        "must be a number, a text, or a",
    ),
    (setting("likelihood", "scale", value={"_target_": "os.system"}), "must be a number, a text, or a list"),
    (
        setting("likelihood", "scale", value=[[{"_target_": "os.system"}]]),
        "must be a number, a text, or a list",
    ),
    (setting("likelihood", "scale", value="${oc.env:HOME}"), "must be a number, a text, or a list"),
    (setting("network", "_args_", value=[1]), "network._args_=[1]: is no setting of a model"),
    (setting("network", "_partial_", value=True), "is no setting of a model"),
    (setting("network", "hidden", value=[10**9, 10**9]), "its weights are not those of its configuration"),
    (setting("network", "hidden", value=[10**30]), "is larger than any setting of a model"),
    (setting("latent_dim", value=10**12), "its weights are not those of its configuration"),
    (setting("latent_dim", value=-1), "latent_dim=-1: must be a whole number"),
    (setting("levels", value=10**9), "levels=1000000000: "),
    (setting("seed", value="x"), "seed=x: "),
    (setting("likelihood", value="gaussian"), "likelihood=gaussian: names no class"),
]


@pytest.mark.parametrize(("change", "said"), HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_folder_is_one_line_and_runs_nothing(
    folder: Path, change: Callable[[dict[str, Any]], None], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.system", lambda *_: pytest.fail("code of the folder was run"))
    with pytest.raises(SettingError) as error:
        vl.load(signed(folder, change))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("shape", [(1, 10**6, 10**6), (1, 8), (1, 8, 0), (1, 8, "8"), None, (1, 9, 8)])
def test_a_shape_that_cannot_be_is_refused(folder: Path, shape: Any) -> None:
    signed(folder, lambda config: None)
    content = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**content, "shape": shape}))
    with pytest.raises(SettingError):
        vl.load(folder)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["missing", "empty", "changed", "huge"])
def test_damage_is_noticed(folder: Path, name: str, damage: str) -> None:
    path = folder / name
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        changed = {
            "empty": b"",
            "changed": content[:-9] + b"x" + content[-8:],
            "huge": content + b" " * 10**6,
        }
        path.write_bytes(changed[damage])
    with pytest.raises(SettingError, match=r"^folder=.*(has no|is damaged|was changed|bytes, more than)"):
        vl.load(folder)


def test_a_format_of_the_future_is_refused(folder: Path) -> None:
    content = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**content, "format": 2}))
    with pytest.raises(SettingError, match="has the format 2, and this version reads 1"):
        vl.load(folder)


def test_aliases_that_would_fill_the_memory_are_refused(folder: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 40)]
    text = (
        "\n".join(lines)
        + "\nlikelihood: {_target_: vae_likelihoods.likelihoods.binomial.Binomial, x: *a39}\n"
    )
    text += "levels: 17\nlatent_dim: 2\nseed: 0\n"
    (folder / "config.yaml").write_text(text)
    weights = folder / "model.safetensors"
    (folder / "model.json").write_text(json.dumps(described((1, 8, 8), text, weights)))
    with pytest.raises(SettingError, match=r"its config.yaml is damaged"):
        vl.load(folder)


def test_classes_of_another_package_need_trust(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, images: torch.Tensor
) -> None:
    package = tmp_path / "theirs"
    package.mkdir()
    (package / "mine.py").write_text(
        "from vae_likelihoods.networks.mlp import mlp\ndef net(**given): return mlp(**given)\n"
    )
    monkeypatch.syspath_prepend(str(package))
    signed(folder, setting("network", "_target_", value="mine.net"))
    with pytest.raises(SettingError, match="load it with trust=True if you trust it"):
        vl.load(folder)
    assert "mine" not in sys.modules
    assert vl.load(folder, trust=True).log_prob(images[:3], samples=2).isfinite().all()


def test_importing_the_package_imports_no_torch() -> None:
    script = "import sys, vae_likelihoods; print('torch' in sys.modules, vae_likelihoods.load)"
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.startswith("False <function load at")
