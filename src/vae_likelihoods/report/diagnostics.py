"""What is wrong with a trained cell, named from its measured numbers, with the numbers behind each name.

Pure: numbers by name, as metrics.json holds them, go in; findings come out. What was not measured is not
judged. A rule asks for an effect that is large enough to matter. If the number has a standard error, the
effect must also be `Thresholds.errors` of them away from 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Finding:
    """Something that is wrong.

    Args:
        name: of the fault.
        text: one sentence with the numbers.
        numbers: those that it was judged by, by name.
    """

    name: str
    text: str
    numbers: Mapping[str, float]


@dataclass(frozen=True)
class Thresholds:
    """How large an effect must be for a finding.

    Args:
        errors: how many standard errors an effect must be away from 0.
        overfit_share: by which share of the nats of a train image a test image must cost more.
        encoder_nats: how much a better q must gain.
        encoder_share: the share of the inference gap that must be due to the encoder.
        loose_nats: how far another bound must lie above the importance-weighted one.
        late_gain_share: by which share of its score a training must have gained in its last third.
        least_epochs: with fewer, nothing is known of how the training would go on.
        warmup_share: the largest share of the steps that a warm-up may take.
        rise_share: by which share of the score the validation score may end above its best value.
        one_image_share: the largest share of the score's variance that one image may have.
        interval_nats: the widest interval that still confirms a bound.
        rounding: the share of a score by which equal ones may differ.
    """

    errors: float = 3.0
    overfit_share: float = 0.1
    encoder_nats: float = 1.0
    encoder_share: float = 0.5
    loose_nats: float = 0.5
    late_gain_share: float = 0.01
    least_epochs: int = 3
    warmup_share: float = 0.2
    rise_share: float = 0.1
    one_image_share: float = 1 / 3
    interval_nats: float = 0.5
    rounding: float = 1e-6


class Numbers:
    """Measured numbers by name, some of which may be missing."""

    def __init__(self, measured: Mapping[str, Any], thresholds: Thresholds) -> None:
        self.measured, self.thresholds = measured, thresholds

    def have(self, *names: str) -> bool:
        """Return whether all of these were measured."""
        return all(isinstance(self.measured.get(name), int | float) for name in names)

    def pick(self, *names: str) -> dict[str, float]:
        """Return those of these numbers that were measured, and their standard errors."""
        with_errors = [each for name in names for each in (name, f"{name}_se")]
        return {name: float(self.measured[name]) for name in with_errors if self.have(name)}

    def beyond(self, name: str, least: float) -> bool:
        """Return whether a number is above `least`, and enough standard errors above 0.

        A number whose standard error should be there and is not, as with a single image, is not judged.
        """
        error = self.measured.get(f"{name}_se", 0.0)
        if not self.have(name) or error is None:
            return False
        return bool(self.measured[name] > max(least, self.thresholds.errors * error))

    def with_error(self, name: str) -> str:
        """Return a number and its standard error as text."""
        error = f" ± {self.measured[f'{name}_se']:.2f}" if self.have(f"{name}_se") else ""
        return f"{self.measured[name]:.2f}{error}"


def diagnose(measured: Mapping[str, Any], thresholds: Thresholds | None = None) -> list[Finding]:
    """Return what is wrong with a cell whose numbers are `measured`, the worst kind first; [] if nothing is.

    Example:
        >>> [finding.name for finding in diagnose({"posterior_collapse": 1, "collapsed_share": 1.0})]
        ['posterior collapse']
    """
    numbers = Numbers(measured, thresholds or Thresholds())
    return [finding for rule in RULES if (finding := rule(numbers)) is not None]


def collapse(numbers: Numbers) -> Finding | None:
    """The alarm of `latents`: the decoder ignores z, or the likelihood is too wide to reward its use."""
    alarm, share = "posterior_collapse", "collapsed_share"
    if not numbers.have(alarm, share) or not numbers.measured[alarm]:
        return None
    text = f"{numbers.measured[share]:.0%} of the latents tell nothing about an image"
    return Finding("posterior collapse", text, numbers.pick(alarm, share))


def dead_latents(numbers: Numbers) -> Finding | None:
    """Some latents carry nothing: there are more than the data need at this width of the likelihood."""
    share = "collapsed_share"
    if not numbers.have(share) or not numbers.measured[share] or collapse(numbers) is not None:
        return None
    text = f"{numbers.measured[share]:.0%} of the latents tell nothing about an image, but the others do"
    return Finding("dead latents", text, numbers.pick(share))


def overfit(numbers: Numbers) -> Finding | None:
    """Images of the train split are scored much better than others."""
    gap, train = "generalisation_gap_nats", "train_nll_nats"
    share = numbers.thresholds.overfit_share
    if not numbers.have(gap, train) or not numbers.beyond(gap, share * abs(numbers.measured[train])):
        return None
    more, cost = numbers.with_error(gap), numbers.with_error(train)
    text = f"a test image costs {more} nats more than a train image ({cost})"
    return Finding("overfit", text, numbers.pick(gap, train))


def wrong_encoder(numbers: Numbers) -> Finding | None:
    """An encoder of the same architecture does better with this decoder: it was not trained for it."""
    gain = "refit_elbo_gain_nats"
    if not numbers.beyond(gain, numbers.thresholds.encoder_nats):
        return None
    text = f"training the encoder again for the same decoder gains {numbers.with_error(gain)} nats of ELBO"
    return Finding("wrong encoder", text, numbers.pick(gain, "amortisation_gap_nats", "inference_gap_nats"))


def amortisation(numbers: Numbers) -> Finding | None:
    """The encoder's q is far from the best Gaussian of an image, and more training does not help."""
    limits, gap, whole = numbers.thresholds, "amortisation_gap_nats", "inference_gap_nats"
    if not numbers.beyond(gap, limits.encoder_nats) or wrong_encoder(numbers) is not None:
        return None
    if numbers.have(whole) and numbers.measured[gap] < limits.encoder_share * numbers.measured[whole]:
        return None
    gain = "refit_elbo_gain_nats"
    refit = f"; training it again gains {numbers.with_error(gain)}" if numbers.have(gain) else ""
    text = f"the best Gaussian of each image gains {numbers.with_error(gap)} nats over the encoder's{refit}"
    return Finding("amortisation gap", text, numbers.pick(gap, whole, gain))


def loose_bound(numbers: Numbers) -> Finding | None:
    """The importance-weighted bound, by which settings are ranked, is far below log p(x)."""
    gap, size = "iwae_gap_nats", "effective_sample_size"
    if not numbers.beyond(gap, numbers.thresholds.loose_nats):
        return None
    draws = f", whose effective sample size is {numbers.measured[size]:.1f}" if numbers.have(size) else ""
    text = f"annealing finds {numbers.with_error(gap)} nats above the importance-weighted bound{draws}"
    return Finding("loose bound", text, numbers.pick(gap, size))


def uncertified(numbers: Numbers) -> Finding | None:
    """Chains from both ends do not meet: they are too short for this decoder."""
    gap = "simulated_gap_nats"
    if not numbers.beyond(gap, numbers.thresholds.interval_nats):
        return None
    text = f"on images of the model, the annealed bounds are {numbers.with_error(gap)} nats apart"
    return Finding(
        "chains too short", text, numbers.pick(gap, "simulated_nll_upper_nats", "simulated_nll_lower_nats")
    )


BASELINES = {
    "independent_pixels_bits_per_dim": "independent pixels",
    "uniform_bits_per_dim": "a uniform guess",
}
"""The scores of models without latents, which are not trained -> their names in a sentence."""


def worse_than_baseline(numbers: Numbers) -> Finding | None:
    """A model without latents, which is not trained, scores better; such a model itself is no worse."""
    score, least = "bits_per_dim", 1 + numbers.thresholds.rounding
    better = [name for name in BASELINES if numbers.have(score, name)]
    better = [name for name in better if numbers.measured[score] > least * numbers.measured[name]]
    if not better:
        return None
    costs = " and ".join(f"{BASELINES[name]} {numbers.measured[name]:.3f}" for name in better)
    text = f"it needs {numbers.measured[score]:.3f} bits/dim, {costs}"
    return Finding("worse than a baseline", text, numbers.pick(score, *better))


def undertrained(numbers: Numbers) -> Finding | None:
    """Training ended while the validation score was still falling."""
    gain, score, best, epochs = "late_gain_bits", "bits_per_dim", "best_epoch", "epochs"
    limits = numbers.thresholds
    if not numbers.have(score, best, epochs):
        return None
    if numbers.measured[epochs] < limits.least_epochs:
        text = (
            f"{numbers.measured[epochs]:.0f} epochs of training are too few to see whether it still improves"
        )
        return Finding("still improving", text, numbers.pick(epochs))
    late = numbers.measured[best] > 0.9 * numbers.measured[epochs]
    if not late or not numbers.have(gain):
        return None
    if numbers.measured[gain] <= limits.late_gain_share * abs(numbers.measured[score]):
        return None
    gained = f"{numbers.measured[gain]:.3f} bits/dim"
    text = f"the last third of {numbers.measured[epochs]:.0f} epochs gained {gained}"
    return Finding("still improving", text, numbers.pick(gain, best, epochs, score))


def long_warmup(numbers: Numbers) -> Finding | None:
    """Much of the training went into raising the learning rate, or the weight of the rate."""
    share = "warmup_share"
    if not numbers.have(share) or numbers.measured[share] <= numbers.thresholds.warmup_share:
        return None
    text = f"the warm-up took {numbers.measured[share]:.0%} of the steps"
    return Finding("long warm-up", text, numbers.pick(share))


def diverged(numbers: Numbers) -> Finding | None:
    """The validation score got worse and worse while training went on; an early epoch was kept."""
    rise, score, best = "validation_rise_bits", "bits_per_dim", "best_epoch"
    if not numbers.have(rise, score, best):
        return None
    if numbers.measured[rise] <= numbers.thresholds.rise_share * abs(numbers.measured[score]):
        return None
    after = f"after epoch {numbers.measured[best]:.0f}"
    text = f"the validation score rose by {numbers.measured[rise]:.2f} bits/dim {after}"
    return Finding("validation got worse", text, numbers.pick(rise, score, best))


def one_image(numbers: Numbers) -> Finding | None:
    """One test image carries much of what the score's standard error is made of."""
    share = "one_image_share"
    if not numbers.have(share) or numbers.measured[share] <= numbers.thresholds.one_image_share:
        return None
    text = f"one test image has {numbers.measured[share]:.0%} of the variance of the score"
    return Finding("one image", text, numbers.pick(share))


RULES: Sequence[Callable[[Numbers], Finding | None]] = (
    worse_than_baseline,
    long_warmup,
    undertrained,
    diverged,
    one_image,
    collapse,
    wrong_encoder,
    amortisation,
    overfit,
    loose_bound,
    uncertified,
    dead_latents,
)
