"""Scores on the wrong images: the training images, or those that selected the epoch."""

from __future__ import annotations

from dataclasses import replace

from vae_likelihoods.gallery.images import Images
from vae_likelihoods.gallery.record import GalleryRow, difference
from vae_likelihoods.gallery.training import make_trainer, scored
from vae_likelihoods.likelihoods.bernoulli import Bernoulli
from vae_likelihoods.objectives.elbo import ELBO

_TRAIN, _VALIDATION = 300, 100  # few images, so that the model overfits
_EPOCHS = 200


# Seen in tutorials: both loaders are given train=True, or the checkpoint kept is the one best on test.
def wrong_split(images: Images, seed: int) -> GalleryRow:
    """Overfit a small VAE on binary images; score it on the test split after each epoch, and on train."""
    binary = images.at(2)
    few = replace(binary, train=binary.train[:_TRAIN], validation=binary.validation[:_VALIDATION])
    likelihood = Bernoulli(levels=2, channels=binary.shape[0])
    trainer = make_trainer(few, likelihood, ELBO(beta=1.0, warmup_epochs=0), _EPOCHS, seed)
    tests = [scored(trainer.model, few.test, seed).bits_per_dim for _ in trainer.epochs()]
    train = scored(trainer.model, few.train, seed).bits_per_dim
    return GalleryRow(
        written="score the train split; stop at the epoch that is best on test",
        right="score the test split; stop at the epoch that is best on validation",
        findings=(
            difference("test against train split, last epoch, bits/dim", tests[-1], train, "bits/dim"),
            difference(
                "test split, epoch by validation against by test, bits/dim",
                tests[trainer.best_epoch - 1],
                min(tests),
                "bits/dim",
            ),
        ),
    )
