"""A trained model: latents of images, images of latents, and how many bits an image takes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vae_likelihoods.datasets.pictures import Decoding
from vae_likelihoods.errors import SettingError, require, require_count
from vae_likelihoods.inference.bounds import importance_weighted
from vae_likelihoods.models import blocks
from vae_likelihoods.models.vae import VAE, standard_normal
from vae_likelihoods.seeding import generator

Array = Tensor | NDArray[Any]

_UNSIGNED = (torch.uint16, torch.uint32, torch.uint64)  # of which torch computes next to nothing


class Posterior(NamedTuple):
    """q(z | x) of N images: independent normals with these parameters, each [N, L]."""

    mean: Any
    stddev: Any


class TrainedModel:
    """A VAE with its weights; `vae_likelihoods.load` returns one.

    Images are levels 0 .. K-1, [N, C, H, W], of any type of integers; latents are [N, L]. What is given as a
    numpy array is answered with numpy arrays, and tensors with tensors on the model's device.

    Args:
        vae: the model, on the device where it computes.
        config: the settings that it was trained with.
        shape: C, H, W of an image.
        decoding: how image files became the images that it was trained on; None: not known.

    Attributes:
        levels: K.
        latent_dim: L.
    """

    def __init__(
        self,
        vae: VAE,
        config: Mapping[str, Any],
        shape: tuple[int, int, int],
        decoding: Decoding | None = None,
    ) -> None:
        self.vae, self.config, self.shape, self.decoding = vae, config, shape, decoding
        self.levels, self.latent_dim = vae.likelihood.levels, vae.latent_dim

    def __repr__(self) -> str:
        sizes = f"{self.levels} levels of {' x '.join(map(str, self.shape))}, {self.latent_dim} latents"
        return f"TrainedModel({self.config['study']}/{self.config['cell']}: {sizes}, on {self.device})"

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return next(self.vae.parameters()).device

    def encode(self, images: Array) -> Posterior:
        """Return q(z | x) of images [N, C, H, W].

        Raises:
            SettingError: the images are no levels of this model.
        """
        with _exactly():
            posterior = blocks.encoded(self.vae, self._levels(images))
        return Posterior(*(_like(images, each) for each in (posterior.mean, posterior.stddev)))

    def decode(self, z: Array) -> Any:
        """Return E[x | z] of latents [N, L]: points in [0, 1], [N, C, H, W].

        Raises:
            SettingError: the latents have another shape, or are no numbers with a fraction.
        """
        with _exactly():
            return _like(z, blocks.means(self.vae, self._latents(z)))

    def sample(self, count: int, seed: int = 0) -> NDArray[np.uint8]:
        """Return `count` images, levels [count, C, H, W] in uint8: z from the prior, then x from p(x | z).

        Raises:
            SettingError: count is below 1.
        """
        require_count("count", count)
        with _exactly():
            z = standard_normal((count, self.latent_dim), self._generator(seed, "z"), self.vae.dtype)
            drawn: NDArray[np.uint8] = blocks.drawn(self.vae, z, self._generator(seed, "x")).cpu().numpy()
        return drawn

    def reconstruct(self, images: Array) -> Any:
        """Return E[x | z] at the mean of q(z | x): points in [0, 1], [N, C, H, W].

        Raises:
            SettingError: the images are no levels of this model.
        """
        with _exactly():
            z = blocks.encoded(self.vae, self._levels(images)).mean
            return _like(images, blocks.means(self.vae, z))

    def log_prob(
        self, images: Array, samples: int = 128, seed: int | None = None, decoded_at_once: int = 4096
    ) -> Any:
        """Return a lower bound on log p(x) in nats, [N]: importance-weighted (Burda et al. 2016, equation 8).

        An evaluation has its k in metrics.json as `importance_samples`, and the study its decoded_at_once as
        metric.bound.decoded_at_once; the folder of a model has neither. With the same, which are the defaults
        unless the study set others, and all test images in their order on the same kind of device, this is
        minus `nll_nats` of per_image.csv.

        Args:
            images: levels [N, C, H, W].
            samples: k; the bound rises with it to log p(x).
            seed: of the draws; None: that of the training, as in every evaluation.
            decoded_at_once: images decoded together: memory, speed, and which noise an image gets.

        Raises:
            SettingError: the images are no levels of this model, or a number is below 1.
        """
        require_count("samples", samples)
        require_count("decoded_at_once", decoded_at_once)
        levels = self._levels(images)
        seed = int(self.config["seed"]) if seed is None else seed
        noise = generator(seed, "metric", "bound", device=self.device)
        with _exactly():
            bounds = [
                importance_weighted(
                    self.vae, batch, self.vae.posterior(batch), [samples], noise, decoded_at_once
                ).log_mean_weight[0]
                for batch in levels.split(max(1, decoded_at_once // samples))
            ]
        return _like(images, torch.cat(bounds))

    def bits_per_dim(
        self, images: Array, samples: int = 128, seed: int | None = None, decoded_at_once: int = 4096
    ) -> Any:
        """Return -log_prob / (D ln 2), [N], D = C H W: how many bits a pixel and channel takes.

        Arguments and errors as of `log_prob`. A uniform guess takes log2 K.
        """
        log_prob = self.log_prob(images, samples, seed, decoded_at_once)
        return -log_prob / (math.prod(self.shape) * math.log(2))

    def interpolate(self, start: Array, end: Array, steps: int) -> Any:
        """Return E[x | z] on the line between the codes of two images, ends included, [steps, C, H, W].

        Args:
            start: levels [C, H, W].
            end: levels [C, H, W].
            steps: points on the line, 2 or more.

        Raises:
            SettingError: an image is none of this model, or steps is below 2.
        """
        require_count("steps", steps, 2)
        with _exactly():
            given = {"start": start, "end": end}
            first, last = (blocks.encoded(self.vae, self._one(*each)).mean for each in given.items())
            share = torch.linspace(0, 1, steps, dtype=first.dtype, device=self.device)[:, None]
            return _like(start, blocks.means(self.vae, first + share * (last - first)))

    def traverse(self, image: Array, steps: int = 8, reach: float = 3.0) -> Any:
        """Return E[x | z] with one latent after the other moved over the prior, [L, steps, C, H, W].

        Args:
            image: levels [C, H, W], whose code the other latents keep.
            steps: values of the latent, from -reach to reach, 2 or more.
            reach: standard deviations of the prior.

        Raises:
            SettingError: it is no image of this model, steps is below 2, or reach is not finite.
        """
        require_count("steps", steps, 2)
        finite = isinstance(reach, Real) and math.isfinite(reach)
        require(finite, "reach", reach, "must be a finite number")
        with _exactly():
            mean = blocks.encoded(self.vae, self._one("image", image)).mean
            values = torch.linspace(-float(reach), float(reach), steps, dtype=mean.dtype, device=self.device)
            z = mean.repeat(self.latent_dim * steps, 1)
            latent = torch.arange(self.latent_dim, device=self.device).repeat_interleave(steps)
            z[torch.arange(len(z), device=self.device), latent] = values.repeat(self.latent_dim)
            return _like(image, torch.unflatten(blocks.means(self.vae, z), 0, (self.latent_dim, steps)))

    def _levels(self, images: Array) -> Tensor:
        levels = _tensor("images", images)
        if levels.dtype in _UNSIGNED:
            levels = self._narrowed(levels)
        try:
            self.vae.require_levels(levels)
        except RuntimeError:  # torch finds no ends of numbers of rare types
            raise SettingError(
                "images", levels.dtype, f"integers 0 .. {self.levels - 1} are needed"
            ) from None
        shape = list(levels.shape)
        need = f"images of {self.shape[1]} x {self.shape[2]} pixels are needed"
        require(tuple(shape[1:]) == self.shape, "images", f"shape {shape}", need)
        return levels.to(self.device)

    def _narrowed(self, levels: Tensor) -> Tensor:
        """Return levels in uint8, if they are 0 .. K-1."""
        values, top = levels.cpu().numpy(), self.levels - 1
        if values.size and (highest := values.max()) > top:
            found = f"{values.dtype} from {values.min()} to {highest}"
            reason = f"integers 0 .. {top} are needed; quantise them to {self.levels} levels first"
            raise SettingError("images", found, reason)
        return torch.from_numpy(values.astype(np.uint8))

    def _one(self, key: str, image: Array) -> Tensor:
        """Return a single image [C, H, W] as levels [1, C, H, W]."""
        given = _tensor(key, image)
        reason = f"one image of levels {list(self.shape)} is needed"
        require(tuple(given.shape) == self.shape, key, f"shape {list(given.shape)}", reason)
        try:
            return self._levels(given[None])
        except SettingError as error:
            raise error.renamed(key) from None

    def _latents(self, z: Array) -> Tensor:
        latents = _tensor("z", z)
        fits = latents.ndim == 2 and latents.shape[1] == self.latent_dim and len(latents) > 0
        require(fits, "z", f"shape {list(latents.shape)}", f"latents [N, {self.latent_dim}] are needed")
        if not latents.is_floating_point():
            raise SettingError("z", latents.dtype, "numbers with a fraction are needed")
        return latents.to(self.vae.dtype).to(self.device)  # a device may not have the type that was given

    def _generator(self, seed: int, purpose: str) -> torch.Generator:
        return generator(seed, "sample", purpose, device=self.device)


def _tensor(key: str, given: Any) -> Tensor:
    """Return an array as a tensor, copied only where torch cannot use it as it lies."""
    if isinstance(given, np.ndarray):
        require(not np.ma.is_masked(given), key, "masked array", "fill what is masked first")
        try:
            # Torch has no negative strides and no other order of bytes, and warns of what cannot be written.
            return torch.from_numpy(np.require(given, given.dtype.newbyteorder("="), ["C", "W"]))
        except TypeError:
            raise SettingError(key, given.dtype, "is no type of numbers that torch has") from None
    name = type(given).__name__
    require(isinstance(given, Tensor), key, name, "a numpy array or a tensor of torch is needed")
    plain = given.layout is torch.strided and not given.is_quantized and not given.is_meta
    require(plain, key, name, "must be a plain tensor: dense, with values, and not quantised")
    tensor: Tensor = given
    return tensor


def _like(given: Any, result: Tensor) -> Any:
    return result.cpu().numpy() if isinstance(given, np.ndarray) else result


@contextmanager
def _exactly() -> Iterator[None]:
    """Compute without gradients and with all bits, as the evaluation does."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.no_grad():
            yield
    finally:
        torch.set_float32_matmul_precision(before)
