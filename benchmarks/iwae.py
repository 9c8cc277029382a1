"""Draws per second of the importance-weighted bound with k = 5000, here and by pythae's `get_nll`.

python -m venv ../pythae
../pythae/bin/pip install torch==2.13.0 pythae==0.1.2
python benchmarks/iwae.py --peer ../pythae/bin/python --json iwae.json

A draw is one z for one image, decoded and weighted. The image is encoded once here, and at every draw by
pythae. README.md describes the measurement.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from timing import Result, cpu_seconds, in_own_process, machine, spread
from vae_likelihoods.cells.settings import cores
from vae_likelihoods.files import write_json
from vae_likelihoods.inference.bounds import importance_weighted
from vae_likelihoods.likelihoods.bernoulli import Bernoulli
from vae_likelihoods.metrics.iwae_curve import MatMul, matmul_precision
from vae_likelihoods.models.vae import VAE
from vae_likelihoods.networks.mlp import mlp
from vae_likelihoods.recipes.cpu import prepare_cpu
from vae_likelihoods.seeding import generator, seeded

SHAPE, IMAGES = (1, 28, 28), 10_000
PEER = Path(__file__).with_name("pythae_nll.py")
Side = Callable[[], Result]


def main() -> None:
    """Measure every side in turn; print rates and ratios."""
    options = arguments()
    with tempfile.TemporaryDirectory() as folder:
        write_task(Path(folder), options)
        sides = all_sides(Path(folder), options)
        rounds: list[dict[str, Result]] = []
        for index in range(options.rounds):
            order = list(sides.items())[:: 1 if index % 2 == 0 else -1]
            rounds.append({name: side() for name, side in order})
            print(f"round {index + 1} of {options.rounds}", file=sys.stderr, flush=True)
    print_report(rounds, options)
    if options.json:
        settings = {name: str(value) for name, value in vars(options).items()}
        write_json(Path(options.json), {"settings": settings, "machine": machine(), "rounds": rounds})


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--peer", required=True, help="a Python that has pythae, and this torch")
    parser.add_argument("--rounds", type=int, default=5, help="how often each side is measured")
    parser.add_argument("--ours", type=int, default=40, help="images that each process of this side scores")
    parser.add_argument("--theirs", type=int, default=10, help="images that pythae scores")
    parser.add_argument("--samples", type=int, default=5000, help="k")
    parser.add_argument("--hidden", type=int, nargs="+", default=[512, 512], help="widths of the network")
    parser.add_argument("--latent-dim", type=int, default=8)
    parser.add_argument("--decoded-at-once", type=int, default=1024)
    parser.add_argument("--json", help="write everything that was measured to this file")
    return parser.parse_args()


def network(hidden: list[int], latent_dim: int) -> VAE:
    """Return the model with which both sides score, untrained."""
    with seeded(0, "weights"):
        return VAE(mlp(SHAPE, latent_dim, 1, hidden), Bernoulli(2, 1), latent_dim)


def write_task(folder: Path, options: argparse.Namespace) -> None:
    """Write the weights of the network, and images of random binary pixels."""
    model = network(options.hidden, options.latent_dim)
    weights: dict[str, Any] = {}
    for name, net in (("encoder", model.encoder), ("decoder", model.decoder)):
        for index, layer in enumerate(part for part in net.modules() if isinstance(part, nn.Linear)):
            weights[f"{name}.weight{index}"] = layer.weight.detach().numpy()
            weights[f"{name}.bias{index}"] = layer.bias.detach().numpy()
    np.savez(folder / "network.npz", **weights)
    count = max(options.ours, options.theirs)
    pixels = torch.randint(2, (count, *SHAPE), generator=generator(0, "images"), dtype=torch.uint8)
    np.save(folder / "images.npy", pixels.numpy())


def all_sides(folder: Path, options: argparse.Namespace) -> dict[str, Side]:
    """Return what is measured, by name."""
    many = cores()

    def ours(matmul: MatMul, copies: int) -> Side:
        task = (folder, options.hidden, options.latent_dim, options.ours, options.theirs, options.samples)
        return lambda: in_own_process(score, *task, options.decoded_at_once, matmul, copies=copies)

    def theirs(threads: int, gradients: bool) -> Side:
        return lambda: pythae(folder, options, threads, gradients)

    return {
        "one thread: this project": ours("highest", 1),
        "one thread: this project, bfloat16 products": ours("medium", 1),
        "one thread: pythae": theirs(1, False),
        "one thread: pythae, gradients kept": theirs(1, True),
        "all cores: this project": ours("highest", many),
        "all cores: this project, bfloat16 products": ours("medium", many),
        "all cores: pythae": theirs(many, False),
        "all cores: pythae, gradients kept": theirs(many, True),
    }


@torch.no_grad()
def score(
    folder: Path,
    hidden: list[int],
    latent_dim: int,
    count: int,
    compared: int,
    samples: int,
    decoded_at_once: int,
    matmul: MatMul,
) -> Result:
    """Bound log p(x) of images as the metric iwae_curve does; return speed, cost and the mean bound."""
    prepare_cpu(threads=1)
    model, noise = network(hidden, latent_dim).eval(), generator(0, "noise")
    images = torch.from_numpy(np.load(folder / "images.npy")[:count])

    def bound(levels: torch.Tensor, k: int) -> torch.Tensor:
        bounds = [
            importance_weighted(model, batch, model.posterior(batch), [k], noise, decoded_at_once)
            for batch in levels.split(max(1, decoded_at_once // k))
        ]
        return torch.cat([estimate.log_mean_weight[0] for estimate in bounds])

    with matmul_precision(matmul):
        bound(images[:1], 500)
        cpu, began = cpu_seconds(), now()
        log_p = bound(images, samples)
        seconds, cpu = now() - began, cpu_seconds() - cpu
    return result(count, seconds, cpu, -log_p[:compared].mean().item())


def pythae(folder: Path, options: argparse.Namespace, threads: int, gradients: bool) -> Result:
    """Run the peer in a process of its own."""
    command = [options.peer, "-W", "ignore", str(PEER), str(folder), "--images", str(options.theirs)]
    command += ["--samples", str(options.samples), "--threads", str(threads)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    environment.pop("PYTHONPATH", None)
    command += ["--gradients"] if gradients else []
    output = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    numbers: dict[str, float] = json.loads(output.splitlines()[-1])
    return result(options.theirs, numbers["seconds"], numbers["cpu_seconds"], numbers["nll_nats"])


def result(images: int, seconds: float, cpu: float, nll: float) -> Result:
    """Return the numbers of a measurement."""
    return {"images_per_second": images / seconds, "cpu_seconds_per_image": cpu / images, "nll_nats": nll}


def now() -> float:
    """Return the time in seconds."""
    return time.perf_counter()


def print_report(rounds: list[dict[str, Result]], options: argparse.Namespace) -> None:
    """Print the rate of each side, the hours for all images, and the ratios within a round."""
    k = options.samples
    for name in sorted(rounds[0]):
        rates = [k * results[name]["images_per_second"] for results in rounds]
        cpu = [k / results[name]["cpu_seconds_per_image"] for results in rounds]
        hours = IMAGES * k / statistics.median(rates) / 3600
        nll = statistics.median(results[name]["nll_nats"] for results in rounds)
        print(f"{name:46} {spread(rates, ',.0f')} draws/s, {statistics.median(cpu):,.0f} a processor second,")
        print(f"{'':46} {hours:.2f} h for {IMAGES:,} images, nll {nll:.2f} nats")
    for cores_used in ("one thread", "all cores"):
        for ours in ("", ", bfloat16 products"):
            for theirs in ("", ", gradients kept"):
                print_ratio(rounds, f"{cores_used}: this project{ours}", f"{cores_used}: pythae{theirs}")
    print(", ".join(f"{key} {value}" for key, value in machine().items()))


def print_ratio(rounds: list[dict[str, Result]], mine: str, peer: str) -> None:
    """Print how many times faster `mine` is than `peer`, by the clock and in processor time."""
    pairs = [(results[mine], results[peer]) for results in rounds]
    clock = [ours["images_per_second"] / theirs["images_per_second"] for ours, theirs in pairs]
    processor = [theirs["cpu_seconds_per_image"] / ours["cpu_seconds_per_image"] for ours, theirs in pairs]
    print(f"{mine} / {peer}: {spread(clock)} by the clock, {spread(processor)} in processor time")


if __name__ == "__main__":
    main()
