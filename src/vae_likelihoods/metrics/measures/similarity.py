"""Structural similarity of images (Wang, Bovik, Sheikh & Simoncelli 2004, https://doi.org/10.1109/TIP.2003.819861)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor

from vae_likelihoods.precision import precise

Floats = NDArray[np.float64]
WINDOW, SIGMA = 11, 1.5  # pixels; section III.C
C1, C2 = 0.01**2, 0.03**2  # for pixels in [0, 1]


def structural_similarity(left: Tensor, right: Tensor) -> Floats:
    """Return the mean SSIM [N] of pairs of images [N, C, H, W] in [0, 1]: at most 1, for equal images.

    ((2 m m' + C1)(2 c + C2)) / ((m^2 + m'^2 + C1)(v + v' + C2)), with means m, variances v and the covariance
    c under a Gaussian window, averaged over all places where the window lies within the image (equations 13
    to 17), and over channels. In images of less than 11 pixels the window is the largest odd one that fits.
    That is why it is not scikit-image's function, which is the same for larger images only.
    """
    x, y = (precise(images).cpu().numpy() for images in (left, right))
    mean_x, mean_y = _blurred(x), _blurred(y)
    variance_x = _blurred(x * x) - mean_x * mean_x
    variance_y = _blurred(y * y) - mean_y * mean_y
    covariance = _blurred(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + C1) / (mean_x * mean_x + mean_y * mean_y + C1)
    structure = (2 * covariance + C2) / (variance_x + variance_y + C2)
    similarity: Floats = (luminance * structure).reshape(len(x), -1).mean(1)
    return similarity


def _blurred(images: Floats) -> Floats:
    """Return the means under the window, at every place where it lies within the image."""
    height, width = images.shape[-2:]
    down, across = ((min(WINDOW, side) - 1) // 2 for side in (height, width))  # radii of the window
    blurred: Floats = gaussian_filter(images, SIGMA, radius=(down, across), axes=(-2, -1))
    return blurred[..., down : height - down, across : width - across]
