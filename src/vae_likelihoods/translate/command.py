"""The command line of the loss translator, as __main__.py shows it."""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any, NoReturn

from vae_likelihoods.errors import SettingError
from vae_likelihoods.translate.losses import Reading, Translation, translate

_ASKED = "Which likelihood is the loss reconstruction_weight * R + kl_weight * KL, averaged over images?"
_HABITS = """\
what a loop does with a batch of B images        how to say it here (B, L: write the number)
  reduction="mean", KL averaged over the batch     --reduction mean
  reduction="mean", KL summed over the batch       --reduction mean --kl-weight B
  reduction="sum", KL summed over the batch        --reduction sum
  "batchmean": both summed, then divided by B      --reduction sum
  reduction="sum", KL averaged over the batch      --reduction sum --reconstruction-weight B
  half the squared error                           --reconstruction-weight 0.5
  KL averaged over L latents                       --kl-reduction mean --latent-dim L
Logged values go in as averages over images: divide by B what was summed over the batch.
"""


def text(found: Translation) -> str:
    """Return the translation for people to read."""
    lines = [f"{label:<12}{value}" for reading in found.readings for label, value in _rows(reading)]
    lines += ["SSE and BCE are sums over pixels, KL over latents; all are averages over images."]
    return "\n".join([*lines, *(f"warning: {warning}" for warning in found.warnings)])


def _rows(reading: Reading) -> Iterator[tuple[str, str]]:
    least, about = "at least " * reading.missing_is_least, "about " * (reading.bin_nats is not None)
    yield "likelihood", reading.likelihood
    if reading.sigma_pixels is not None:
        yield "sigma", f"{reading.sigma:.5g} of the pixel range, {reading.sigma_levels:.5g} levels"
        beta = f"beta = 2 sigma^2 = {2 * reading.sigma_pixels**2:.5g}"
        yield "", f"{reading.sigma_pixels:.5g} in units of the pixels: sum of squares + beta KL, {beta}"
    yield "beta", f"{reading.beta:.10g}"
    yield "ELBO", reading.equation
    yield "missing", f"{least}{reading.missing_nats:.2f} nats per image"
    yield "your loss", f"{reading.loss_per_nat:.5g} * (-ELBO_beta + missing)"
    if reading.bin_nats is not None:
        yield "on levels", f"log P(k) ~= log p(x) {-reading.bin_nats:+.2f} nats per image (bin width)"
        yield "", "wrong if p is not wide against a bin or leaves the range; training it here scores P itself"
    if reading.elbo_nats is not None:
        bits = f"{'at most ' * reading.missing_is_least}{about}{reading.bits_per_dim:.4f} bits/dim"
        yield "your log", f"ELBO {least}{about}{reading.elbo_nats:.2f} nats per image, {bits}, at beta = 1"
    yield "train it" if reading.same_optimum else "repair it", reading.overrides + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the translation; return 0, or 1 after one line that says what cannot be translated."""
    settings = _settings(arguments)
    as_json = settings.pop("json")
    try:
        found = translate(**settings)
    except SettingError as error:
        print(f"translate: {error}", file=sys.stderr)
        return 1
    print(json.dumps(asdict(found), indent=2) if as_json else text(found))
    return 0


def _settings(arguments: Sequence[str] | None) -> dict[str, Any]:
    parser = _Parser("translate", description=_ASKED, epilog=_HABITS, argument_default=argparse.SUPPRESS)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add, size = parser.add_argument, parser.add_mutually_exclusive_group(required=True)
    add("--loss", required=True, help="what R is: mse, squared error, or bce, binary cross-entropy")
    add("--reduction", required=True, help="of R over pixels and channels: sum or mean")
    size.add_argument("--shape", type=pixels, dest="dimensions", metavar="HxWxC", help="such as 64x64x3")
    size.add_argument("--dimensions", type=int, metavar="D", help="instead of it: pixels times channels")
    add("--reconstruction-weight", type=float, help="default: 1")
    add("--kl-weight", type=float, help="default: 1")
    add("--kl-reduction", help="of the KL over latents: sum or mean; default: sum")
    add("--latent-dim", type=int, help="how many latents; needed for --kl-reduction mean")
    add("--pixel-range", type=float, nargs=2, metavar=("LOW", "HIGH"), help="such as -1 1; default: 0 1")
    add("--levels", type=int, help="how many a pixel can have: 2 if binary; default: 256")
    add("--reconstruction", type=float, help="R as logged: reduced, not weighted; gives the ELBO")
    add("--kl", type=float, help="the KL of the same log")
    add("--json", action="store_true", default=False, help="print all of it as JSON")
    return vars(parser.parse_args(arguments))


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(1, f"{self.prog}: {message}\n")  # one line, like every other refusal


def pixels(shape: str) -> int:
    """Return how many numbers an image of a shape such as 64x64x3 has."""
    if re.fullmatch(r"\d+(x\d+)*", shape) is None:
        raise argparse.ArgumentTypeError(f"{shape}: need sizes such as 64x64x3")
    return math.prod(map(int, shape.split("x")))
