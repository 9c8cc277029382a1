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
from tqdm import tqdm

from vae_likelihoods.datasets.pictures import Decoding
from vae_likelihoods.errors import SettingError, require, require_count
from vae_likelihoods.inference.bounds import scored
from vae_likelihoods.models import blocks
from vae_likelihoods.models.base import DirectModel, Model
from vae_likelihoods.models.vae import VAE, standard_normal
from vae_likelihoods.seeding import generator
from vae_likelihoods.trained.arrays import as_levels, as_tensor

Array = Tensor | NDArray[Any]

_OUTPUTS = 1 << 20  # numbers of the decoder for which means are computed together


class Posterior(NamedTuple):
    """q(z | x) of N images: independent normals with these parameters, each [N, L]."""

    mean: Any
    stddev: Any


class TrainedModel:
    """A model with its weights; `vae_likelihoods.load` returns one.

    Every model samples and scores images. What needs latent variables is refused by a model without them,
    and what needs p(x) itself by one with a bound.

    Images are levels 0 .. K-1, [N, C, H, W], of any type of integers; latents are [N, L]. What is given as a
    numpy array is answered with numpy arrays, and tensors with tensors on the model's device.

    Args:
        model: on the device where it computes.
        config: the settings that it was trained with.
        shape: C, H, W of an image.
        decoding: how image files became the images that it was trained on; None: not known.

    Attributes:
        levels: K.
        latent_dim: L; 0 without latent variables.
        exact: whether `log_prob` is log p(x) itself; if not, a lower bound.
    """

    def __init__(
        self,
        model: Model,
        config: Mapping[str, Any],
        shape: tuple[int, int, int],
        decoding: Decoding | None = None,
    ) -> None:
        self.model, self.config, self.shape, self.decoding = model, config, shape, decoding
        self.levels, self.exact = model.levels, model.exact
        self.latent_dim = model.latent_dim if isinstance(model, VAE) else 0

    def __repr__(self) -> str:
        latents = f"{self.latent_dim} latents" if self.latent_dim else "no latents"
        sizes = f"{self.levels} levels of {' x '.join(map(str, self.shape))}, {latents}"
        return f"TrainedModel({self.config['study']}/{self.config['cell']}: {sizes}, on {self.device})"

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.model.device

    @property
    def vae(self) -> VAE:
        """The model, if it has latent variables.

        Raises:
            SettingError: it has none.
        """
        if not isinstance(self.model, VAE):
            reason = "has no latent variables; sample, complete, log_prob and bits_per_dim need none"
            raise SettingError("model", type(self.model).__name__, reason)
        return self.model

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
            return _like(z, self._means(self._latents(z)))

    def sample(self, count: int, seed: int = 0, mean: bool = False) -> NDArray[Any]:
        """Return `count` images drawn from the model: levels [count, C, H, W] in uint8.

        With latent variables z is drawn from the prior, then x from p(x | z).

        Args:
            count: how many.
            seed: of the draws; the same z with and without `mean`.
            mean: whether to return the decoder means E[x | z] instead: points in [0, 1], [count, C, H, W].
                Reports and papers usually show these; they are no samples of the model.

        Raises:
            SettingError: count is below 1, or the model has no latent variables and no means.
        """
        require_count("count", count)
        with _exactly():
            if not mean and isinstance(self.model, DirectModel):
                direct: NDArray[Any] = self.model.draw(count, self._generator(seed, "x")).cpu().numpy()
                return direct
            z = standard_normal((count, self.latent_dim), self._generator(seed, "z"), self.vae.dtype)
            images = self._means(z) if mean else blocks.drawn(self.vae, z, self._generator(seed, "x"))
        made: NDArray[Any] = images.cpu().numpy()
        return made

    def reconstruct(self, images: Array) -> Any:
        """Return E[x | z] at the mean of q(z | x): points in [0, 1], [N, C, H, W].

        Raises:
            SettingError: the images are no levels of this model.
        """
        with _exactly():
            z = blocks.encoded(self.vae, self._levels(images)).mean
            return _like(images, self._means(z))

    def log_prob(
        self, images: Array, samples: int = 128, seed: int | None = None, decoded_at_once: int = 4096
    ) -> Any:
        """Return log p(x) in nats, [N], if the model is `exact`; else a lower bound on it.

        The bound is importance-weighted (Burda et al. 2016, equation 8).

        An evaluation has its k in metrics.json as `importance_samples`, and the study its decoded_at_once as
        metric.bound.decoded_at_once; the folder of a model has neither. With the same, which are the defaults
        unless the study set others, and all test images in their order on the same kind of device, this is
        minus `nll_nats` of per_image.csv.

        Args:
            images: levels [N, C, H, W].
            samples: k; the bound rises with it to log p(x). An exact model reads none of the last three.
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
                scored(self.model, batch, samples, noise, decoded_at_once).log_mean_weight[0]
                for batch in _in_turn("scoring", levels, max(1, decoded_at_once // samples))
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
            return _like(start, self._means(first + share * (last - first)))

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
            return _like(image, torch.unflatten(self._means(z), 0, (self.latent_dim, steps)))

    def _means(self, z: Tensor) -> Tensor:
        """Return E[x | z], [N, C, H, W] in [0, 1], at z [N, L].

        Some likelihoods make hundreds of short passes over all pixels, such as a mixture of coupled channels
        one for each of its 512 points. On a CPU these are three times as fast in parts that a cache holds. In
        one thread: several wait for each other after each pass, ten times as long if the cores are busy.
        """
        if self.device.type != "cpu":
            return blocks.means(self.vae, z)
        outputs = self.vae.likelihood.output_channels * math.prod(self.shape[1:])
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            parts = _in_turn("decoding", z, max(1, _OUTPUTS // outputs))
            return torch.cat([blocks.means(self.vae, part) for part in parts])
        finally:
            torch.set_num_threads(threads)

    def _levels(self, images: Array) -> Tensor:
        return as_levels("images", images, self.shape, self.levels).to(self.device)

    def _one(self, key: str, image: Array) -> Tensor:
        """Return a single image [C, H, W] as levels [1, C, H, W]."""
        return as_levels(key, image, self.shape, self.levels, one=True).to(self.device)

    def _latents(self, z: Array) -> Tensor:
        latents = as_tensor("z", z)
        fits = latents.ndim == 2 and latents.shape[1] == self.latent_dim and len(latents) > 0
        require(fits, "z", f"shape {list(latents.shape)}", f"latents [N, {self.latent_dim}] are needed")
        if not latents.is_floating_point():
            raise SettingError("z", latents.dtype, "numbers with a fraction are needed")
        return latents.to(self.vae.dtype).to(self.device)  # a device may not have the type that was given

    def _generator(self, seed: int, purpose: str) -> torch.Generator:
        return generator(seed, "sample", purpose, device=self.device)


def _like(given: Any, result: Tensor) -> Any:
    return result.cpu().numpy() if isinstance(given, np.ndarray) else result


def _in_turn(task: str, images: Tensor, at_once: int) -> Iterator[Tensor]:
    """Yield the parts of images or latents; on a terminal a bar shows how many are done, if it takes long."""
    with tqdm(total=len(images), desc=task, unit="image", disable=None, delay=1, leave=False) as bar:
        for part in images.split(at_once):
            yield part
            bar.update(len(part))


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
