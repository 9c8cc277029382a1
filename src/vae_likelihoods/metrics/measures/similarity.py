"""Structural similarity of images (Wang, Bovik, Sheikh & Simoncelli 2004, https://doi.org/10.1109/TIP.2003.819861)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

WINDOW, SIGMA = 11, 1.5  # pixels; section III.C
C1, C2 = 0.01**2, 0.03**2  # for pixels in [0, 1]


def structural_similarity(left: Tensor, right: Tensor) -> Tensor:
    """Return the mean SSIM [N] of pairs of images [N, C, H, W] in [0, 1]: at most 1, which equal ones have.

    ((2 m m' + C1)(2 c + C2)) / ((m^2 + m'^2 + C1)(v + v' + C2)), with means m, variances v and the covariance
    c under a Gaussian window, averaged over all places where the window lies within the image (equations 13
    to 17), and over channels. In images of less than 11 pixels the window is the largest odd one that fits.
    """
    x, y = left.double(), right.double()
    mean_x, mean_y = _blurred(x), _blurred(y)
    variance_x = _blurred(x * x) - mean_x * mean_x
    variance_y = _blurred(y * y) - mean_y * mean_y
    covariance = _blurred(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + C1) / (mean_x * mean_x + mean_y * mean_y + C1)
    structure = (2 * covariance + C2) / (variance_x + variance_y + C2)
    return (luminance * structure).flatten(1).mean(1)


def _blurred(images: Tensor) -> Tensor:
    """Return the means under the window, at every place where it lies within the image."""
    channels, height, width = images.shape[1:]
    rows, columns = (_weights(side).to(images) for side in (height, width))
    down = F.conv2d(images, rows.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)
    return F.conv2d(down, columns.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)


def _weights(side: int) -> Tensor:
    """Return the Gaussian weights of a window that fits into so many pixels; their sum is 1."""
    size = min(WINDOW, side - 1 + side % 2)
    places = torch.arange(size, dtype=torch.float64) - size // 2
    weights = torch.exp(-0.5 * (places / SIGMA).square())
    return weights / weights.sum()
