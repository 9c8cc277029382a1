"""Pictures of images, and of the KL of each latent."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vae_likelihoods.errors import require
from vae_likelihoods.models.base import Model
from vae_likelihoods.seeding import generator

GAP = 2  # pixels between images, before scaling
PAPER = 255


def image_grid(images: Tensor, columns: int, scale: int = 2) -> Image.Image:
    """Arrange images [N, C, H, W] in [0, 1] in rows of `columns`, each pixel `scale` wide.

    Raises:
        SettingError: C is neither 1 (grey) nor 3 (colour).
    """
    count, channels, height, width = images.shape
    require(channels in (1, 3), "channels", channels, "a picture has one of grey or three of colour")
    rows = math.ceil(count / columns)
    pixels = (images.clamp(0, 1) * 255).round().to(torch.uint8).cpu().permute(0, 2, 3, 1).numpy()
    sheet = np.full((rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, channels), PAPER, np.uint8)
    for index, image in enumerate(pixels):
        top, left = (index // columns) * (height + GAP), (index % columns) * (width + GAP)
        sheet[top : top + height, left : left + width] = image
    sheet = sheet.repeat(scale, axis=0).repeat(scale, axis=1)
    return Image.fromarray(sheet[:, :, 0] if channels == 1 else sheet)


@torch.no_grad()
def samples(model: Model, seed: int, rows: int = 8, columns: int = 8) -> Image.Image:
    """Show what the model draws, with the same noise in every epoch; of a VAE the means of the likelihood."""
    noise = generator(seed, "samples", device=model.device)
    return image_grid(model.preview(rows * columns, noise), columns)


@torch.no_grad()
def reconstructions(model: Model, levels: Tensor, seed: int, rows: int = 4, columns: int = 8) -> Image.Image:
    """Show the first rows x columns images of `levels`, and below each row what the model makes of them.

    Of a VAE that is the mean of the likelihood at the mean of the posterior. A model that gives p(x) directly
    sees the upper half and draws the lower one.
    """
    columns = min(columns, len(levels))
    originals = levels[: min(rows, len(levels) // columns) * columns]
    noise = generator(seed, "reconstructions", device=model.device)
    both = (model.points(originals), model.reconstruct(originals, noise))
    pairs = torch.stack([images.unflatten(0, (-1, columns)) for images in both], 1)
    return image_grid(pairs.flatten(0, 2), columns)


def kl_bars(rates: Sequence[float]) -> Image.Image:
    """Show the KL of every latent in nats, the largest first."""
    # Imported here, since the import takes a third of a second and training draws no chart.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(4.8, 2.4), dpi=100, layout="constrained")
    axes = figure.subplots()
    axes.bar(range(1, len(rates) + 1), sorted(rates, reverse=True), color="#4c6a92")
    axes.set(xlabel="latent, by its KL", ylabel="KL in nats", title="What each latent carries")
    axes.spines[["top", "right"]].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
