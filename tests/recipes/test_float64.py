"""Training and scores in float64: in everything, and the same on any processor up to a few last digits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import compositions
from processes import run
from vae_likelihoods.cells.cell import Cell
from vae_likelihoods.cells.settings import Runtime
from vae_likelihoods.errors import SettingError
from vae_likelihoods.likelihoods.base import UnsupportedLevels
from vae_likelihoods.precision import default_dtype
from vae_likelihoods.recipes.evaluation import evaluate
from vae_likelihoods.recipes.training import train
from vae_likelihoods.seeding import generator
from vae_likelihoods.units.declaration import from_plain

MakeCell = Callable[..., Cell]
KERNELS = {
    "plain": {"ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE", "ONEDNN_MAX_CPU_ISA": "SSE41"},
    "sse": {"ATEN_CPU_CAPABILITY": "default", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"},
    "avx2": {"ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
}


def test_everything_is_float64(small_cell: MakeCell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise and points are too: a tensor of float32 that meets the weights would be refused by `Linear`."""
    drawn = []
    original = torch.randn

    def noted(*arguments: Any, **named: Any) -> torch.Tensor:
        noise: torch.Tensor = original(*arguments, **named)
        drawn.append(noise.dtype)
        return noise

    monkeypatch.setattr(torch, "randn", noted)
    cell = small_cell("training.precision=float64", "likelihood=logistic_mixture")
    cell.run_folder.mkdir(parents=True, exist_ok=True)
    train(cell, cell.run_folder, lambda record: None)
    evaluate(cell, tmp_path)
    weights = load_file(cell.run_folder / "model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float64}
    assert set(drawn) == {torch.float64}
    assert any((tensor != tensor.float()).any() for tensor in weights.values())


@pytest.mark.parametrize("name", compositions.NODES)
def test_every_likelihood_is_built_and_computed_in_float64(name: str) -> None:
    with default_dtype(torch.float64):
        try:
            likelihood = compositions.build(name, levels=17)
        except UnsupportedLevels:
            likelihood = compositions.build(name, levels=2)
    tensors = [*likelihood.parameters(), *likelihood.buffers()]
    assert {tensor.dtype for tensor in tensors} <= {torch.float64}
    outputs = torch.randn(
        2, likelihood.output_channels, 3, 2, dtype=torch.float64, generator=generator(0, "o")
    )
    outputs.requires_grad_()
    k = torch.randint(likelihood.levels, (2, 1, 3, 2), generator=generator(0, "k"), dtype=torch.uint8)
    score, mean = likelihood.log_prob(outputs, k), likelihood.mean(outputs)
    score.sum().backward()
    assert {score.dtype, mean.dtype, likelihood.log_mass(outputs, k).dtype} == {torch.float64}
    assert likelihood.sample(outputs, generator(0, "s")).dtype == torch.uint8


def test_the_key_is_another(small_cell: MakeCell) -> None:
    keys = {small_cell(f"training.precision={precision}").key for precision in ("float32", "float64")}
    assert len(keys) == 2


def test_a_device_without_float64_refuses_it(small_cell: MakeCell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Runtime, "torch_device", property(lambda runtime: torch.device("mps")))
    small_cell()
    with pytest.raises(SettingError, match=r"precision=float64: mps has no float64; set runtime\.device=cpu"):
        small_cell("training.precision=float64")


@pytest.mark.slow
@pytest.mark.parametrize("kernels", KERNELS)
def test_other_kernels_give_the_same_numbers(
    kernels: str, prepared_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is no count and no share of images agrees to 1e-6."""
    settings = [
        *("training.precision=float64", "training.epochs=10", "likelihood=logistic_mixture", "tracking=none"),
        *("metric=[bound,information,latents,reconstruction,samples]", "metric.samples.images=100"),
    ]
    numbers = {}
    for place, environment in {"native": {}, kernels: KERNELS[kernels]}.items():
        root = tmp_path / place
        root.mkdir()
        (root / "data").symlink_to(prepared_root / "data")
        with monkeypatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            for stage in ("train", "evaluate"):
                run(stage, root, *settings)
        (path,) = (root / "evaluations").glob("*/*/metrics.json")
        numbers[place] = json.loads(path.read_text())
    declarations = from_plain(numbers["native"]["declarations"])
    counts = {
        name
        for name, each in declarations.items()
        if each.format.endswith("d") or (each.unit is not None and "share" in each.unit.measure)
    }
    for name in numbers["native"].keys() - counts:
        value = numbers["native"][name]
        if isinstance(value, float | list):
            assert numbers[kernels][name] == pytest.approx(value, rel=1e-6, abs=1e-9), name
