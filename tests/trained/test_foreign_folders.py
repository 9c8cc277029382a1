"""Run folders from elsewhere, which may be hostile or damaged: one line, at once, and nothing is run."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import vae_likelihoods as vl
from vae_likelihoods.cells.build import build
from vae_likelihoods.errors import SettingError
from vae_likelihoods.likelihoods.inflated import Inflated
from vae_likelihoods.trained.folder import described
from vae_likelihoods.training.checkpoints import save_weights

FILES = ("config.yaml", "model.json", "model.safetensors")


def signed(folder: Path, change: Callable[[dict[str, Any]], None], shape: Any = (1, 8, 8)) -> Path:
    """Change the configuration, and give it hashes that fit, as an attacker would."""
    config = yaml.safe_load((folder / "config.yaml").read_text())
    change(config)
    return written(folder, yaml.safe_dump(config), shape)


def written(folder: Path, text: str, shape: Any = (1, 8, 8)) -> Path:
    """Give the folder a text as its configuration, and hashes that fit."""
    (folder / "config.yaml").write_text(text)
    (folder / "model.json").write_text(json.dumps(described(shape, text, folder / "model.safetensors")))
    return folder


def setting(*path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(config: dict[str, Any]) -> None:
        for key in path[:-1]:
            config = config[key]
        config[path[-1]] = value

    return change


PLAIN, NO_SETTING = "must be a number, a text, or a list of them", "is no setting of a model"


def inflated(**changes: Any) -> Callable[[dict[str, Any]], None]:
    """A likelihood within another, with changes to the inner one."""
    room = "vae_likelihoods.likelihoods"
    law = {"_target_": f"{room}.laws.logistic.Logistic"}
    mixture = {"_target_": f"{room}.mixture.Mixture", "law": law, "components": 2}
    base = {"_partial_": True, **mixture, "scale": 0.1, "min_scale": 0.1, **changes}
    return setting(
        "likelihood", value={"_target_": f"{room}.inflated.Inflated", "weight": 0.01, "base": base}
    )


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
    # In the likelihood that another one is made of.
    (inflated(_target_="os.system"), "likelihood.base._target_=os.system: is no likelihood of this package"),
    (inflated(_target_="vae_likelihoods.likelihoods.laws.normal.Normal"), "is no likelihood of this package"),
    (inflated(law={"_target_": "os.system"}), "likelihood.base.law._target_=os.system: is no law"),
    (
        inflated(law={"_target_": "vae_likelihoods.likelihoods.laws.normal.Normal", "_partial_": True}),
        NO_SETTING,
    ),
    (inflated(law="os.system"), "likelihood.base.law=os.system: names no class"),
    (inflated(base={"_target_": "vae_likelihoods.likelihoods.binomial.Binomial"}), PLAIN),
    (
        inflated(scale={"_target_": "os.system"}),
        f"likelihood.base.scale={{'_target_': 'os.system'}}: {PLAIN}",
    ),
    (inflated(scale="${oc.env:HOME}"), PLAIN),
    (inflated(_args_=[1]), f"likelihood.base._args_=[1]: {NO_SETTING}"),
    (inflated(_partial_="yes"), f"likelihood.base._partial_=yes: {NO_SETTING}"),
    (inflated(components=2**41), "is larger than any setting of a model"),
    (setting("likelihood", "base", value="binomial"), "likelihood.base=binomial: names no class"),
    (setting("likelihood", "_partial_", value=True), f"likelihood._partial_=True: {NO_SETTING}"),
    (setting("network", "base", value={"_target_": "vae_likelihoods.networks.mlp.mlp"}), PLAIN),
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


def test_a_likelihood_made_of_another_one_is_loaded(folder: Path, images: torch.Tensor) -> None:
    signed(folder, inflated())
    config = yaml.safe_load((folder / "config.yaml").read_text())
    likelihood = build("likelihood", config["likelihood"], levels=17, channels=1)
    sizes = {"latent_dim": 2, "output_channels": likelihood.output_channels}
    networks = build("network", config["network"], shape=(1, 8, 8), **sizes)
    model = build("model", config["model"], networks=networks, likelihood=likelihood, latent_dim=2)
    save_weights(folder / "model.safetensors", model.state_dict())
    loaded = vl.load(signed(folder, inflated()), device="cpu")
    assert isinstance(loaded.vae.likelihood, Inflated)
    assert loaded.log_prob(images[:3], samples=2).isfinite().all()


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
    with pytest.raises(SettingError, match=r"its config.yaml is damaged"):
        vl.load(written(folder, text))


KIB = 1 << 10
NESTED = "has more than 16 lists and mappings within each other"
# What took seconds, or much memory, or is written so that it might.
SLOW: dict[str, tuple[str, str]] = {
    "lists": ("[" * 15 * KIB, NESTED),
    "mappings": ("{" * 15 * KIB, NESTED),
    "lists in lines": ("[\n" * 7 * KIB, NESTED),
    "dashes": ("- " * 7 * KIB, NESTED),
    "keys": ("? " * 7 * KIB, NESTED),
    "closed lists": (f"a: {'[' * 17}{']' * 17}", NESTED),
    "entries": ("a: [" + "1," * 7 * KIB + "1]", "has a list of more than 64 entries"),
    "entries in lines": ("-\n" * 7 * KIB, "has a list of more than 64 entries"),
    "decimal": ("levels: " + "1" * 15 * KIB, "has a value of 15,360 characters"),
    "hexadecimal": ("levels: 0x" + "f" * 15 * KIB, "has a value of 15,362 characters"),
    "sexagesimal": ("levels: " + "1:" * 7 * KIB + "1", "has a value of 14,337 characters"),
    "hexadecimal that is read": ("levels: 0x" + "f" * 250, "must be a whole number, 2 .. 256"),
    "many keys": ("\n".join(f"k{n}: {n}" for n in range(1400)), "levels=None: must be a whole number"),
    "long": ("a: 1\n" * 4 * KIB, "its config.yaml has 20,480 bytes, more than any model needs"),
}


@pytest.mark.parametrize("kind", SLOW)
def test_a_text_that_would_be_slow_to_read_is_refused_at_once(folder: Path, kind: str) -> None:
    text, said = SLOW[kind]
    refused_at_once(written(folder, text), said)


@pytest.mark.parametrize(
    ("key", "network"),
    [
        ("hidden", {"_target_": "vae_likelihoods.networks.mlp.mlp"}),
        ("hidden", {"_target_": "vae_likelihoods.networks.tanh_mlp.tanh_mlp"}),
        ("widths", {"_target_": "vae_likelihoods.networks.conv.conv", "hidden": 1}),
        ("widths", {"_target_": "vae_likelihoods.networks.resnet.resnet", "depth": 64}),
    ],
    ids=["mlp", "tanh_mlp", "conv", "resnet"],
)
@pytest.mark.parametrize("layers", [2_000, 65, 64])
def test_layers_that_would_take_long_to_build_are_refused_at_once(
    folder: Path, key: str, network: dict[str, Any], layers: int
) -> None:
    def change(config: dict[str, Any]) -> None:
        config["network"] = {**network, key: [1] * layers}

    said = "has a list of more than 64 entries" if layers > 64 else ""
    refused_at_once(signed(folder, change), said)


def test_so_many_layers_are_no_more_than_a_model_may_have(folder: Path) -> None:
    """The longest list, and the deepest nesting, that are read."""
    layers = setting("network", "hidden", value=[1] * 64)
    with pytest.raises(SettingError, match="its weights are not those of its configuration"):
        vl.load(signed(folder, layers))
    nested: Any = 1
    for _ in range(15):
        nested = [nested]
    signed(folder, setting("network", "hidden", value=[16]))
    assert vl.load(signed(folder, setting("unused", value=nested)), device="cpu").levels == 17


def refused_at_once(folder: Path, said: str) -> None:
    begun = time.process_time()  # of this process alone: others may keep the machine busy
    with pytest.raises(SettingError) as error:
        vl.load(folder, device="cpu")
    assert time.process_time() - begun < 1
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500


READING = {"colour": "grey", "size": [8, 8], "fit": "pad", "background": [9, 9, 9], "sixteen_bit": "reduce"}


@pytest.mark.parametrize(
    "wrong",
    [
        *(
            {key: value}
            for key in READING
            for value in (None, "x", [1, 2, 3, 4], 7, {})
            if (key, value) != ("size", None)
        ),
        {"colour": "rgb"},
        {"size": [9, 8]},
        {"background": [1, 2, 256]},
        {"another": 1},
    ],
    ids=str,
)
def test_a_reading_of_pictures_that_cannot_be_is_refused(folder: Path, wrong: dict[str, Any]) -> None:
    content = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**content, "decoding": {**READING, **wrong}}))
    with pytest.raises(
        SettingError, match=r"^folder=.*: its model.json has a decoding (of image files that|to images of)"
    ):
        vl.load(folder)


@pytest.mark.parametrize("wrong", ["x", 1, [READING], []])
def test_a_reading_that_is_none_is_refused(folder: Path, wrong: Any) -> None:
    content = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**content, "decoding": wrong}))
    with pytest.raises(SettingError, match=r"its model.json has a decoding of image files that cannot be"):
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
