"""A training step of the convolutional networks, with maps in the order [C, H, W] and channels last, in turn.

python benchmarks/layout.py --rounds 7

64 colour images of 32x32, 32 latents, logistic_mixture, one thread, Adam. README.md has what it gave.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from omegaconf import OmegaConf
from tabulate import tabulate

from timing import machine, spread
from vae_likelihoods.cells.build import build
from vae_likelihoods.files import PROJECT
from vae_likelihoods.models.vae import VAE
from vae_likelihoods.objectives.elbo import ELBO
from vae_likelihoods.recipes.cpu import prepare_cpu
from vae_likelihoods.seeding import generator, seeded

SHAPE, LATENT_DIM, BATCH = (3, 32, 32), 32, 64
NETWORKS = ("conv", "resnet")


def main() -> None:
    """Measure both orders for every network; print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7, help="how often each pair is measured")
    rounds = parser.parse_args().rounds
    prepare_cpu(threads=1)  # as training does
    torch.set_float32_matmul_precision("medium")  # the default of training
    rows = []
    for name in NETWORKS:
        usual, last = (step_of(name, order) for order in (torch.contiguous_format, torch.channels_last))
        for step in (usual, last):
            step()
        pairs = [(milliseconds(usual), milliseconds(last)) for _ in range(rounds)]
        ratios = [after / before for before, after in pairs]
        rows.append([name, *(spread(each, ".0f") for each in zip(*pairs, strict=True)), spread(ratios)])
    print(tabulate(rows, ["network", "usual, ms", "channels last, ms", "ratio"], tablefmt="pipe"))
    print(", ".join(f"{key} {value}" for key, value in machine().items()))


def step_of(name: str, order: torch.memory_format) -> Callable[[], None]:
    """Return a training step of a network whose weights, and so whose maps, have this order."""
    nodes = {
        group: dict(OmegaConf.to_container(OmegaConf.load(PROJECT / "conf" / group / f"{file}.yaml")))  # type: ignore[arg-type]
        for group, file in (("likelihood", "logistic_mixture"), ("network", name))
    }
    with seeded(0, "weights"):
        likelihood = build("likelihood", nodes["likelihood"], levels=256, channels=SHAPE[0])
        sizes = {"latent_dim": LATENT_DIM, "output_channels": likelihood.output_channels}
        model = VAE(build("network", nodes["network"], shape=SHAPE, **sizes), likelihood, LATENT_DIM)
    model.to(memory_format=order)  # type: ignore[call-overload]
    levels = torch.randint(256, (BATCH, *SHAPE), generator=generator(0, "levels"), dtype=torch.uint8)
    levels = levels.contiguous(memory_format=order)
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    objective, noise = ELBO(1.0, 0), generator(0, "noise")

    def step() -> None:
        optimizer.zero_grad()
        objective(model, levels, noise, 1).loss.backward()
        optimizer.step()

    return step


def milliseconds(work: Callable[[], None]) -> float:
    """Run `work` once and return the time."""
    start = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - start)


if __name__ == "__main__":
    main()
