"""The cost of a likelihood: log_mass forward and backward beside those of its decoder, in one run.

python benchmarks/likelihoods.py --json likelihoods.json
python benchmarks/likelihoods.py beta_binomial logistic_mixture --rounds 20      # some of them

For every conf/likelihood/*.yaml: a batch of 28x28 images, the decoder of the default network (8 latents,
512, 512, 784 P outputs), one thread. README.md describes the measurement.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from timing import machine, spread
from vae_likelihoods.cells.build import build
from vae_likelihoods.files import PROJECT, write_json
from vae_likelihoods.likelihoods.base import Likelihood
from vae_likelihoods.networks.mlp import mlp
from vae_likelihoods.recipes.cpu import prepare_cpu
from vae_likelihoods.seeding import generator, seeded

SHAPE, LATENT_DIM, HIDDEN = (1, 28, 28), 8, (512, 512)
CONFIGS = sorted(path.stem for path in (PROJECT / "conf" / "likelihood").glob("*.yaml"))


def main() -> None:
    """Measure every likelihood; print a table."""
    options = arguments()
    prepare_cpu(threads=1)  # as training does
    torch.set_float32_matmul_precision(options.matmul)
    timings: dict[str, dict[str, Any]] = {}
    for name in options.likelihoods or CONFIGS:
        timings[name] = times_of(name, options)
        print(line(name, timings[name]), flush=True)
    computer = ", ".join(f"{key} {value}" for key, value in machine().items())
    print(f"{computer}, matmul {options.matmul}, batch {options.batch}, K {options.levels}")
    if options.json:
        content = {"settings": vars(options), "machine": machine(), "likelihoods": timings}
        write_json(Path(options.json), content)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("likelihoods", nargs="*", metavar="NAME", help="names of YAMLs; default: all")
    parser.add_argument("--rounds", type=int, default=15, help="how often each pair is measured")
    parser.add_argument("--batch", type=int, default=256, help="images")
    parser.add_argument("--levels", type=int, default=256, help="K (bernoulli: 2)")
    parser.add_argument("--matmul", choices=["highest", "high", "medium"], default="highest")
    parser.add_argument("--json", help="write everything that was measured to this file")
    options = parser.parse_args()
    if unknown := set(options.likelihoods) - set(CONFIGS):
        parser.error(f"no such likelihood: {', '.join(sorted(unknown))} (choose from {', '.join(CONFIGS)})")
    if min(options.rounds, options.batch) < 1 or not 2 <= options.levels <= 256:
        parser.error("counts must be at least 1, levels 2 .. 256")
    return options


def times_of(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Time the decoder and the likelihood in turn; return milliseconds and ratios, round by round."""
    levels = 2 if name == "bernoulli" else options.levels
    config = OmegaConf.to_container(OmegaConf.load(PROJECT / "conf" / "likelihood" / f"{name}.yaml"))
    likelihood: Likelihood = build("likelihood", config, levels=levels, channels=1)  # type: ignore[arg-type]
    decode, score = steps(likelihood, options.batch)
    for _ in range(3):
        decode(), score()
    decoder_ms, log_mass_ms = [], []
    for _ in range(options.rounds):
        decoder_ms.append(milliseconds(decode))
        log_mass_ms.append(milliseconds(score))
    ratios = [log_mass / decoder for log_mass, decoder in zip(log_mass_ms, decoder_ms, strict=True)]
    outputs = likelihood.outputs_per_channel
    return {"outputs": outputs, "decoder_ms": decoder_ms, "log_mass_ms": log_mass_ms, "ratios": ratios}


def steps(likelihood: Likelihood, batch: int) -> tuple[Callable[[], None], Callable[[], None]]:
    """Return the two functions that are timed: forward and backward of the decoder, and of log_mass."""
    with seeded(0, "weights"):
        decoder = mlp(SHAPE, LATENT_DIM, likelihood.output_channels, HIDDEN).decoder
    z = torch.randn(batch, LATENT_DIM, generator=generator(0, "latents")).requires_grad_()
    k = torch.randint(likelihood.levels, (batch, *SHAPE), generator=generator(0, "levels"), dtype=torch.uint8)
    outputs = decoder(z).detach().requires_grad_()
    gradient = torch.randn(outputs.shape, generator=generator(0, "gradient"))

    def decode() -> None:
        decoder(z).backward(gradient)

    def score() -> None:
        likelihood.log_mass(outputs, k).sum().backward()

    return decode, score


def milliseconds(work: Callable[[], None]) -> float:
    """Run `work` once and return the time."""
    start = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - start)


def line(name: str, timing: dict[str, Any]) -> str:
    """Return medians and (smallest .. largest) as text."""
    decoder, log_mass = (statistics.median(timing[key]) for key in ("decoder_ms", "log_mass_ms"))
    return (
        f"{name:22} P {timing['outputs']:2}   decoder {decoder:7.2f} ms   log_mass {log_mass:7.2f} ms   "
        f"ratio {spread(timing['ratios'])}"
    )


if __name__ == "__main__":
    main()
