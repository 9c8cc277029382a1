"""Training of one model: yields one `EpochRecord` an epoch and opens no file.

The data set is one uint8 tensor on the device, and a batch is an index_select. No step waits for the
device: losses stay there until the epoch ends. Every random draw is derived from (seed, purpose, epoch), so
training that stops after an epoch and is resumed from its state gives the same bits.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Self

import torch
from torch import Tensor
from torch.optim import Optimizer

from vae_likelihoods.models.base import Model
from vae_likelihoods.objectives.base import Objective
from vae_likelihoods.precision import precise
from vae_likelihoods.seeding import generator
from vae_likelihoods.training.schedule import TrainingSettings
from vae_likelihoods.units.quantity import bits_per_dim


@dataclass(frozen=True)
class EpochRecord:
    """The numbers of one epoch; nats per image unless the name says otherwise.

    The `train_` fields are means over the batches of the epoch, on the scale that the likelihood is trained
    on (a density may be positive). The `val_` fields are on the scale of the scores, the mass over K levels.
    recipes/training.py declares them, with their units.
    """

    epoch: int
    learning_rate: float
    rate_weight: float
    train_loss: float
    train_elbo: float
    train_distortion: float
    train_rate: float
    val_elbo: float
    val_distortion: float
    val_rate: float
    val_bits_per_dim: float
    best_epoch: int
    shared: dict[str, float] = field(default_factory=dict)  # the likelihood's shared parameters


class NonFiniteLossError(ArithmeticError):
    """The loss became infinite or not a number; the message says where, and which part of it."""

    @classmethod
    def at(cls, where: str, distortion: float, rate: float) -> Self:
        """Return the error for a loss with these parts, at a place such as "the loss ... in epoch 3"."""
        parts = {"distortion": distortion, "rate": rate}
        failed = [f"the {name} is {value:g}" for name, value in parts.items() if not math.isfinite(value)]
        return cls(f"{where}: {' and '.join(failed) or 'distortion and rate are, their weighted sum is not'}")


class Trainer:
    """Fits a model to the levels of a train split and scores it on a validation split.

    Args:
        model: on its device.
        objective: the loss.
        optimizer: built on the model's parameters; None: the model fits itself, one pass an epoch.
        settings: how long and how to train.
        train: returns the levels [N, C, H, W] of the train split (uint8, on the model's device) for an epoch;
            they are the same in every epoch unless pixels are drawn anew.
        validation: levels [M, C, H, W], uint8, on the model's device.
        seed: all noise and the order of the images derive from it.
    """

    def __init__(
        self,
        model: Model,
        objective: Objective,
        optimizer: Optimizer | None,
        settings: TrainingSettings,
        train: Callable[[int], Tensor],
        validation: Tensor,
        seed: int,
    ) -> None:
        self.model, self.objective, self.optimizer, self.settings = model, objective, optimizer, settings
        self.train, self.validation, self.seed = train, validation, seed
        self.device = validation.device
        self.epoch = 0
        self.records: list[EpochRecord] = []
        model.require_levels(validation)
        self.best_elbo, self.best_epoch = -math.inf, 0
        self.kept_weights = copy.deepcopy(model.state_dict())  # see `TrainingSettings.keep`
        self.settled = False  # whether another pass of a model that fits itself would change nothing
        self.images_seen, self.seconds = 0, 0.0  # in the last epoch: a timing, not a result
        self._base_rates = [] if optimizer is None else [group["lr"] for group in optimizer.param_groups]

    @property
    def finished(self) -> bool:
        """Whether all epochs ran, validation stopped improving, or a model that fits itself has settled."""
        patience = self.settings.patience
        stopped = patience is not None and self.epoch - self.best_epoch >= patience
        return self.settled or self.epoch >= self.settings.epochs or (self.epoch > 0 and stopped)

    def epochs(self) -> Iterator[EpochRecord]:
        """Continue training; yield a record after each epoch, until `finished`.

        Raises:
            NonFiniteLossError: when the loss of any step, or the validation ELBO, is not finite.
        """
        while not self.finished:
            self.epoch += 1
            start = time.perf_counter()
            means, learning_rate = (
                self._pass() if self.optimizer is None else self._train_epoch(self.optimizer)
            )
            distortion, kl = self._validate()
            self._keep_weights(distortion, kl)
            self.seconds = time.perf_counter() - start
            record = self._record(means, learning_rate, distortion, kl)
            self.records.append(record)
            yield record

    def _keep_weights(self, distortion: float, rate: float) -> None:
        """Note the best epoch, and keep the present weights if the settings say so."""
        elbo = -(distortion + rate)
        if not math.isfinite(elbo):
            where = f"the validation ELBO is not finite after epoch {self.epoch}"
            raise NonFiniteLossError.at(where, distortion, rate)
        if elbo > self.best_elbo:
            self.best_elbo, self.best_epoch = elbo, self.epoch
        if self.settings.kept_epoch(self.best_epoch, self.epoch) == self.epoch:
            self.kept_weights = copy.deepcopy(self.model.state_dict())

    def _record(self, means: list[float], learning_rate: float, distortion: float, kl: float) -> EpochRecord:
        """Return the record of the present epoch from the means of training and the validation scores."""
        loss, train_distortion, train_rate = means
        return EpochRecord(
            epoch=self.epoch,
            learning_rate=learning_rate,
            rate_weight=self.objective.rate_weight(self.epoch),
            train_loss=loss,
            train_elbo=-(train_distortion + train_rate),
            train_distortion=train_distortion,
            train_rate=train_rate,
            val_elbo=-(distortion + kl),
            val_distortion=distortion,
            val_rate=kl,
            val_bits_per_dim=bits_per_dim(distortion + kl, self.validation[0].numel()),
            best_epoch=self.best_epoch,
            shared=self.model.summary(),
        )

    def _images(self) -> Tensor:
        """Return the images of the epoch, which may be its own."""
        levels = self.train(self.epoch)
        self.model.require_levels(levels)
        self.images_seen = len(levels)
        return levels

    @torch.no_grad()
    def _pass(self) -> tuple[list[float], float]:
        """Let the model fit itself in one pass; return the means of loss, distortion and rate, and 0."""
        levels = self._images()
        self.settled = self.model.fit(levels, self.validation)
        distortion, rate = self._parts(levels, generator(self.seed, "noise", self.epoch, device=self.device))
        return [distortion + rate, distortion, rate], 0.0

    def _train_epoch(self, optimizer: Optimizer) -> tuple[list[float], float]:
        """Train for one epoch; return the means of loss, distortion and rate, and the last learning rate."""
        levels = self._images()
        order = torch.randperm(len(levels), generator=generator(self.seed, "order", self.epoch))
        batches = order.to(self.device).split(self.settings.batch_size)
        noise = generator(self.seed, "noise", self.epoch, device=self.device)
        step_sums: list[Tensor] = []
        for index, rows in enumerate(batches):
            step = (self.epoch - 1) * len(batches) + index
            factor = self.settings.learning_rate_factor(step, self.settings.epochs * len(batches))
            for group, base in zip(optimizer.param_groups, self._base_rates, strict=True):
                group["lr"] = base * factor
            step_sums.append(self._step(optimizer, levels.index_select(0, rows), noise) * len(rows))
        sums = precise(torch.stack(step_sums))  # [steps, 3]
        failed = (~sums[:, 0].isfinite()).nonzero()
        if len(failed) > 0:
            step = int(failed[0])
            where = f"the loss is not finite in epoch {self.epoch}, step {step + 1}"
            raise NonFiniteLossError.at(where, *sums[step, 1:].tolist())
        means: list[float] = (sums.sum(0) / len(levels)).tolist()
        return means, optimizer.param_groups[0]["lr"]

    def _step(self, optimizer: Optimizer, levels: Tensor, noise: torch.Generator) -> Tensor:
        """Take one step; return loss, mean distortion and mean rate as a tensor [3] on the device."""
        means = self._means(levels, noise)
        optimizer.zero_grad(set_to_none=True)
        means[0].backward()
        if self.settings.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip_norm)
        optimizer.step()
        return means.detach()

    def _means(self, levels: Tensor, noise: torch.Generator) -> Tensor:
        """Return loss, mean distortion and mean rate of a batch, [3]; the loss has a gradient."""
        with self._autocast():
            terms = self.objective(self.model, levels, noise, self.epoch)
        return terms.means()

    @torch.no_grad()
    def _validate(self) -> tuple[float, float]:
        """Return mean distortion and rate of the validation split, with the same noise in every epoch."""
        return self._parts(self.validation, generator(self.seed, "validation", device=self.device))

    def _parts(self, images: Tensor, noise: torch.Generator) -> tuple[float, float]:
        """Return mean distortion and rate of images."""
        batches = images.split(self.settings.evaluation_batch_size)
        parts = [self.model.parts(levels, noise, self._autocast) for levels in batches]
        distortion, rate = (precise(torch.cat(each)).mean().item() for each in zip(*parts, strict=True))
        return distortion, rate

    def _autocast(self) -> AbstractContextManager[Any]:
        half = self.settings.precision == "bfloat16"
        return torch.autocast(self.device.type, torch.bfloat16) if half else nullcontext()

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the next epoch depends on."""
        return {
            "epoch": self.epoch,
            "records": [vars(record) for record in self.records],
            "best": (self.best_elbo, self.best_epoch),
            "kept": self.kept_weights,
            "model": self.model.state_dict(),
            "optimizer": None if self.optimizer is None else self.optimizer.state_dict(),
            "settled": self.settled,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state`, as if training had never stopped."""
        self.epoch = state["epoch"]
        self.records = [EpochRecord(**record) for record in state["records"]]
        self.best_elbo, self.best_epoch = state["best"]
        self.kept_weights = state["kept"]
        self.model.load_state_dict(state["model"])
        self.settled = state["settled"]
        if self.optimizer is not None:
            self.optimizer.load_state_dict(state["optimizer"])
