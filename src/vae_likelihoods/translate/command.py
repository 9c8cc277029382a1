"""A translation as text, for the command line."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from vae_likelihoods.errors import require
from vae_likelihoods.translate.losses import Reading, Translation, translate


def answer(settings: dict[str, Any], shape: str | None, as_json: bool) -> str:
    """Return what `translate` says of a loss, as text or as JSON.

    Args:
        settings: the arguments of `translate` that were given.
        shape: of an image, such as 64x64x3, in place of `dimensions`.
        as_json: whether to return all of it as JSON.

    Raises:
        SettingError: if the loss cannot be translated, or not one of shape and dimensions is given.
    """
    count = (shape is not None) + ("dimensions" in settings)
    require(count == 1, "shape", shape or "(none)", "give either shape or dimensions")
    if shape is not None:
        settings = {**settings, "dimensions": pixels(shape)}
    translation = translate(**settings)
    return json.dumps(asdict(translation), indent=2) if as_json else text(translation)


def pixels(shape: str) -> int:
    """Return how many numbers an image of a shape such as 64x64x3 has.

    Raises:
        SettingError: if it is not a shape.
    """
    require(re.fullmatch(r"\d+(x\d+)*", shape) is not None, "shape", shape, "need sizes such as 64x64x3")
    return math.prod(map(int, shape.split("x")))


def text(translation: Translation) -> str:
    """Return the translation for people to read."""
    lines = [f"{label:<12}{value}" for reading in translation.readings for label, value in _rows(reading)]
    lines += ["SSE and BCE are sums over pixels, KL over latents; all are averages over images."]
    return "\n".join([*lines, *(f"warning: {warning}" for warning in translation.warnings)])


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
