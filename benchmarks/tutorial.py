"""The other side of training.py: a VAE trained as tutorials do it, with torch and PIL alone.

A Dataset makes each item a picture and transforms it, one DataLoader serves training and one validation, and
every step calls `loss.item()`. Nothing is imported from the package, so a faster package does not make this
side faster.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

TRIALS = 255  # grey cross-entropy times K - 1 is the binomial's log-probability, up to a constant


class Task(NamedTuple):
    """A training that both sides do."""

    prepared: Path  # data/prepared/<dataset>
    images: int  # in its train split
    hidden: tuple[int, ...]
    latent_dim: int
    batch_size: int
    epochs: int
    seed: int


class Pictures(Dataset[tuple[Tensor, int]]):
    """One split; an item is a picture as a float tensor [1, H, W] in [0, 1], and its class."""

    def __init__(self, folder: Path, split: str) -> None:
        self.data = torch.from_numpy(np.load(folder / f"{split}_images.npy")[:, 0])  # uint8 [N, H, W]
        self.targets = torch.from_numpy(np.load(folder / f"{split}_labels.npy"))

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        picture = Image.fromarray(self.data[index].numpy())
        return to_tensor(picture), int(self.targets[index])


def to_tensor(picture: Image.Image) -> Tensor:
    """Convert a grey picture with the steps of torchvision's ToTensor."""
    image = torch.from_numpy(np.array(picture, dtype=np.uint8, copy=True))
    image = image.view(picture.size[1], picture.size[0], 1).permute(2, 0, 1).contiguous()
    return image.to(torch.float32).div(255)


class TutorialVAE(nn.Module):
    """Fully connected encoder and decoder with a ReLU between layers."""

    def __init__(self, pixels: int, hidden: Sequence[int], latent_dim: int) -> None:
        super().__init__()
        self.encoder = stack([pixels, *hidden, 2 * latent_dim])
        self.decoder = stack([latent_dim, *reversed(hidden), pixels])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits [B, pixels], mean and log-variance [B, L] for images [B, 1, H, W]."""
        mean, log_variance = self.encoder(x.flatten(1)).chunk(2, dim=-1)
        z = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        return self.decoder(z), mean, log_variance


def stack(widths: Sequence[int]) -> nn.Sequential:
    """Return linear layers of these widths with a ReLU between them."""
    layers: list[nn.Module] = []
    for wide_in, wide_out in itertools.pairwise(widths):
        layers += [nn.Linear(wide_in, wide_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def loss_of(model: TutorialVAE, x: Tensor) -> Tensor:
    """Return the loss of a batch in nats per image: weighted cross-entropy plus KL, without the constant."""
    logits, mean, log_variance = model(x)
    cross_entropy = F.binary_cross_entropy_with_logits(logits, x.flatten(1), reduction="sum")
    kl = -0.5 * torch.sum(1 + log_variance - mean.pow(2) - log_variance.exp())
    return (TRIALS * cross_entropy + kl) / len(x)


def train(task: Task, workers: int) -> float:
    """Train and validate each epoch; return the last validation loss, in nats per image.

    Args:
        task: the training.
        workers: further processes of each DataLoader.
    """
    torch.manual_seed(task.seed)
    train_set, validation_set = (Pictures(task.prepared, split) for split in ("train", "validation"))
    train_loader = DataLoader(train_set, batch_size=task.batch_size, shuffle=True, num_workers=workers)
    validation_loader = DataLoader(validation_set, batch_size=task.batch_size, num_workers=workers)
    model = TutorialVAE(train_set.data[0].numel(), task.hidden, task.latent_dim)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    validation_loss = float("nan")
    for _ in range(task.epochs):
        train_epoch(model, optimizer, train_loader)
        validation_loss = validate(model, validation_loader)
    return validation_loss


def train_epoch(
    model: TutorialVAE, optimizer: torch.optim.Optimizer, loader: DataLoader[tuple[Tensor, int]]
) -> float:
    """Train one epoch; return the mean loss."""
    model.train()
    total, count = 0.0, 0
    for x, _ in loader:
        optimizer.zero_grad()
        loss = loss_of(model, x)
        loss.backward()
        optimizer.step()
        total, count = total + loss.item() * len(x), count + len(x)
    return total / count


@torch.no_grad()
def validate(model: TutorialVAE, loader: DataLoader[tuple[Tensor, int]]) -> float:
    """Return the mean loss over a split."""
    model.eval()
    total, count = 0.0, 0
    for x, _ in loader:
        total, count = total + loss_of(model, x).item() * len(x), count + len(x)
    return total / count
