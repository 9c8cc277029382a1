"""Training: the same bits after any interruption; and its schedule, clipping and early stopping."""

from __future__ import annotations

import functools
import io
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from safetensors.torch import save
from torch import Tensor

from families import learned_gaussian
from training_settings import training
from vae_likelihoods.datasets.quantise import draw
from vae_likelihoods.likelihoods.bernoulli import Bernoulli
from vae_likelihoods.models.vae import VAE
from vae_likelihoods.networks.mlp import mlp
from vae_likelihoods.objectives.base import Objective, Terms
from vae_likelihoods.objectives.elbo import ELBO
from vae_likelihoods.objectives.several_draws import IWAE
from vae_likelihoods.seeding import generator, seeded
from vae_likelihoods.training.schedule import TrainingSettings, stage_ratio
from vae_likelihoods.training.trainer import NonFiniteLossError, Trainer

SHAPE, IMAGES, BATCH = (1, 6, 6), 90, 32  # three batches an epoch, the last one smaller
PLAIN = training(batch_size=BATCH, evaluation_batch_size=16, schedule="constant")
# Everything that remembers something between epochs.
EVENTFUL = PLAIN.model_copy(
    update={"epochs": 9, "schedule": "cosine", "warmup_steps": 4, "clip_norm": 5.0, "patience": 2}
)
OBJECTIVES = [ELBO(beta=1.5, warmup_epochs=3), IWAE(samples=3)]


def grey(count: int = IMAGES, native: int = 256) -> Tensor:
    """Images with something to learn: two patterns, and noise."""
    rng = generator(0, "images")
    kind = torch.randint(2, (count, 1, 1, 1), generator=rng)
    pattern = torch.rand(2, *SHAPE, generator=rng)[kind.flatten()]
    noisy = pattern + 0.1 * torch.randn(count, *SHAPE, generator=rng)
    return (noisy.clamp(0, 1) * (native - 1)).round().to(torch.uint8)


def make(
    settings: TrainingSettings = PLAIN,
    objective: Objective = OBJECTIVES[0],
    seed: int = 0,
    likelihood: Callable[[], Any] = lambda: learned_gaussian(256, 1),
    train: Callable[[int], Tensor] | None = None,
    validation: Tensor | None = None,
    lr: float = 3e-3,
) -> Trainer:
    with seeded(seed, "weights"):
        model = VAE(mlp(SHAPE, 2, 1, hidden=[12]), likelihood(), 2)
    images = grey()
    adam = torch.optim.Adam(model.parameters(), lr=lr)
    watched = grey(40) if validation is None else validation
    return Trainer(model, objective, adam, settings, train or (lambda epoch: images), watched, seed)


def redrawn(settings: TrainingSettings, objective: Objective, seed: int = 0) -> Trainer:
    """Binary pixels that are drawn afresh every epoch."""
    images = grey()
    return make(
        settings,
        objective,
        seed,
        likelihood=lambda: Bernoulli(2, 1),
        train=lambda epoch: draw(images, 256, seed, epoch),
        validation=draw(grey(40), 256, 0, 0),
    )


def weights(trainer: Trainer) -> bytes:
    return save(trainer.model.state_dict()) + save(trainer.kept_weights)


def run(trainer: Trainer) -> Trainer:
    for _ in trainer.epochs():
        pass
    return trainer


def through_a_file(state: dict[str, Any]) -> dict[str, Any]:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    loaded: dict[str, Any] = torch.load(file, weights_only=True)
    return loaded


@pytest.mark.parametrize("maker", [make, redrawn])
@pytest.mark.parametrize("objective", OBJECTIVES, ids=["elbo", "iwae"])
def test_same_seed_same_bytes(maker: Callable[..., Trainer], objective: Objective) -> None:
    first, again = (run(maker(EVENTFUL, objective)) for _ in range(2))
    assert first.records == again.records
    assert weights(first) == weights(again)


def test_other_seed_other_bytes() -> None:
    first, other = run(make(seed=0)), run(make(seed=1))
    assert weights(first) != weights(other)
    assert first.records[0].train_loss != other.records[0].train_loss


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("maker", [make, redrawn])
@pytest.mark.parametrize("objective", OBJECTIVES, ids=["elbo", "iwae"])
def test_stopped_after_any_epoch_and_resumed_gives_the_same_bytes(
    maker: Callable[..., Trainer], objective: Objective, precision: str
) -> None:
    settings = EVENTFUL.model_copy(update={"precision": precision})
    whole = run(maker(settings, objective))
    states = [through_a_file(maker(settings, objective).state_dict())]
    watched = maker(settings, objective)
    states += [through_a_file(watched.state_dict()) for _ in watched.epochs()]
    assert len(states) == len(whole.records) + 1 > 3
    for epoch, state in enumerate(states):
        resumed = maker(settings, objective)
        resumed.load_state_dict(state)
        assert resumed.epoch == epoch
        run(resumed)
        assert resumed.records == whole.records
        assert (resumed.best_epoch, resumed.best_elbo) == (whole.best_epoch, whole.best_elbo)
        assert weights(resumed) == weights(whole)


def test_resumed_again_and_again() -> None:
    whole, resumed = run(make(EVENTFUL)), make(EVENTFUL)
    for _ in whole.records:
        state = through_a_file(resumed.state_dict())
        resumed = make(EVENTFUL)
        resumed.load_state_dict(state)
        next(resumed.epochs())
    assert resumed.finished
    assert weights(resumed) == weights(whole)
    assert resumed.records == whole.records


def test_global_generator_is_left_alone() -> None:
    trainer = make(EVENTFUL)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    run(trainer)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    assert weights(run(make(EVENTFUL))) == weights(trainer)


def test_every_image_is_seen_once_an_epoch_in_another_order() -> None:
    orders: dict[int, list[int]] = {}

    class Spy(ELBO):
        def __call__(self, model: VAE, levels: Tensor, noise: torch.Generator, epoch: int) -> Terms:
            orders.setdefault(epoch, []).extend(levels[:, 0, 0, 0].tolist())
            return super().__call__(model, levels, noise, epoch)

    images = torch.arange(IMAGES, dtype=torch.uint8).reshape(-1, 1, 1, 1).expand(-1, *SHAPE).contiguous()
    run(make(objective=Spy(1.0, 0), train=lambda epoch: images))
    assert sorted(orders) == [1, 2, 3, 4]
    for order in orders.values():
        assert sorted(order) == list(range(IMAGES))
    assert orders[1] != orders[2] != list(range(IMAGES))


def test_train_is_asked_for_the_levels_of_each_epoch() -> None:
    epochs, images = [], grey()

    def train(epoch: int) -> Tensor:
        epochs.append(epoch)
        return images

    run(make(train=train))
    assert epochs == [1, 2, 3, 4]


@pytest.mark.parametrize("patience", [1, 2, 3])
def test_early_stopping_keeps_the_best_weights(patience: int) -> None:
    settings = PLAIN.model_copy(update={"epochs": 60, "patience": patience})
    trainer, kept = make(settings, ELBO(1.0, 0), lr=0.05), {}
    for record in trainer.epochs():
        kept[record.epoch] = save(trainer.model.state_dict())
    elbos = [record.val_elbo for record in trainer.records]
    best = max(range(len(elbos)), key=elbos.__getitem__) + 1
    assert best < len(elbos) == best + patience < 60
    assert trainer.best_epoch == best
    assert trainer.best_elbo == elbos[best - 1]
    assert save(trainer.kept_weights) == kept[best] != kept[len(elbos)]
    # no earlier epoch would have been a reason to stop
    running = [record.epoch - record.best_epoch for record in trainer.records[:-1]]
    assert max(running) < patience


def test_the_last_weights_are_kept_if_asked_for() -> None:
    settings = PLAIN.model_copy(update={"epochs": 12, "keep": "last"})
    trainer = run(make(settings, ELBO(1.0, 0), lr=0.05))
    elbos = [record.val_elbo for record in trainer.records]
    assert len(elbos) == 12
    assert max(elbos) > elbos[-1]
    assert save(trainer.kept_weights) == save(trainer.model.state_dict())
    best = [max(range(epoch), key=elbos.__getitem__) + 1 for epoch in range(1, 13)]
    assert [record.best_epoch for record in trainer.records] == best


@pytest.mark.parametrize("keep", ["best", "last"])
def test_patience_counts_from_the_best_epoch_whatever_is_kept(keep: str) -> None:
    """With a rate of 0 no epoch is better than the first."""
    settings = PLAIN.model_copy(update={"epochs": 20, "keep": keep, "patience": 2})
    trainer = run(make(settings, lr=0.0))
    assert [record.best_epoch for record in trainer.records] == [1, 1, 1]


def test_what_is_kept_changes_no_epoch() -> None:
    best, last = (
        run(make(EVENTFUL.model_copy(update={"epochs": 60, "keep": keep}), lr=0.05))
        for keep in ("best", "last")
    )
    assert best.records == last.records
    assert save(best.kept_weights) != save(last.kept_weights)


def test_early_stopping_survives_restarts() -> None:
    settings = PLAIN.model_copy(update={"epochs": 60, "patience": 2})
    whole = run(make(settings, lr=0.05))
    assert len(whole.records) == whole.best_epoch + 2 < 60
    watched = make(settings, lr=0.05)
    for _ in watched.epochs():
        resumed = make(settings, lr=0.05)
        resumed.load_state_dict(through_a_file(watched.state_dict()))
        assert resumed.finished == watched.finished
        assert run(resumed).records == whole.records
        assert weights(resumed) == weights(whole)


def test_without_patience_all_epochs_run() -> None:
    trainer = run(make(PLAIN.model_copy(update={"epochs": 6}), lr=0.05))
    assert [record.epoch for record in trainer.records] == [1, 2, 3, 4, 5, 6]
    assert trainer.finished
    assert list(trainer.epochs()) == []


class BreaksDown(ELBO):
    """Its seventh loss, the first of the third epoch, is fine; the eighth is not a number."""

    def __call__(self, model: VAE, levels: Tensor, noise: torch.Generator, epoch: int) -> Terms:
        terms = super().__call__(model, levels, noise, epoch)
        return terms._replace(loss=terms.loss * math.nan) if next(self.calls) == 8 else terms

    @functools.cached_property
    def calls(self) -> Iterator[int]:
        return itertools.count(1)


def test_a_loss_that_is_not_finite_names_epoch_and_step() -> None:
    trainer = make(objective=BreaksDown(1.0, 0))
    with pytest.raises(
        NonFiniteLossError, match=r"epoch 3, step 2: distortion and rate are, their weighted sum is not$"
    ):
        run(trainer)
    assert [record.epoch for record in trainer.records] == [1, 2]


class Spoilt(ELBO):
    """Parts of its terms are replaced."""

    def __init__(self, **parts: Tensor) -> None:
        super().__init__(1.0, 0)
        object.__setattr__(self, "parts", parts)

    def __call__(self, model: VAE, levels: Tensor, noise: torch.Generator, epoch: int) -> Terms:
        terms = super().__call__(model, levels, noise, epoch)._replace(**self.parts)  # type: ignore[attr-defined]
        return terms._replace(loss=terms.loss * (terms.distortion + terms.rate).mean())


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"distortion": torch.full((BATCH,), math.inf)}, ": the distortion is inf$"),
        ({"rate": torch.full((BATCH,), math.nan)}, ": the rate is nan$"),
        (
            {"distortion": torch.full((BATCH,), math.inf), "rate": torch.full((BATCH,), math.nan)},
            ": the distortion is inf and the rate is nan$",
        ),
    ],
)
def test_a_loss_that_is_not_finite_names_its_part(parts: dict[str, Tensor], message: str) -> None:
    images = grey(BATCH)
    with pytest.raises(NonFiniteLossError, match="epoch 1, step 1" + message):
        run(make(objective=Spoilt(**parts), train=lambda epoch: images))


def test_a_diverging_run_is_an_error() -> None:
    with pytest.raises(NonFiniteLossError, match="epoch 1, step 2"):
        run(make(lr=1e30))


def test_validation_that_is_not_finite_is_an_error() -> None:
    """One step: its loss is finite, and the weights after it are not."""
    with pytest.raises(NonFiniteLossError, match="validation ELBO is not finite after epoch 1"):
        run(make(PLAIN.model_copy(update={"batch_size": IMAGES}), lr=1e30))


def test_bfloat16_trains_close_to_float32() -> None:
    settings = PLAIN.model_copy(update={"epochs": 30, "precision": "bfloat16"})
    half = run(make(settings, ELBO(1.0, 0), lr=0.01))
    full = run(make(PLAIN.model_copy(update={"epochs": 30}), ELBO(1.0, 0), lr=0.01))
    assert weights(half) != weights(full)
    assert all(tensor.dtype == torch.float32 for tensor in half.kept_weights.values())
    gained = full.best_elbo - full.records[0].val_elbo
    assert gained > 5
    assert half.best_elbo - half.records[0].val_elbo > 0.9 * gained


def test_constant_schedule_with_warm_up() -> None:
    settings = PLAIN.model_copy(update={"warmup_steps": 3})
    factors = [settings.learning_rate_factor(step, 100) for step in range(6)]
    assert factors == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0, 1.0])


def test_cosine_schedule_falls_from_one_towards_nothing() -> None:
    settings = PLAIN.model_copy(update={"schedule": "cosine"})
    factors = [settings.learning_rate_factor(step, 8) for step in range(9)]
    assert factors == pytest.approx([0.5 + 0.5 * math.cos(math.pi * step / 8) for step in range(9)])
    assert factors[0] == 1.0
    assert factors[4] == pytest.approx(0.5)
    assert factors == sorted(factors, reverse=True)


def staged(epochs: int) -> TrainingSettings:
    return PLAIN.model_copy(update={"schedule": "stages", "epochs": epochs})


def test_stages_are_the_epochs_and_rates_of_the_paper() -> None:
    """Burda et al. 2016, section 5: 3^i passes over the data at 0.001 10^(-i/7), i = 0 .. 7, 3280 in all."""
    batches = 2
    rates = [
        0.001 * staged(3280).learning_rate_factor(step, 3280 * batches) for step in range(3280 * batches)
    ]
    expected = [0.001 * 10 ** (-i / 7) for i in range(8) for _ in range(batches * 3**i)]
    assert rates == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("epochs", "ratio"), [(1, 0), (8, 1), (255, 2), (3280, 3), (21845, 4)])
def test_the_ratio_of_the_stages_is_the_root(epochs: int, ratio: int) -> None:
    """1 + r + ... + r^7 = (r^8 - 1) / (r - 1)."""
    assert stage_ratio(epochs) == pytest.approx(ratio, rel=1e-14)


@pytest.mark.parametrize("epochs", [8, 13, 40, 121])
def test_fewer_epochs_keep_the_eight_rates_and_a_ratio_between_their_stages(epochs: int) -> None:
    batches = 1000
    factors = [
        staged(epochs).learning_rate_factor(step, epochs * batches) for step in range(epochs * batches)
    ]
    rates = list(dict.fromkeys(factors))
    assert rates == pytest.approx([10 ** (-i / 7) for i in range(8)])
    lengths = [factors.count(rate) / batches for rate in rates]
    assert sum(lengths) == pytest.approx(epochs)
    ratios = [later / earlier for earlier, later in itertools.pairwise(lengths)]
    assert lengths[0] == pytest.approx(1, abs=0.01)
    assert ratios == pytest.approx([stage_ratio(epochs)] * 7, abs=0.01)
    assert 1 <= stage_ratio(epochs) < 3


@pytest.mark.parametrize("epochs", [1, 2, 5])
def test_very_few_epochs_have_falling_rates_too(epochs: int) -> None:
    factors = [staged(epochs).learning_rate_factor(step, epochs * 50) for step in range(epochs * 50)]
    assert factors == sorted(factors, reverse=True)
    assert factors[0] == 1


def test_the_optimiser_steps_with_the_scheduled_rate() -> None:
    settings = PLAIN.model_copy(update={"schedule": "cosine", "warmup_steps": 4})
    trainer, used = make(settings), []
    trainer.optimizer.register_step_pre_hook(lambda adam, *_: used.append(adam.param_groups[0]["lr"]))
    run(trainer)
    expected = [3e-3 * settings.learning_rate_factor(step, 12) for step in range(12)]
    assert used == pytest.approx(expected)
    assert [record.learning_rate for record in trainer.records] == pytest.approx(expected[2::3])


@pytest.mark.parametrize("clip_norm", [0.01, 3.0, None])
def test_clip_norm_is_the_largest_norm_of_a_step(clip_norm: float | None) -> None:
    trainer, norms = make(PLAIN.model_copy(update={"clip_norm": clip_norm})), []

    def note(*_: Any) -> None:
        norms.append(torch.stack([p.grad.norm() for p in trainer.model.parameters()]).norm().item())  # type: ignore[union-attr]

    trainer.optimizer.register_step_pre_hook(note)
    run(trainer)
    assert len(norms) == 12
    if clip_norm is None:
        assert max(norms) > 3.0
    else:
        assert max(norms) == pytest.approx(clip_norm, rel=1e-3)


def test_a_record_adds_up() -> None:
    trainer = run(make(objective=ELBO(2.0, 1)))
    for record in trainer.records:
        assert record.train_elbo == -(record.train_distortion + record.train_rate)
        assert record.val_elbo == -(record.val_distortion + record.val_rate)
        assert record.val_bits_per_dim == pytest.approx(-record.val_elbo / (36 * math.log(2)))
        assert record.train_loss == pytest.approx(
            record.train_distortion + record.rate_weight * record.train_rate, rel=1e-5
        )
        assert set(record.shared) == {"scale"}
    assert [record.rate_weight for record in trainer.records] == [1.0, 2.0, 2.0, 2.0]


def test_the_last_smaller_batch_counts_by_its_images() -> None:
    """With a rate of 0 nothing moves: the epoch's mean is that over images and not over batches."""
    images = torch.cat([torch.zeros(64, *SHAPE), torch.full((26, *SHAPE), 255)]).to(torch.uint8)
    ordered = torch.randperm(IMAGES, generator=generator(0, "order", 1)).argsort()

    class Marked(ELBO):
        def __call__(self, model: VAE, levels: Tensor, noise: torch.Generator, epoch: int) -> Terms:
            value = levels.float().mean((1, 2, 3)) + 0 * next(model.parameters()).sum()
            return Terms(value.mean(), value, torch.zeros_like(value))

    trainer = make(
        PLAIN.model_copy(update={"epochs": 1}), Marked(1.0, 0), train=lambda epoch: images[ordered]
    )
    (record,) = trainer.epochs()
    assert record.train_distortion == pytest.approx(255 * 26 / 90, rel=1e-6)


def test_validation_uses_the_same_noise_in_every_epoch() -> None:
    trainer = make(PLAIN.model_copy(update={"epochs": 3}), lr=0.0)
    elbos = {record.val_elbo for record in trainer.epochs()}
    assert len(elbos) == 1


def test_validation_is_scored_on_the_mass() -> None:
    trainer = run(make(PLAIN.model_copy(update={"epochs": 1})))
    noise, model = generator(0, "validation"), trainer.model
    total = torch.zeros(())
    with torch.no_grad():
        for levels in trainer.validation.split(16):
            posterior = model.posterior(levels)
            z = posterior.mean + posterior.stddev * torch.randn(posterior.mean.shape, generator=noise)
            total += model.likelihood.log_mass(model.decode(z), levels).sum()
            total -= model.rate_per_latent(posterior).sum()
    assert trainer.records[0].val_elbo == pytest.approx(total.item() / 40, rel=1e-5)


@pytest.mark.parametrize("field", sorted(TrainingSettings.model_fields))
def test_every_field_of_the_settings_is_needed(field: str) -> None:
    values = {**PLAIN.model_dump()}
    del values[field]
    with pytest.raises(ValueError, match="Field required"):
        TrainingSettings.model_validate(values)
